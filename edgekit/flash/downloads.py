"""What came from servers and is kept: what was used last, and no more of it than a limit."""

import contextlib
import os
from pathlib import Path
from typing import Final

from edgekit.catalog.cache import FileLock

KEPT_BYTES: Final = 20_000_000_000
"""Some ten images as they are offered, packed."""

ABOUT: Final = "about.json"
CONTENT: Final = "content"
LOCK: Final = "lock"


def mark_used(download: Path) -> None:
    """Note that a download was used just now."""
    with contextlib.suppress(OSError):
        os.utime(download / ABOUT)


def forget_old(used: Path, kept_bytes: int = KEPT_BYTES) -> None:
    """Remove downloads beside one, those used longest ago first, until all are within a limit.

    What somebody reads or fetches stays, as does the one that was just used, however large.
    """
    others = [(each, *_state(each)) for each in used.parent.iterdir() if each != used]
    total = _state(used)[1] + sum(size for _each, _used_s, size in others)
    for each, _used_s, size in sorted(others, key=lambda other: other[1]):
        if total <= kept_bytes:
            return
        if size and _forget(each):
            total -= size


def _state(download: Path) -> tuple[float, int]:
    """Return when a download was used, and how large it is: nothing, where it was removed."""
    try:
        size = (download / CONTENT).stat().st_size
    except OSError:
        return 0.0, 0
    try:
        return (download / ABOUT).stat().st_mtime, size
    except OSError:
        return 0.0, size  # of no use: nothing tells what it is


def _forget(download: Path) -> bool:
    """Remove what is kept of a download, unless somebody holds it. Its lock's file stays."""
    lock = FileLock(download / LOCK)
    with contextlib.suppress(OSError):
        if lock.acquire(blocking=False):
            try:
                for name in (ABOUT, CONTENT):
                    (download / name).unlink(missing_ok=True)
                return True
            finally:
                lock.release()
    return False
