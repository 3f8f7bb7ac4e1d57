"""What runs on this machine, from /proc."""

import os
import time
from pathlib import Path


def running_below(root: Path) -> dict[int, str]:
    """Return the processes that have ``root`` in their command line, by process id."""
    found = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit() or int(folder.name) == os.getpid():
            continue
        try:
            line = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (OSError, UnicodeDecodeError):
            continue
        if str(root) in line:
            found[int(folder.name)] = line
    return found


def assert_nothing_runs_below(root: Path, within_s: float = 10.0) -> None:
    """Wait for what is about to end; fail with what does not."""
    deadline = time.monotonic() + within_s
    while running := running_below(root):
        assert time.monotonic() < deadline, running
        time.sleep(0.02)


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone, or has ended unheard."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # the latter: gone between open and read
        return True


def members_of(group: int) -> list[int]:
    """Return the processes of a process group, those that ended unheard included."""
    return [pid for pid, (_parent, its_group) in _table().items() if its_group == group]


def children_of(parent: int) -> list[int]:
    """Return the processes that a process has started, those that ended unheard included."""
    return [pid for pid, (its_parent, _group) in _table().items() if its_parent == parent]


def _table() -> dict[int, tuple[int, int]]:
    """Return parent and group of every process."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        found[int(stat.parent.name)] = (int(words[1]), int(words[2]))
    return found
