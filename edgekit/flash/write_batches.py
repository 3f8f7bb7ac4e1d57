"""An image on its way to several disks: cut once into batches that all of them share."""

import contextlib
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, Protocol

from edgekit.flash.memory import buffer
from edgekit.flash.verify import STEP_BYTES, Piece, digest

HEAD_BYTES: Final = 1 << 20
"""What is written last: boot sector, partition table, and the first stage of every known SoC's
boot loader (Allwinner 8 KiB, i.MX 33 KiB, Rockchip 32 KiB behind the start)."""

_ALIGNMENT: Final = 4096
_ZEROS_BYTES: Final = 64 << 20  # so that a disk which is slow at zeros still shows headway
_MOST_PIECES: Final = 64
_WAIT_S: Final = 0.2


class Gaps(Protocol):
    """What of an image's gaps counts."""

    def zeros_between(self, start: int, end: int) -> Iterable[tuple[int, int]]:
        """Yield what must read as zeros in a gap."""


class Buffers:
    """A fixed number of aligned buffers."""

    def __init__(self, count: int) -> None:
        self._free: queue.SimpleQueue[memoryview] = queue.SimpleQueue()
        for _buffer in range(count):
            self._free.put(buffer(STEP_BYTES))

    def take(self, while_waiting: Callable[[], None]) -> memoryview:
        """Return a free buffer; ``while_waiting`` is called now and then until there is one."""
        while True:
            with contextlib.suppress(queue.Empty):
                return self._free.get(timeout=_WAIT_S)
            while_waiting()

    def give(self, buffer: memoryview) -> None:
        """Take a buffer back."""
        self._free.put(buffer)


@dataclass
class Batch:
    """Pieces in one buffer. Every disk that got it releases it once."""

    buffers: Buffers
    buffer: memoryview | None = None
    used: int = 0
    pieces: list[tuple[Piece, memoryview | None]] = field(default_factory=list)
    holders: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def release(self) -> None:
        """Tell that one holder needs it no more."""
        with self._lock:
            self.holders -= 1
            free = not self.holders and self.buffer is not None
        if free and self.buffer is not None:
            self.buffers.give(self.buffer)
            self.buffer = None


@dataclass(frozen=True)
class Image:
    """All of an image that was sent, for the end: its head, and what head and body must hold.

    The pieces were made before anything was written: a driver may spoil what it is given to write.
    """

    size_bytes: int
    head: memoryview
    head_piece: Piece
    body: tuple[Piece, ...]


class Cutter:
    """Cuts extents into batches, keeps the head back, and notes what must be on the disks."""

    def __init__(
        self,
        gaps: Gaps,
        buffers: Buffers,
        send: Callable[[Batch], None],
        while_waiting: Callable[[], None],
    ) -> None:
        self._gaps = gaps
        self._buffers = buffers
        self._send = send
        self._while_waiting = while_waiting
        self._head = buffer(HEAD_BYTES)
        self._body: list[Piece] = []
        self._batch = Batch(buffers)
        self._at = 0

    def add(self, offset: int, view: memoryview) -> None:
        """Take what stands at a place; what lies before it and was not taken is a gap."""
        self._zeros(self._at, offset)
        self._at = offset + len(view)
        if offset < HEAD_BYTES:
            size = min(len(view), HEAD_BYTES - offset)
            self._head[offset : offset + size] = view[:size]
            offset, view = offset + size, view[size:]
        while view:
            size = self._copy(offset, view)
            offset, view = offset + size, view[size:]

    def end(self, size_bytes: int) -> Image:
        """Send what is left; return the whole."""
        self._zeros(self._at, size_bytes)
        self._flush()
        head = self._head[: min(HEAD_BYTES, size_bytes)]
        return Image(size_bytes, head, digest(0, head), tuple(self._body))

    def _copy(self, offset: int, view: memoryview) -> int:
        batch = self._batch
        if batch.buffer is None:
            batch.buffer = self._buffers.take(self._while_waiting)
        size = min(len(view), STEP_BYTES - batch.used)
        copy = batch.buffer[batch.used : batch.used + size]
        copy[:] = view[:size]
        self._note(digest(offset, copy), copy)
        batch.used += -(-size // _ALIGNMENT) * _ALIGNMENT
        if batch.used >= STEP_BYTES or len(batch.pieces) >= _MOST_PIECES:
            self._flush()
        return size

    def _zeros(self, start: int, end: int) -> None:
        start = max(start, HEAD_BYTES)
        if start >= end:
            return
        for first, last in self._gaps.zeros_between(start, end):
            for at in range(first, last, _ZEROS_BYTES):
                self._note(Piece(at, min(_ZEROS_BYTES, last - at), None), None)
        if len(self._batch.pieces) >= _MOST_PIECES:
            self._flush()

    def _note(self, piece: Piece, copy: memoryview | None) -> None:
        self._body.append(piece)
        self._batch.pieces.append((piece, copy))

    def _flush(self) -> None:
        batch, self._batch = self._batch, Batch(self._buffers)
        if batch.pieces:
            self._send(batch)
