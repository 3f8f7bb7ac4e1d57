"""What tuning with TVM is made of: its toolbox, its worker, what times kernels on the board."""

import re
from pathlib import Path
from typing import Final

from edgekit.core.contracts import ToolboxSpec

_FOLDER: Final = Path(__file__).parent
TOOLBOX: Final = ToolboxSpec("tvm-tune", ">=3.11,<3.15", _FOLDER / "tune.txt")
WORKER: Final = _FOLDER / "tune_worker.py"
RUNNER_MODULE: Final = "edgekit.engines.tvm.runner_kernels"


def tvm_version() -> str:
    """Return the version of TVM that the lock names: records of others do not apply."""
    found = re.search(r"^apache-tvm==(\S+)", TOOLBOX.requirements.read_text("utf-8"), re.MULTILINE)
    if found is None:
        raise RuntimeError(f"{TOOLBOX.requirements} names no apache-tvm")
    return found[1]
