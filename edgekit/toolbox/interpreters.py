"""Where Pythons are looked for on this machine."""

import os
import re
from pathlib import Path
from typing import Final

# uv gives up at an older one as well.
_OLDEST: Final = (3, 6)


def search_path() -> str:
    """Return ``PATH`` with the versions that pyenv keeps in place of pyenv's shims.

    A shim of a version that is installed but not selected is on ``PATH`` and fails when it is
    run; uv gives up at the first such interpreter.
    """
    root = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    held = [path for path in (root / "versions").glob("*/bin") if _version(path) >= _OLDEST]
    folders = [
        folder
        for folder in os.environ.get("PATH", os.defpath).split(os.pathsep)
        if folder and Path(folder) != root / "shims"
    ]
    # Of the versions that will do, the newest, as of a system's own.
    folders += [str(path) for path in sorted(held, key=_version, reverse=True)]
    return os.pathsep.join(folders)


def _version(path: Path) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", path.parent.name))
