"""Does a disk hold what was written? It is read past the page cache, every byte that counts."""

import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Final

from edgekit.core.errors import FlashError
from edgekit.flash.memory import buffer
from edgekit.flash.write_disk import SECTOR_BYTES, OpenDisk
from edgekit.flash.zeros import is_zero

STEP_BYTES: Final = 4 << 20

_READERS: Final = 2  # one reads while the other digests


@dataclass(frozen=True)
class Piece:
    """A place of an image.

    Attributes:
        crc: CRC-32 of its bytes, at most a step of them, made while they were decompressed;
            ``None``: they are zeros, any number.
    """

    offset: int
    length: int
    crc: int | None


def digest(offset: int, view: memoryview) -> Piece:
    """Make the piece of some bytes."""
    return Piece(offset, len(view), zlib.crc32(view))


def verify(
    disk: OpenDisk, pieces: Iterable[Piece], progress: Callable[[int], None] = lambda _size: None
) -> None:
    """Read a flushed disk and compare it with the pieces of its image.

    Raises:
        FlashError: it holds something else somewhere, or cannot be read there.
    """
    buffers: SimpleQueue[memoryview] = SimpleQueue()
    for _reader in range(_READERS):
        buffers.put(buffer(STEP_BYTES))
    running: set[Future[int]] = set()

    def check(piece: Piece) -> int:
        memory = buffers.get()
        try:
            return _check(disk, piece, memory)
        finally:
            buffers.put(memory)

    with ThreadPoolExecutor(_READERS, thread_name_prefix="edgekit-verify") as readers:
        try:
            for piece in _steps(pieces):
                if len(running) >= 2 * _READERS:
                    running = _drain(running, progress)
                running.add(readers.submit(check, piece))
            while running:
                running = _drain(running, progress)
        except BaseException:
            readers.shutdown(wait=False, cancel_futures=True)
            raise


def total_bytes(pieces: Sequence[Piece]) -> int:
    """Return how much of a disk verifying them covers."""
    return sum(piece.length for piece in pieces)


def _steps(pieces: Iterable[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        if piece.crc is not None:
            yield piece
            continue
        end = piece.offset + piece.length
        for at in range(piece.offset, end, 16 * STEP_BYTES):
            yield Piece(at, min(16 * STEP_BYTES, end - at), None)


def _drain(running: set[Future[int]], progress: Callable[[int], None]) -> set[Future[int]]:
    done, rest = wait(running, return_when=FIRST_COMPLETED)
    for each in done:
        progress(each.result())
    return rest


def _check(disk: OpenDisk, piece: Piece, memory: memoryview) -> int:
    end = piece.offset + piece.length
    if piece.crc is not None:
        view = memory[: piece.length]
        disk.read(piece.offset, view)
        if zlib.crc32(view) != piece.crc:
            raise _differs(disk, piece.offset, end)
        return piece.length
    for start, stop in disk.data_within(piece.offset, end):
        for at in range(start, stop, STEP_BYTES):
            view = memory[: min(STEP_BYTES, stop - at)]
            disk.read(at, view)
            if not is_zero(view):
                raise _differs(disk, at, at + len(view))
    return piece.length


def _differs(disk: OpenDisk, start: int, end: int) -> FlashError:
    message = (
        f"{disk.disk.path} does not hold what was written to it, somewhere in sectors "
        f"{start // SECTOR_BYTES} to {-(-end // SECTOR_BYTES) - 1}"
    )
    return FlashError(message, hint="use another disk: this one forgets or lies about its size")
