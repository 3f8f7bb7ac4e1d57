"""Use cases of the cache: what takes how much of it, and removing what is old.

Only that goes which edgekit can make or fetch again, and which nobody uses. What cannot be told
stays.
"""

import shutil
import time
from collections.abc import Collection, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edgekit.app.cache_boards import board_entries, is_of_root, keep_grounds
from edgekit.app.cache_entries import (
    FOLDERS,
    KINDS,
    STORES,
    Age,
    Entry,
    Kind,
    bytecode_entries,
    content_entries,
    download_entries,
    keyed_entries,
    locked,
    log_entries,
    partial_entries,
    referred_to,
)
from edgekit.app.cache_weight import Weight, weigh
from edgekit.board import privilege
from edgekit.board.rootfs import boards_folder
from edgekit.catalog.cache import cache_root
from edgekit.catalog.in_use import is_held, mount_points, used_by_processes
from edgekit.core.errors import DeviceError

OLDER_THAN_S: Final = 30 * 24 * 3600.0
"""After how long without use something counts as old, where nobody says."""


@dataclass(frozen=True)
class Share:
    """What one kind of things has in the cache.

    Attributes:
        old_bytes: what a prune would free.
        used_now: whether an edgekit that runs uses things of this kind.
    """

    kind: Kind
    taken_bytes: int
    old_bytes: int
    used_now: bool


@dataclass(frozen=True)
class Overview:
    """What the cache holds.

    Attributes:
        free_bytes: of the file system that it stands on.
        needed: what is old and stays all the same.
    """

    folder: Path
    taken_bytes: int
    free_bytes: int
    disk_bytes: int
    older_than_s: float
    shares: tuple[Share, ...]
    needed: tuple[Entry, ...]


def overview(older_than_s: float = OLDER_THAN_S) -> Overview:
    """Say what takes how much of the cache, and how much of that is old."""
    root = cache_root()
    entries = survey(Age(older_than_s, time.time()))
    folders: dict[Kind, list[Path]] = {kind: [] for kind in KINDS}
    for path in sorted(root.iterdir()) if root.is_dir() else ():
        folders[_kind_of(path.name)].append(path)
    shares = []
    whole = Weight()
    for kind, paths in folders.items():
        before = whole.taken_bytes
        for path in paths:
            whole.add(path)
        old = weigh(removed_paths(each for each in entries if each.kind == kind and each.goes))
        used_now = any(is_held(store) for store in _stores(kind))
        if paths:
            shares.append(Share(kind, whole.taken_bytes - before, old.freed_bytes, used_now))
    disk = shutil.disk_usage(_standing(root))
    needed = tuple(each for each in entries if each.reason and each.needed)
    return Overview(
        root, whole.taken_bytes, disk.free, disk.total, older_than_s, tuple(shares), needed
    )


def survey(
    age: Age, kinds: Collection[Kind] = tuple(KINDS), ours: frozenset[Path] = frozenset()
) -> tuple[Entry, ...]:
    """Return what the cache holds, entry by entry, those that rest on others first.

    Changes nothing.

    Args:
        age: what counts as old.
        kinds: what may go; all else stays.
        ours: stores that the caller is alone with.
    """
    use = _Use(ours)
    found: list[Entry] = []
    for name, (kind, what) in STORES.items():
        entries = keyed_entries(cache_root() / name, kind, what, age)
        found += use.judged(_superseded(each, age) for each in entries)
    for more in (log_entries, partial_entries, download_entries):
        found += use.judged(more(age))
    found = [_limited(each, kinds) for each in found]
    boards = (_limited(each, kinds) for each in use.judged(board_entries(age)))
    found += keep_grounds(boards)
    # Now it is known which lists and toolboxes stay.
    referred = referred_to(tuple(found))
    gone = frozenset(each.path for each in found if each.goes)
    rest = (*content_entries(referred, age), *bytecode_entries(gone))
    return (*found, *(_limited(each, kinds) for each in use.judged(rest)))


def removed_paths(entries: Iterable[Entry]) -> tuple[Path, ...]:
    """Return all that goes with some entries."""
    return tuple(path for entry in entries for path in (entry.path, *entry.beside))


class _Use:
    """Who uses what in the cache, as it is now."""

    def __init__(self, ours: frozenset[Path]) -> None:
        self._held = dict.fromkeys(ours, False)
        self._processes = used_by_processes(cache_root())
        self._mounts = mount_points()
        self._no_root: str | None = None

    def judged(self, entries: Iterable[Entry]) -> list[Entry]:
        """Return entries, those that are in use marked as needed."""
        return [replace(each, needed=self._why(each)) if each.goes else each for each in entries]

    def _why(self, entry: Entry) -> str:
        if entry.store not in self._held:
            self._held[entry.store] = is_held(entry.store)
        if self._held[entry.store]:
            return "an edgekit that runs now uses such"
        if locked(entry):
            return "it is being made or used"
        if entry.path in self._processes:
            return "a program that runs uses it"
        if any(point.is_relative_to(entry.path.resolve()) for point in self._mounts):
            return "something is mounted in it"
        return self._why_not_root() if is_of_root(entry) else ""

    def _why_not_root(self) -> str:
        if self._no_root is None:
            self._no_root = ""
            try:
                privilege.obtain("Removing it")
            except DeviceError as error:
                self._no_root = f"{error.message}: {error.hint}"
        return self._no_root


def _limited(entry: Entry, kinds: Collection[Kind]) -> Entry:
    return entry if entry.kind in kinds else replace(entry, reason="")


def _superseded(entry: Entry, age: Age) -> Entry:
    """Say of a toolbox whether its engine asks for another one now."""
    if entry.reason or entry.store.name != "toolboxes" or entry.path.parent != entry.store:
        return entry
    return replace(entry, reason=age.why(entry.used_s, superseded=_is_superseded(entry.path)))


def _is_superseded(toolbox: Path) -> bool:
    from edgekit.engines import engine_names, load_engine
    from edgekit.engines.tvm.tuning import TOOLBOX
    from edgekit.toolbox.environments import made_as, toolbox_path
    from edgekit.toolbox.native import COMPILER

    own = [load_engine(name).toolbox for name in engine_names()] + [TOOLBOX, COMPILER]
    asked = [spec for spec in own if spec.name == made_as(toolbox)]
    with suppress(OSError):
        return bool(asked) and all(toolbox_path(spec) != toolbox for spec in asked)
    return False


def _kind_of(name: str) -> Kind:
    return STORES[name][0] if name in STORES else FOLDERS.get(name, "other")


def _stores(kind: Kind) -> list[Path]:
    names = [name for name in (*STORES, *FOLDERS) if _kind_of(name) == kind]
    stores = [cache_root() / name for name in names]
    if kind == "boards" and boards_folder().is_dir():
        stores += (path for path in boards_folder().iterdir() if path.is_dir())
    return stores


def _standing(folder: Path) -> Path:
    while not folder.exists():
        folder = folder.parent
    return folder
