"""Writes an image to disks and verifies it: several at once from one decompression.

The first sectors are cleared first and written last, after everything else is known to be on
the disk: one that was left half written, or that failed, does not boot.
"""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from edgekit.core.errors import FlashError
from edgekit.core.events import Event, EventSink, ignore
from edgekit.core.flash import Disk, Written
from edgekit.flash.write_batches import Batch, Buffers, Cutter, Gaps, Image
from edgekit.flash.write_disk import DiskFile
from edgekit.flash.write_lane import Lane, Opener, Plan

if TYPE_CHECKING:
    from pathlib import Path

_BUFFERS: Final = 6  # what is being filled, and what the slowest disk has before it
_STALL_S: Final = 120.0


class Readable(Gaps, Protocol):
    """What is written: :class:`edgekit.flash.source.ImageSource`."""

    @property
    def size_bytes(self) -> int | None:
        """Its size, once it is known."""

    @property
    def sha256(self) -> str:
        """Its checksum, after the end."""

    @property
    def fraction(self) -> float | None:
        """How much has been read."""

    def extents(self) -> Iterator[tuple[int, memoryview]]:
        """Yield what must be written."""


def write_image(
    source: Readable,
    disks: Sequence[Disk],
    *,
    verify: bool = True,
    emit: EventSink = ignore,
    opener: Opener = DiskFile,
    stall_s: float = _STALL_S,
) -> tuple[Written, ...]:
    """Write an image to every disk; return what became of each, in their order.

    A disk that fails does not stop the others: its :attr:`Written.error` says why. All go at the
    pace of the slowest, and one that does not answer for ``stall_s`` seconds is given up.

    Raises:
        FlashError: the image could not be read to its end, or is not the one that was promised;
            no disk was made to boot.
    """
    _refuse_twice(disks)
    plan = Plan(
        source.size_bytes, verify, opener, stall_s, lambda: source.fraction, _one_at_a_time(emit)
    )
    lanes = [Lane(disk, plan) for disk in disks]
    with _running(lanes):
        image = _send(source, lanes)
        for lane in lanes:
            lane.offer(image)
    size = image.size_bytes if image is not None else source.size_bytes or 0
    return tuple(
        Written(
            lane.disk,
            source.sha256 if image is not None else "",
            size,
            lane.written_bytes,
            lane.write_s,
            lane.verify_s,
            lane.error,
        )
        for lane in lanes
    )


def _send(source: Readable, lanes: Sequence[Lane]) -> Image | None:
    """Read the image once, and give it to all; ``None``: nobody was left to take it."""

    def send(batch: Batch) -> None:
        batch.holders = len(lanes)
        for lane in lanes:
            lane.offer(batch)

    def look() -> None:
        for lane in lanes:
            lane.look()

    cutter = Cutter(source, Buffers(_BUFFERS + len(lanes)), send, look)
    for offset, view in source.extents():
        cutter.add(offset, view)
        if all(lane.ended.is_set() for lane in lanes):
            return None
    assert source.size_bytes is not None  # noqa: S101 - its end was seen
    return cutter.end(source.size_bytes)


@contextmanager
def _running(lanes: Sequence[Lane]) -> Iterator[None]:
    for lane in lanes:
        lane.start()
    try:
        yield
    except BaseException:
        for lane in lanes:
            lane.offer(None)
        raise
    finally:
        for lane in lanes:
            lane.wait()


def _refuse_twice(disks: Sequence[Disk]) -> None:
    seen: set[Path] = set()
    for disk in disks:
        path = disk.path.resolve()
        if path in seen:
            raise FlashError(f"{disk.path} is named twice", hint="name every disk once")
        seen.add(path)


def _one_at_a_time(emit: EventSink) -> EventSink:
    lock = threading.Lock()

    def emit_alone(event: Event) -> None:
        with lock:
            emit(event)

    return emit_alone
