"""Who uses the cache now: asked before anything is removed from it.

A process that was given a path may use it for as long as it lives. So it holds the store that the
path is of until then, and nothing is removed from a store that anybody holds.
"""

import contextlib
import fcntl
import os
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_FILE: Final = ".in-use"
_MOUNTS: Final = Path("/proc/self/mountinfo")
_held: Final[dict[Path, int]] = {}
_guard: Final = threading.Lock()


def hold(store: Path) -> None:
    """Tell other processes, until this one ends, that it uses what stands in ``store``.

    A folder that is not there, or that cannot be written, is not held: nobody can remove from it.
    """
    if store in _held:
        return
    with _guard, contextlib.suppress(OSError):
        if store in _held:
            return
        descriptor = os.open(store / _FILE, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            # Who removes holds it for a moment: they only rename meanwhile.
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        except BaseException:
            os.close(descriptor)
            raise
        _held[store] = descriptor


def let_go() -> None:
    """Hold nothing any more; for a process that uses no path which it was given."""
    with _guard:
        while _held:
            os.close(_held.popitem()[1])


@contextmanager
def alone(store: Path) -> Iterator[bool]:
    """Give whether nobody holds ``store``; if so, whoever wants to waits until this ends."""
    try:
        descriptor = os.open(store / _FILE, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(descriptor)


def is_held(store: Path) -> bool:
    """Tell whether any process, be it this one, holds ``store``."""
    if not (store / _FILE).exists():
        return False
    with alone(store) as nobody:
        return not nobody


def is_locked(lock: Path) -> bool:
    """Tell whether somebody has the ``FileLock`` of this path; makes no file."""
    try:
        descriptor = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(descriptor)
    return False


def mount_points() -> tuple[Path, ...]:
    """Return where something is mounted, in the order in which it was."""
    lines = _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines()
    # The kernel writes blanks and backslashes in a name as octal escapes: proc(5).
    words = (line.split()[4] for line in lines)
    points = (re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), word) for word in words)
    return tuple(map(Path, points))


def used_by_processes(root: Path) -> frozenset[Path]:
    """Return all below ``root`` that a process was started with, has open or stands in.

    And all folders between: a folder is in use if something in it is. Processes of other users
    tell nothing, except to root.
    """
    start = os.fsencode(root.resolve()) + b"/"
    found: set[bytes] = set()
    for process in Path("/proc").glob("[0-9]*"):
        for name in (b"cmdline", b"maps"):
            with contextlib.suppress(OSError):
                found.update(_named(os.fsencode(process) + b"/" + name, start))
        with contextlib.suppress(OSError):
            links = [process / "cwd", process / "exe", *(process / "fd").iterdir()]
            for link in links:
                with contextlib.suppress(OSError):
                    found.add(os.fsencode(link.readlink()))
    used: set[Path] = set()
    for each in found:
        if each.startswith(start):
            path = root / os.fsdecode(each.removeprefix(start).removesuffix(b" (deleted)"))
            used.update((path, *path.parents))
    return frozenset(path for path in used if path.is_relative_to(root) and path != root)


def _named(file: bytes, start: bytes) -> Iterator[bytes]:
    """Give the paths below ``start`` that a file of ``/proc`` names."""
    with open(file, "rb") as stream:  # noqa: PTH123 - a path of bytes
        content = stream.read()
    place = content.find(start)
    while place >= 0:
        # Words end with a zero in ``cmdline``, with the line in ``maps``.
        end = re.compile(rb"[\0\n]").search(content, place)
        yield content[place : end.start() if end else len(content)]
        place = content.find(start, place + 1)
