"""What is written down of a running board, and how its process is known again.

A process id alone is no name: it is used again. With the id go the process's start time and the
host's boot, so that nothing else is ever taken for the board, and nothing else is stopped.
"""

import json
import os
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from edgekit.catalog.cache import write_atomically

STATE_FILE: Final = "state.json"
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True)
class ProcessMark:
    """One process, for as long as it lives.

    Attributes:
        pid: as the host counts.
        start_ticks: when it began, in clock ticks after the host's boot.
        boot_id: the kernel's random name for this boot of the host.
    """

    pid: int
    start_ticks: int
    boot_id: str


@dataclass(frozen=True)
class BoardState:
    """A board that was started.

    Attributes:
        fingerprint: of everything it was started from; another one is another board.
        process: what holds its namespaces; with it dies everything on the board.
    """

    name: str
    target: str
    port: int
    fingerprint: str
    process: ProcessMark


def mark_process(pid: int) -> ProcessMark | None:
    """Return the mark of a living process, ``None`` if there is none with this id."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
        boot_id = _BOOT_ID.read_text(encoding="ascii").strip()
    except OSError:
        return None
    # The second field is the program's name in brackets, and may hold spaces and brackets.
    rest = text.rpartition(")")[2].split()
    state, start_ticks = rest[0], int(rest[19])
    return None if state in {"Z", "X"} else ProcessMark(pid, start_ticks, boot_id)


def is_alive(mark: ProcessMark) -> bool:
    """Tell whether exactly that process still runs."""
    return mark_process(mark.pid) == mark


def child_of(pid: int) -> int | None:
    """Return the process's only child, ``None`` if it has none."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
    except OSError:
        return None
    words = text.split()
    return int(words[0]) if words else None


def write_state(folder: Path, state: BoardState) -> None:
    """Write down a running board in its folder.

    Raises:
        OSError: the folder cannot be written.
    """
    text = json.dumps(asdict(state), indent=2, sort_keys=True) + "\n"
    write_atomically(folder / STATE_FILE, text.encode())


def read_state(folder: Path) -> BoardState | None:
    """Return what was written down; ``None`` for nothing, and for what makes no sense."""
    try:
        table = json.loads((folder / STATE_FILE).read_bytes())
        process = ProcessMark(**table.pop("process"))
        state = BoardState(process=process, **table)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return state if _well_typed(state) and _well_typed(process) else None


def forget_state(folder: Path) -> None:
    """Remove what was written down; the board's own files stay."""
    (folder / STATE_FILE).unlink(missing_ok=True)


def _well_typed(value: BoardState | ProcessMark) -> bool:
    return all(
        type(getattr(value, entry.name)) is entry.type
        for entry in fields(value)
        if entry.type in {int, str}
    )


def boot_marker(target: str, emulator: str, cpu: str) -> bytes:
    """Return the file that tells the device agent that the board is emulated."""
    table = {"target": target, "kind": "user", "qemu": emulator, "cpu": cpu}
    return (json.dumps(table, sort_keys=True) + os.linesep).encode()
