"""Programs that edit images, run without root and without mounting anything."""

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from typing import Final

from edgekit.core.errors import FlashError

# Debian keeps file system tools where a user's PATH does not lead.
_PATH: Final = os.pathsep.join((os.environ.get("PATH", ""), "/usr/sbin", "/sbin"))


def find_tool(name: str, package: str) -> str:
    """Return where a program stands.

    Raises:
        FlashError: it is not installed; the hint names Debian's package.
    """
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise FlashError(
            f"{name} is not installed",
            hint=f"run `apt-get install {package}` as root",
        )
    return found


def run_tool(
    command: Sequence[str], environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a program with messages in English, whatever it answers."""
    return subprocess.run(
        list(command),
        check=False,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "LC_ALL": "C", **(environment or {})},
    )
