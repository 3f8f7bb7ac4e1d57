"""Requirement locks with markers, read for a Python that is not the one running.

pip takes markers to mean the Python it runs on, so for a board's Python the choice is ours.
Locks are our own (``scripts/lock_engines.py``): only what that script writes is understood.
"""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.core.errors import ToolboxError

_PIN: Final = re.compile(
    r"(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;\\]+)(?:\s*;\s*(?P<marker>[^\\]+?))?\s*$"
)
_CLAUSE: Final = re.compile(r"python_version\s*(?P<how><=|>=|==|<|>)\s*'(?P<version>\d+\.\d+)'")
_HASH: Final = re.compile(r"--hash=(sha256:[0-9a-f]{64})")


@dataclass(frozen=True)
class Pin:
    """One locked package: exact version and the hashes of all its files."""

    name: str
    version: str
    hashes: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name}=={self.version}"

    @property
    def line(self) -> str:
        """The pin as a requirement file has it."""
        return " ".join([str(self), *(f"--hash={digest}" for digest in self.hashes)])


def python_tuple(version: str) -> tuple[int, int]:
    """Return major and minor of a version such as ``3.11.2``.

    Raises:
        ToolboxError: it is no version.
    """
    parts = re.match(r"(\d+)\.(\d+)", version)
    if parts is None:
        raise ToolboxError(f"{version!r} is no Python version")
    return int(parts[1]), int(parts[2])


def select(lock: Path, packages: tuple[str, ...], python: str) -> tuple[Pin, ...]:
    """Return the pins of ``packages`` that hold for a Python.

    Args:
        lock: requirement file with hashes and ``python_version`` markers.
        packages: names as in the file.
        python: version on the board, such as ``3.11.2``.

    Raises:
        ToolboxError: a package has no entry for this Python, or the file is not understood.
        OSError: the file cannot be read.
    """
    wanted = python_tuple(python)
    text = re.sub(r"\\\n\s*", " ", lock.read_text(encoding="utf-8"))
    found: dict[str, Pin] = {}
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        head, _, tail = line.partition("--hash=")
        pin = _PIN.match(head.strip())
        if pin is None or not tail:
            raise ToolboxError(f"{lock.name}: cannot read {head.strip()!r}")
        if _holds(pin["marker"], wanted, lock):
            found[pin["name"]] = Pin(pin["name"], pin["version"], tuple(_HASH.findall(line)))
    missing = [name for name in packages if name not in found]
    if missing:
        raise ToolboxError(
            f"no version of {', '.join(missing)} is locked for Python {python}",
            hint="another Python on the board may be served; see edgekit devices probe",
        )
    return tuple(found[name] for name in packages)


def _holds(marker: str | None, python: tuple[int, int], lock: Path) -> bool:
    if marker is None:
        return True
    for clause in marker.split(" and "):
        match = _CLAUSE.fullmatch(clause.strip())
        if match is None:
            raise ToolboxError(f"{lock.name}: marker {marker!r} is not understood")
        bound = python_tuple(match["version"])
        if not {
            "<": python < bound,
            "<=": python <= bound,
            "==": python == bound,
            ">=": python >= bound,
            ">": python > bound,
        }[match["how"]]:
            return False
    return True
