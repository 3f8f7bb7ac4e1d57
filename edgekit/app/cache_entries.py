"""What stands in the cache, entry by entry, and why one may go."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from edgekit.catalog.cache import cache_root
from edgekit.catalog.in_use import is_locked
from edgekit.flash.downloads import ABOUT, CONTENT, LOCK

Kind = Literal["boards", "toolboxes", "builds", "data", "devices", "images", "logs", "other"]

KINDS: Final[dict[Kind, str]] = {
    "boards": "virtual boards",
    "toolboxes": "toolboxes of engines, and their compiled Python",
    "builds": "builds for boards, and their scores",
    "data": "models and data",
    "devices": "wheels and runtimes of devices",
    "images": "images to flash",
    "logs": "logs",
    "other": "other",
}

# Stores of folders by key, and what one of them is. Those of boards are in a file of their own.
STORES: Final[dict[str, tuple[Kind, str]]] = {
    "toolboxes": ("toolboxes", "toolbox"),
    "builds": ("builds", "build"),
    "compiled": ("builds", "compiled program"),
    "native": ("builds", "compiled program"),
    "static": ("builds", "static program"),
    "runners": ("builds", "runner"),
    "twins": ("builds", "comparison of values"),
    "tasks": ("builds", "tuning tasks of a model"),
    "made": ("builds", "what a device made of a build"),
    "scores": ("builds", "score"),
    "judged": ("builds", "judgement of an int8 build"),
    "sensitivity": ("builds", "sensitivity of a model"),
    "models": ("data", "model in normal form"),
    "exports": ("data", "exported model"),
    "lossless": ("data", "model in normal form"),
    "labels": ("data", "labels"),
    "frames": ("data", "list of frames"),
    "calibration": ("data", "calibration set"),
    "evaluation": ("data", "evaluation set"),
    "reference": ("data", "answers of ONNX Runtime"),
    "wheels": ("devices", "list of wheels"),
    "images": ("images", "unpacked image"),
    "counting": ("boards", "emulator that counts"),
}
# Other folders: looked into by a function of their own, or never removed from.
FOLDERS: Final[dict[str, Kind]] = {
    "boards": "boards",
    "bytecode": "toolboxes",
    "content": "data",
    "partial": "data",
    "agent": "devices",
    "host-device": "devices",
    "downloads": "images",
    "logs": "logs",
}
DOOMED: Final = ".doomed-"
"""With what the name of a folder begins that is being removed."""

SOON_S: Final = 24 * 3600.0
"""How long what is superseded stays after its last use: another edgekit may share the cache."""

_KEY: Final = re.compile(r"[0-9a-f]{64}")
_SCRATCH: Final = (".once-", ".unit-", ".add-")
_DAY_S: Final = 24 * 3600


@dataclass(frozen=True)
class Entry:
    """A folder or file that goes or stays as a whole.

    Attributes:
        store: folder that is held by who uses the entry.
        used_s: when it was last used or made, in seconds of the epoch.
        reason: why it may go; empty: it stays.
        needed: why it stays although it might go by itself.
        lock: of who makes or uses it.
        beside: files that go with it.
        rests_on: folder that must stay as long as this one does.
    """

    kind: Kind
    what: str
    store: Path
    path: Path
    used_s: float
    reason: str = ""
    needed: str = ""
    lock: Path | None = None
    beside: tuple[Path, ...] = field(default=(), compare=False)
    rests_on: Path | None = None

    @property
    def goes(self) -> bool:
        """Whether it is to be removed."""
        return bool(self.reason) and not self.needed


@dataclass(frozen=True)
class Age:
    """How long something must not have been used, counted from now, to be old."""

    older_than_s: float
    now_s: float

    def why(self, used_s: float, *, superseded: bool = False) -> str:
        """Return why what was used then may go, empty if it may not."""
        idle_s = self.now_s - used_s
        if superseded and idle_s >= min(self.older_than_s, SOON_S):
            return "superseded"
        if idle_s < self.older_than_s:
            return ""
        if self.older_than_s < _DAY_S:
            return "not in use"
        return f"not used for {self.older_than_s / _DAY_S:g} days"


def keyed_entries(store: Path, kind: Kind, what: str, age: Age) -> Iterator[Entry]:
    """Give the folders of a ``KeyedCache``: built ones, half-made ones and half-removed ones."""
    for path in _children(store):
        if not _KEY.fullmatch(path.name) or path.is_symlink() or not path.is_dir():
            continue
        lock = store / ".locks" / path.name
        used_s = modified_s(path)
        yield Entry(kind, what, store, path, used_s, age.why(used_s), lock=lock)
    for path in _children(store / ".building"):
        making = None if path.name.startswith(DOOMED) else store / ".locks" / path.name
        yield Entry(kind, what, store, path, modified_s(path), "half made", lock=making)
    yield from scratch_entries(store, kind, what, age)


def scratch_entries(store: Path, kind: Kind, what: str, age: Age) -> Iterator[Entry]:
    """Give what is left of a removal that was cut short, and of programs that died."""
    for path in _children(store):
        used_s = modified_s(path)
        if path.name.startswith(DOOMED):
            yield Entry(kind, what, store, path, used_s, "half removed")
        # Who works in them may hold nothing: a day and more is longer than that takes.
        elif path.name.startswith(_SCRATCH):
            reason = "half made" if age.now_s - used_s >= max(age.older_than_s, SOON_S) else ""
            yield Entry(kind, what, store, path, used_s, reason)


def log_entries(age: Age) -> Iterator[Entry]:
    """Give the logs of builds and toolboxes."""
    store = cache_root() / "logs"
    for path in sorted(store.glob("*.log")):
        used_s = modified_s(path)
        yield Entry("logs", "log", store, path, used_s, age.why(used_s))


def partial_entries(age: Age) -> Iterator[Entry]:
    """Give models of which a part was fetched."""
    store = cache_root() / "partial"
    for path in sorted(store.glob("*.part")):
        used_s = modified_s(path)
        lock = path.with_suffix(".lock")
        yield Entry("data", "half-fetched model", store, path, used_s, age.why(used_s), lock=lock)


def download_entries(age: Age) -> Iterator[Entry]:
    """Give images as they were fetched; each has a folder with a lock of its own, which stays."""
    store = cache_root() / "downloads"
    for folder in _children(store):
        path, about = folder / CONTENT, folder / ABOUT
        if not path.is_file():
            continue
        used_s = max(modified_s(path), modified_s(about))
        yield Entry(
            *("images", "fetched image", store, path, used_s, age.why(used_s)),
            lock=folder / LOCK,
            beside=(about,),
        )


def bytecode_entries(gone: frozenset[Path]) -> Iterator[Entry]:
    """Give compiled Python of programs that are not there, or that go now.

    It stands under the path of what it was compiled from.
    """
    store = cache_root() / "bytecode"
    todo = _children(store)
    while todo:
        path = todo.pop()
        source = Path("/") / path.relative_to(store)
        if not path.is_dir() or path.is_symlink():
            continue
        if path.name.startswith(DOOMED):
            yield Entry("toolboxes", "compiled Python", store, path, 0.0, "half removed")
        elif source in gone or not source.exists():
            used_s = modified_s(path)
            yield Entry("toolboxes", "compiled Python", store, path, used_s, "its program is gone")
        elif not (source / "pyvenv.cfg").is_file():
            todo += _children(path)


def content_entries(referred: frozenset[str], age: Age) -> Iterator[Entry]:
    """Give files by content; those that a list refers to which stays are needed."""
    store = cache_root() / "content"
    for shard in _children(store):
        if len(shard.name) != len("00") or not shard.is_dir():
            continue
        for path in _children(shard):
            if not _KEY.fullmatch(path.name):
                continue
            stamp = store / ".used" / path.name
            used_s = max(modified_s(path), modified_s(stamp))
            reason = "" if path.name in referred else age.why(used_s)
            yield Entry(
                *("data", "model, frame or wheel", store, path, used_s, reason), beside=(stamp,)
            )
    yield from scratch_entries(store, "data", "model, frame or wheel", age)


def referred_to(entries: tuple[Entry, ...]) -> frozenset[str]:
    """Return the hashes of content that lists speak of which do not go."""
    found: set[str] = set()
    for entry in entries:
        if entry.goes or not entry.path.is_dir():
            continue
        for path in _children(entry.path):
            if path.suffix == ".json" and path.is_file():
                found.update(_KEY.findall(path.read_text(encoding="utf-8", errors="replace")))
    return frozenset(found)


def locked(entry: Entry) -> bool:
    """Tell whether somebody makes or uses the entry at this moment."""
    return entry.lock is not None and is_locked(entry.lock)


def modified_s(path: Path) -> float:
    """Return when a file or folder was last written or stamped; 0 if it is not there."""
    try:
        return path.stat(follow_symlinks=False).st_mtime
    except OSError:
        return 0.0


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []
