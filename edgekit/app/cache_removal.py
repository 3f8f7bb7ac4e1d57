"""Removing from the cache, so that nobody ever meets half of something.

What goes is renamed first, while nobody can begin to use it, and removed afterwards, which may take
long. A removal that is cut short leaves renamed folders, which the next one removes.
"""

import os
import time
from collections.abc import Collection, Iterable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edgekit.app.cache import survey
from edgekit.app.cache_boards import is_of_root
from edgekit.app.cache_entries import DOOMED, KINDS, Age, Entry, Kind
from edgekit.app.cache_weight import Weight
from edgekit.board import privilege
from edgekit.board.privilege import Privilege
from edgekit.board.rootfs import boards_folder, remove_as_root
from edgekit.catalog.cache import FileLock, cache_root, remove_tree
from edgekit.catalog.in_use import alone
from edgekit.core.errors import DeviceError
from edgekit.core.events import EventSink, Note, StepFinished, StepProgress, StepStarted, ignore

_LOCK: Final = ".prune.lock"
_STEP: Final = "cache:prune"


@dataclass(frozen=True)
class Removal:
    """What is to be removed, or was.

    Attributes:
        entries: each with the bytes that it takes; what two share counts with the first.
        freed_bytes: what all of it frees.
        needed: what is old as well, and stays.
    """

    entries: tuple[tuple[Entry, int], ...]
    freed_bytes: int
    needed: tuple[Entry, ...]


def plan_removal(older_than_s: float, kinds: Collection[Kind] = tuple(KINDS)) -> Removal:
    """Say what a prune would remove now. Changes nothing.

    Args:
        older_than_s: what was used since then stays, unless it is superseded.
        kinds: what may go.
    """
    found = survey(Age(older_than_s, time.time()), kinds)
    scales = _Scales()
    for entry in found:
        if entry.goes:
            scales.weigh(entry, entry.path)
    return scales.removal(_needed(found))


def remove(
    planned: Removal,
    older_than_s: float,
    kinds: Collection[Kind] = tuple(KINDS),
    *,
    emit: EventSink = ignore,
) -> Removal:
    """Remove what was planned, as far as it may still go; return what was removed.

    Raises:
        OSError: the cache cannot be written.
    """
    if not planned.entries:
        return planned
    with FileLock(cache_root() / _LOCK, emit, "the cache: it is being pruned"):
        wanted = {entry.path for entry, _ in planned.entries}
        scales = _Scales()
        emit(StepStarted(_STEP, "Remove what is old from the cache"))
        try:
            aside, needed = _set_aside(wanted, Age(older_than_s, time.time()), kinds, scales)
            for done, (entry, place) in enumerate(aside):
                emit(StepProgress(_STEP, done, len(aside), "folders"))
                scales.weigh(entry, place)
                _remove(entry, place, emit)
        except BaseException:
            emit(StepFinished(_STEP, "cut short; the next prune goes on", ok=False))
            raise
        emit(StepFinished(_STEP))
    return scales.removal(needed)


class _Scales:
    """Weighs entries one by one, and all of them together."""

    def __init__(self) -> None:
        self._whole = Weight()
        self._entries: list[tuple[Entry, int]] = []

    def weigh(self, entry: Entry, place: Path) -> None:
        """Add an entry, which stands at ``place``."""
        before = self._whole.taken_bytes
        for path in (place, *entry.beside):
            self._whole.add(path)
        self._entries.append((entry, self._whole.taken_bytes - before))

    def removal(self, needed: tuple[Entry, ...]) -> Removal:
        """Return all that was weighed."""
        return Removal(tuple(self._entries), self._whole.freed_bytes, needed)


def _needed(found: Iterable[Entry]) -> tuple[Entry, ...]:
    return tuple(each for each in found if each.reason and each.needed)


def _set_aside(
    wanted: set[Path], age: Age, kinds: Collection[Kind], scales: _Scales
) -> tuple[list[tuple[Entry, Path]], tuple[Entry, ...]]:
    """Take out of use what goes, which is quick: folders are renamed, files are removed.

    Returns:
        Each folder with where it stands now, and what stays after all.
    """
    # Looked at before, to know whose stores are to be held.
    stores = sorted({each.store for each in survey(age, kinds) if each.goes})
    aside: list[tuple[Entry, Path]] = []
    with ExitStack() as stack:
        ours = frozenset(store for store in stores if stack.enter_context(alone(store)))
        found = survey(age, kinds, ours)
        needed = list(_needed(found))
        # What rests on others is first: where it stays after all, so do they.
        spared: set[Path] = set()
        for entry in found:
            if not entry.goes:
                continue
            if entry.path in wanted and entry.store in ours and entry.path not in spared:
                place = _take(entry, scales)
                if place is not None:
                    aside += [(entry, place)] if place.is_dir() else []
                    continue
                needed.append(replace(entry, needed="it is being made or used"))
            if entry.rests_on is not None:
                spared.add(entry.rests_on)
    return aside, tuple(needed)


def _take(entry: Entry, scales: _Scales) -> Path | None:
    """Take an entry out of use; return where it stands then, ``None`` if it cannot be."""
    lock = None if entry.lock is None else FileLock(entry.lock)
    try:
        if lock is not None and not lock.acquire(blocking=False):
            return None
        if not entry.path.is_dir() or entry.path.is_symlink():
            scales.weigh(entry, entry.path)
            _unlink(entry.path, *entry.beside)
            return entry.path
        if entry.path.name.startswith(DOOMED):
            return entry.path
        # Beside where it stood: of a folder that is another's no more can be changed than that.
        place = entry.path.with_name(f"{DOOMED}{os.getpid()}-{entry.path.name}")
        entry.path.rename(place)
    except OSError:
        return None
    finally:
        if lock is not None:
            lock.release()
    return place


def _remove(entry: Entry, place: Path, emit: EventSink) -> None:
    try:
        if entry.store == boards_folder():
            moved = replace(entry, path=place)
            root = privilege.obtain("Removing it") if is_of_root(moved) else Privilege()
            remove_as_root(place, root)
        else:
            remove_tree(place)
        _unlink(*entry.beside)
    except (OSError, DeviceError) as error:
        emit(Note(f"{place} cannot be removed whole: {error}", warning=True))


def _unlink(*paths: Path) -> None:
    for path in paths:
        path.unlink(missing_ok=True)
