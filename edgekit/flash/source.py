"""Where an image comes from: a file or a URL, packed or not, read once from front to back."""

import errno
import hashlib
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Final

from edgekit.core.closing import Closing
from edgekit.core.errors import FlashError, UsageError
from edgekit.core.events import EventSink, Note, ignore
from edgekit.flash.block_map import MOST_BYTES, BlockMap, read_block_map
from edgekit.flash.decompress import (
    HEAD_BYTES,
    PIECE_BYTES,
    Kind,
    Unpacker,
    ZippedImage,
    recognise,
    recognise_named,
)
from edgekit.flash.digests import BLOCK_BYTES, Digests
from edgekit.flash.source_url import Ahead, Download, fetch_small, is_url, shown
from edgekit.flash.xz_index import unpacked_bytes
from edgekit.flash.zeros import data_runs

_PACKED: Final = re.compile(r"\.(xz|gz|bz2|zst|zip)$", re.IGNORECASE)

Block = tuple[int, memoryview | None, int]  # where, what (None: zeros), how much


def open_image(
    reference: str,
    *,
    sha256: str | None = None,
    cache: Path,
    emit: EventSink = ignore,
    block_map: str | None = None,
) -> "ImageSource":
    """Open an image to read it once.

    Args:
        reference: a file, or an ``http(s)`` URL.
        sha256: of the file as it is, or of the image in it; checked when all has been read.
        cache: the folder that keeps what is downloaded, whole or not yet.
        emit: takes what is to be told.
        block_map: file or URL of a ``.bmap``; without it, one beside the image is used.

    Raises:
        FlashError: the file is not there, or is no image.
        UsageError: ``sha256`` is none.
    """
    sha256 = None if sha256 is None else checked_sha256(sha256)
    mapped = _read_map(block_map) if block_map else _map_beside(reference)
    if mapped is not None:
        used = sum(each.end - each.start for each in mapped.ranges)
        size = max(mapped.size_bytes, 1)
        emit(Note(f"block map: {used / size:.0%} of {size / 1e9:.2f} GB is in use"))
    return ImageSource(reference, sha256, mapped, cache, emit)


def checked_sha256(text: str) -> str:
    """Return a SHA-256 as it is compared.

    Raises:
        UsageError: it is none.
    """
    sha256 = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise UsageError(f"{sha256!r} is no SHA-256", hint="give its 64 hexadecimal digits")
    return sha256


class ImageSource(Closing):
    """An image that is read once. A context manager.

    Attributes:
        name: what the user calls it, without secrets.
        block_map: what of it is in use, where that is known.
        size_bytes: of the image unpacked; ``None`` until its end is seen.
        sha256: of the image unpacked, after the end; empty for a plain file that no checksum was
            promised for: it is not made then.
    """

    def __init__(
        self,
        reference: str,
        expected: str | None,
        block_map: BlockMap | None,
        cache: Path,
        emit: EventSink,
    ) -> None:
        self.name = shown(reference) if is_url(reference) else reference
        self.block_map = block_map
        self.size_bytes: int | None = None
        self.sha256 = ""
        self._expected = expected
        self._read_bytes = 0  # of the archive
        self._archive_bytes: int | None = None
        self._archive_sha256 = hashlib.sha256()
        self._download: Download | None = None
        self._descriptor: int | None = None
        self._pieces: Iterator[bytes] = iter(())
        self._kind: Kind = "raw"
        self._open = ExitStack()
        try:
            if is_url(reference):
                self._open_url(reference, cache, emit)
            else:
                self._open_file(Path(reference))
            if block_map is not None:
                self._agree_on_size(block_map)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Let go of the file or the server."""
        self._open.close()

    @property
    def fraction(self) -> float | None:
        """How much of the archive has been read, from 0 to 1."""
        return self._read_bytes / self._archive_bytes if self._archive_bytes else None

    def extents(self) -> Iterator[tuple[int, memoryview]]:
        """Yield place and bytes of what must be written; a view holds until the next.

        What lies between is zeros, or not in use: see :meth:`zeros_between`. Only when the
        iterator has ended without an error is what it yielded the image.

        Raises:
            FlashError: the image is corrupt, cut short, or not the one that was promised.
        """
        try:
            yield from self._extents()
        except FlashError:
            if self._download is not None and not self._download.failed:
                self._download.discard()  # what is kept would be wrong the next time, too
            raise

    def zeros_between(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield what must read as zeros in a place that :meth:`extents` left out."""
        if self.block_map is None:
            yield start, end
        else:
            yield from self.block_map.within(start, end)

    def _extents(self) -> Iterator[tuple[int, memoryview]]:
        seekable = self._descriptor is not None
        # A plain file's checksum tells nothing that the file does not, and hashing its holes
        # would take longer than all the rest. Nor need be read then what is not in use.
        hashed = not seekable or self._expected is not None
        digests = Digests(self.block_map, self.name, whole=hashed)
        try:
            blocks = self._seek(digests, not hashed) if seekable else self._stream(digests)
            size = 0
            for offset, view, length in blocks:
                digests.take(offset, view, length)
                size = offset + length
                if view is not None:
                    yield from self._used(offset, view)
            digests.finish()
            self.sha256 = digests.sha256
        finally:
            digests.close()
        self._finish(size)

    def _used(self, offset: int, view: memoryview) -> Iterator[tuple[int, memoryview]]:
        for start, end in self.zeros_between(offset, offset + len(view)):
            part = view[start - offset : end - offset]
            for first, last in data_runs(part):
                yield start + first, part[first:last]

    def _finish(self, size: int) -> None:
        if self.size_bytes is None:
            self.size_bytes = size
        if not size:
            raise FlashError(f"{self.name} is empty", hint="fetch the image again")
        if self.sha256 and size != self.size_bytes:
            message = f"{self.name} has {size} bytes, and should have {self.size_bytes}"
            raise FlashError(message, hint="fetch the image again, and its block map")
        if self._expected in {None, self.sha256}:
            return
        # What is not packed was not counted as an archive: that would be the checksum of nothing.
        if self._kind != "raw" and self._expected == self._archive_sha256.hexdigest():
            return
        message = f"{self.name} is not what was promised: its SHA-256 is {self.sha256}"
        raise FlashError(message, hint="fetch it again, or check the SHA-256 that was given")

    def _open_file(self, path: Path) -> None:
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._open.callback(os.close, descriptor)
            head = os.pread(descriptor, HEAD_BYTES, 0)
            size = os.lseek(descriptor, 0, os.SEEK_END)
        except OSError as error:
            message = f"{path} cannot be read: {error.strerror}"
            raise FlashError(message, hint="check the image's path") from error
        self._archive_bytes = size
        self._kind = recognise_named(head, str(path))
        if self._kind == "raw":
            self._descriptor, self.size_bytes = descriptor, size
        elif self._kind == "zip":
            self._open_zip(path)
        else:
            self._pieces = self._counted(_pieces_of(descriptor))
        if self._kind == "xz":
            self.size_bytes = unpacked_bytes(lambda many, at: os.pread(descriptor, many, at), size)

    def _open_url(self, url: str, cache: Path, emit: EventSink) -> None:
        expected = self._expected is not None
        download = Download(url, cache, expected=expected, emit=emit)
        self._download = self._open.enter_context(download)
        self._archive_bytes = download.size_bytes
        pieces = download.pieces()
        head = b""
        while len(head) < HEAD_BYTES and (piece := next(pieces, b"")):
            head += piece
        self._kind = recognise_named(head[:HEAD_BYTES], _path_of(url))
        if self._kind == "zip":
            emit(Note("the table of contents of a .zip is at its end: it is fetched whole first"))
            for _piece in pieces:
                pass
            self._open_zip(download.path)
            return
        if self._kind == "raw":
            self.size_bytes = download.size_bytes
        ahead = Ahead(pieces)
        self._open.callback(ahead.stop)
        self._open.callback(download.close)  # first, so that the thread's reading ends
        self._pieces = self._counted(chain([head], ahead))

    def _open_zip(self, path: Path) -> None:
        zipped = ZippedImage(path, self.name)
        self._open.callback(zipped.close)
        self.size_bytes = self._archive_bytes = zipped.size_bytes
        if self._expected is not None:
            with path.open("rb") as file:
                self._archive_sha256 = hashlib.file_digest(file, "sha256")
        self._pieces = self._counted(zipped.pieces(), digest=False)

    def _agree_on_size(self, block_map: BlockMap) -> None:
        if self.size_bytes not in {None, block_map.size_bytes}:
            message = (
                f"{self.name} has {self.size_bytes} bytes, and its block map is of an image "
                f"of {block_map.size_bytes}"
            )
            raise FlashError(message, hint="fetch both again, or remove the block map")
        self.size_bytes = block_map.size_bytes

    def _counted(self, pieces: Iterator[bytes], *, digest: bool = True) -> Iterator[bytes]:
        digest = digest and self._expected is not None
        for piece in pieces:
            self._read_bytes += len(piece)
            if digest:
                self._archive_sha256.update(piece)
            yield piece

    def _unpacked(self) -> Iterator[bytes]:
        if self._kind in {"raw", "zip"}:
            yield from self._pieces
            return
        unpacker = Unpacker(self._kind, self.name)
        for piece in self._pieces:
            yield from unpacker.feed(piece)
        unpacker.finish()

    def _stream(self, digests: Digests) -> Iterator[Block]:
        """Read from front to back, in blocks at multiples of their size."""
        offset = used = 0
        buffer = digests.buffer()
        for piece in self._unpacked():
            if not offset and not used and self._kind != "raw":
                self._refuse_nested(piece)
            view = memoryview(piece)
            while view:
                size = min(len(view), BLOCK_BYTES - used)
                buffer[used : used + size] = view[:size]
                used, view = used + size, view[size:]
                if used == BLOCK_BYTES:
                    yield offset, buffer, used
                    buffer, offset, used = digests.buffer(), offset + used, 0
        if used:
            yield offset, buffer[:used], used

    def _refuse_nested(self, head: bytes) -> None:
        kind = recognise(head[:HEAD_BYTES])
        if kind != "raw":
            message = f"{self.name} holds a .{kind} archive, not a disk image"
            raise FlashError(message, hint="unpack it and give the image that is in it")

    def _seek(self, digests: Digests, partly: bool) -> Iterator[Block]:
        """Read a file's data and leave out its holes, or all that is not in use."""
        assert self._descriptor is not None  # noqa: S101 - the caller looked
        size = self.size_bytes or 0
        ranges = _data_and_holes(self._descriptor, size)
        if partly and self.block_map is not None:
            ranges = ((each.start, each.end, True) for each in self.block_map.ranges)
        for start, end, is_data in ranges:
            if not is_data:
                digests.buffer()
                yield start, None, end - start
                continue
            for at in range(start - start % BLOCK_BYTES, end, BLOCK_BYTES):
                first, last = max(at, start), min(at + BLOCK_BYTES, end)
                view = digests.buffer()[: last - first]
                if os.preadv(self._descriptor, [view], first) != len(view):
                    message = f"{self.name} became shorter while it was read"
                    raise FlashError(message, hint="wait until nothing writes to it any more")
                self._read_bytes = last
                yield first, view, len(view)


def _pieces_of(descriptor: int) -> Iterator[bytes]:
    offset = 0
    while piece := os.pread(descriptor, PIECE_BYTES, offset):
        offset += len(piece)
        yield piece


def _data_and_holes(descriptor: int, size: int) -> Iterator[tuple[int, int, bool]]:
    """Yield start, end and whether it is data; a file system without holes has data only."""
    at = 0
    while at < size:
        try:
            start = os.lseek(descriptor, at, os.SEEK_DATA)
        except OSError as error:
            start = size if error.errno == errno.ENXIO else at
        if start > at:
            yield at, min(start, size), False
        if start >= size:
            return
        try:
            end = os.lseek(descriptor, start, os.SEEK_HOLE)
        except OSError:
            end = size
        yield start, min(end, size), True
        at = end


def _path_of(url: str) -> str:
    return shown(url)


def _map_beside(reference: str) -> BlockMap | None:
    """Find the map as bmaptool does: by the image's name, with fewer and fewer suffixes."""
    base = _PACKED.sub("", reference)
    names = dict.fromkeys(
        [f"{reference}.bmap", f"{base}.bmap", re.sub(r"\.[^./]*$", "", base) + ".bmap"]
    )
    for name in names:
        if is_url(reference) and "?" in reference:
            return None  # what is asked for is no file with a name
        content = _content(name)
        # Some servers answer with a page where there is nothing, and nobody asked for a map.
        if content is not None and (b"<bmap" in content or not is_url(name)):
            return read_block_map(content, name)
    return None


def _read_map(reference: str) -> BlockMap:
    content = _content(reference)
    if content is None:
        raise FlashError(f"{reference} is not there", hint="check the block map's path")
    return read_block_map(content, reference)


def _content(reference: str) -> bytes | None:
    if is_url(reference):
        return fetch_small(reference, MOST_BYTES)
    try:
        with Path(reference).open("rb") as file:
            return file.read(MOST_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise FlashError(f"{reference} cannot be read: {error.strerror}") from error
