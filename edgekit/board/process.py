"""A board's processes: how the first is known again, and how all of them end.

A process id alone is no name: it is used again. With the id go the process's start time and the
host's boot, so that nothing else is ever taken for the board, and nothing else is stopped.
"""

import os
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.board.privilege import Privilege

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_STOP_TIMEOUT_S: Final = 20.0
POLL_S: Final = 0.02


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


def find_unshare(pid: int) -> ProcessMark | None:
    """Return the ``unshare`` that runs as this process, or below it where sudo stands before it."""
    here: int | None = pid
    while here is not None:
        with suppress(OSError):
            name = Path(f"/proc/{here}/comm").read_text(encoding="ascii", errors="replace")
            if name.strip() == "unshare":
                return mark_process(here)
        here = child_of(here)
    return None


def kill_board(process: ProcessMark, root: Privilege) -> None:
    """Kill the first process of the board's pid namespace, and with it the kernel kills the rest.

    ``unshare``, its parent, then ends by itself; it is killed where it has no child yet.
    """
    child = child_of(process.pid)
    first = mark_process(child) if child else None
    # Asked last: were it another process with the same id, the child would be a stranger's.
    if not is_alive(process):
        return
    doomed = [mark for mark in (first, process) if mark]
    _signal(doomed[0], root)
    deadline = time.monotonic() + _STOP_TIMEOUT_S
    while time.monotonic() < deadline:
        if not any(map(is_alive, doomed)):
            return
        time.sleep(POLL_S)


def _signal(mark: ProcessMark, root: Privilege) -> None:
    if root.prefix:
        if is_alive(mark):
            root.run(["sh", "-c", 'kill -KILL "$1"', "sh", str(mark.pid)])
        return
    with suppress(ProcessLookupError):
        # A descriptor stays with its process: the id cannot pass to another one in between.
        descriptor = os.pidfd_open(mark.pid)
        try:
            if is_alive(mark):
                signal.pidfd_send_signal(descriptor, signal.SIGKILL)
        finally:
            os.close(descriptor)
