"""What a reader of a filesystem offers, whichever filesystem it is."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from edgekit.flash.region import Region, UnreadableError

EntryKind = Literal["file", "folder", "link", "other"]
_DEEPEST: Final = 8


@dataclass(frozen=True)
class Entry:
    """One name in a folder."""

    name: str
    kind: EntryKind
    size_bytes: int


class Files(Protocol):
    """The files of one filesystem in an image, by absolute paths with ``/``. It only reads."""

    def list(self, path: str) -> tuple[Entry, ...]:
        """Return what stands in a folder, empty where there is no such folder.

        Raises:
            UnreadableError: the filesystem is broken there.
        """

    def read(self, path: str, most: int | None = None) -> bytes | None:
        """Return a file, or its first ``most`` bytes; ``None`` where there is no such file.

        Raises:
            UnreadableError: the filesystem is broken there.
        """


def open_files(region: Region, filesystem: str) -> Files:
    """Return a reader of the filesystem that a region holds.

    Raises:
        UnreadableError: it is broken, or of a kind that edgekit does not read.
    """
    if filesystem == "vfat":
        from edgekit.flash.fat import Fat

        return Fat(region)
    if filesystem in {"ext2", "ext3", "ext4"}:
        from edgekit.flash.ext4 import Ext4

        return Ext4(region)
    raise UnreadableError(f"edgekit reads no {filesystem or 'unknown filesystem'}")


def walk(files: Files, folder: str, depth: int = _DEEPEST) -> Iterator[str]:
    """Yield the paths of all files below a folder; links are not followed."""
    for entry in files.list(folder):
        path = f"{folder.rstrip('/')}/{entry.name}"
        if entry.kind == "file":
            yield path
        elif entry.kind == "folder" and depth:
            yield from walk(files, path, depth - 1)
