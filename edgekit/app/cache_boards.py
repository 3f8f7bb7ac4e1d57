"""What virtual boards have in the cache: parts that they share, and never a board's own files.

A board's own files are changes to a part, so a part stays as long as a board stands on it, be the
board up or not.
"""

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Final

from edgekit.app.cache_entries import (
    DOOMED,
    SOON_S,
    Age,
    Entry,
    keyed_entries,
    modified_s,
)
from edgekit.board.leftovers import Ground, current_parts, grounds, image_below
from edgekit.board.machine import DISK
from edgekit.board.rootfs import boards_folder, rootfs_lock

_STORES: Final = {
    "images": "disk of system boards",
    "disks": "disk that boots by itself",
    "kernels": "kernel of system boards",
    "modules": "kernel modules of system boards",
    "boot-parts": "boot loader of disks",
    "states": "booted system board",
}
_ROOTFS: Final = "root file system"
# What is half made stands under its recipe's or its image's name.
_MAKING: Final = re.compile(r"\.(building-(?P<rootfs>rootfs-.*)-\d+|(?P<store>image|disk)-(.*))")
_NEEDS_KERNEL: Final = frozenset({"kernels", "modules"})


def board_entries(age: Age) -> tuple[Entry, ...]:
    """Return the parts of boards, those that rest on others first."""
    current = current_parts()
    found: list[Entry] = []
    for name in ("states", *(each for each in _STORES if each != "states")):
        entries = keyed_entries(boards_folder() / name, "boards", _STORES[name], age)
        found += (_judged(entry, current, age) for entry in entries)
    found += _rootfs_entries(current, age)
    return tuple(found)


def keep_grounds(entries: Iterable[Entry]) -> tuple[Entry, ...]:
    """Return the entries, those needed that boards or states stand on which stay."""
    boards = grounds()
    judged: list[Entry] = []
    under: dict[Path, str] = {}
    for entry in entries:
        new = entry
        if entry.goes and entry.path in under:
            new = replace(entry, needed=under[entry.path])
        elif entry.goes and (why := _why_needed(entry, boards)):
            new = replace(entry, needed=why)
        if not new.goes and new.rests_on is not None:
            under[new.rests_on] = "a booted system board stands on it"
        judged.append(new)
    return tuple(judged)


def _judged(entry: Entry, current: frozenset[Path], age: Age) -> Entry:
    """Say whether a part that is whole is superseded, and on what it rests."""
    if entry.path.parent != entry.store or entry.path.name.startswith(DOOMED):
        return entry
    if entry.store.name != "states":
        superseded = entry.path not in current
        return replace(entry, reason=age.why(entry.used_s, superseded=superseded))
    try:
        image = image_below(entry.path / DISK)
    except FileNotFoundError:
        image = None
    superseded = image is not None and image not in current
    reason = age.why(entry.used_s, superseded=superseded)
    return replace(entry, reason=reason, rests_on=image)


def _rootfs_entries(current: frozenset[Path], age: Age) -> Iterator[Entry]:
    store = boards_folder()
    for path in sorted(store.glob("*")):
        if not path.name.startswith("rootfs-") or path.is_symlink() or not path.is_dir():
            continue
        log, lock = path.with_name(f"{path.name}.log"), rootfs_lock(path.name)
        # The folder's own time is that of the board's root folder, which may be any.
        used_s = max(modified_s(log), modified_s(lock)) or path.stat().st_ctime
        reason = age.why(used_s, superseded=path not in current)
        yield Entry("boards", _ROOTFS, store, path, used_s, reason, lock=lock, beside=(log,))
    for path in sorted(store.glob(".*")):
        made_s = modified_s(path)
        if path.name.startswith(DOOMED):
            yield Entry("boards", _ROOTFS, store, path, made_s, "half removed")
        elif making := _MAKING.fullmatch(path.name):
            lock = _lock_of(making)
            old = age.now_s - made_s >= min(age.older_than_s, SOON_S)
            reason = "half made" if old else ""
            yield Entry("boards", _ROOTFS, store, path, made_s, reason, lock=lock)


def _lock_of(making: re.Match[str]) -> Path:
    if making["rootfs"]:
        return rootfs_lock(making["rootfs"])
    return boards_folder() / f"{making['store']}s" / ".locks" / making[4]


def _why_needed(entry: Entry, boards: Iterable[Ground]) -> str:
    """Return for which board a part must stay, empty if for none."""
    if entry.what == _ROOTFS:
        if not entry.path.name.startswith("rootfs-"):
            return ""
    elif entry.store.name not in {"images", *_NEEDS_KERNEL}:
        return ""
    for ground in boards:
        if entry.path in ground.parts or (entry.store.name in _NEEDS_KERNEL and ground.boots):
            return f"virtual board {ground.board} stands on it"
        if not ground.known and entry.store.name not in _NEEDS_KERNEL:
            return f"virtual board {ground.board} may stand on it"
    return ""


def is_of_root(entry: Entry) -> bool:
    """Tell whether root alone can remove an entry that is in the folder of boards."""
    try:
        owner = entry.path.stat(follow_symlinks=False).st_uid
    except OSError:
        return False
    return entry.store == boards_folder() and owner != os.geteuid()
