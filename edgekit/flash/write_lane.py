"""One disk's share of the work, on a thread of its own."""

import contextlib
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edgekit.core.errors import FlashError
from edgekit.core.events import EventSink
from edgekit.core.flash import Disk
from edgekit.flash.memory import buffer
from edgekit.flash.verify import Piece, total_bytes, verify
from edgekit.flash.write_batches import HEAD_BYTES, Batch, Image
from edgekit.flash.write_disk import SECTOR_BYTES, OpenDisk
from edgekit.flash.write_progress import Progress

Opener = Callable[[Disk], OpenDisk]

_WAITING: Final = 3  # batches
_LOOK_S: Final = 0.2
_GPT_SECTORS: Final = 33  # of the backup at a disk's end: 32 of entries, one header


@dataclass(frozen=True)
class Plan:
    """What is the same for all disks of one image.

    Attributes:
        size_bytes: of the image, where it is known beforehand.
        fraction: asks how much of the source was read.
        stall_s: how long a disk may take for one step before it counts as dead.
    """

    size_bytes: int | None
    verify: bool
    opener: Opener
    stall_s: float
    fraction: Callable[[], float | None]
    emit: EventSink


class Lane:
    """Takes batches and writes them; then verifies, and writes the head.

    Attributes:
        ended: set when nothing more comes from it, whatever became of it.
        error: why the disk must not be used.
    """

    def __init__(self, disk: Disk, plan: Plan) -> None:
        self.disk = disk
        self.ended = threading.Event()
        self.error: str | None = "it was not finished"
        self.written_bytes = 0
        self.write_s = 0.0
        self.verify_s = 0.0
        self._plan = plan
        self._orders: queue.Queue[Batch | Image | None] = queue.Queue(_WAITING)
        self._moved_s = time.monotonic()
        self._given_up = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"edgekit-{disk.path}", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def offer(self, order: Batch | Image | None) -> None:
        """Give the next batch, the end, or ``None`` to break off; wait while the disk is slow."""
        while not self.ended.is_set():
            with contextlib.suppress(queue.Full):
                self._orders.put(order, timeout=_LOOK_S)
                return
            self.look()
        if isinstance(order, Batch):
            order.release()
        self.look()

    def look(self) -> None:
        """Give a disk up that makes no headway; take back what one that ended will not need."""
        if not self.ended.is_set() and self._stalled():
            self._given_up.set()
            self.error = f"{self.disk.path} has not answered for {self._plan.stall_s:.0f} s"
            self.ended.set()
        if self.ended.is_set():
            with contextlib.suppress(queue.Empty):
                while True:
                    order = self._orders.get_nowait()
                    if isinstance(order, Batch):
                        order.release()

    def wait(self) -> None:
        """Return when it has ended, or was given up."""
        while not self.ended.wait(_LOOK_S):
            self.look()

    def _stalled(self) -> bool:
        return time.monotonic() - self._moved_s > self._plan.stall_s

    def _moved(self) -> None:
        self._moved_s = time.monotonic()
        if self._given_up.is_set():
            raise FlashError("it was given up")

    def _run(self) -> None:
        error: str | None = None
        try:
            self._work()
        except FlashError as fault:
            error = f"{fault.message}; {fault.hint}" if fault.hint else fault.message
        except BaseException as fault:  # noqa: BLE001 - whatever it is, the disk is not written
            error = f"{self.disk.path}: {fault!r}"
        if not self._given_up.is_set():
            self.error = error
            self.ended.set()

    def _work(self) -> None:
        if self._plan.size_bytes is not None:
            self._refuse_small(self._plan.size_bytes)
        disk = self._plan.opener(self.disk)
        try:
            progress = Progress(
                f"write:{self.disk.path}", f"write {self.disk.path}", self._plan.emit
            )
            try:
                self._clear(disk)
                image = self._write_body(disk, progress)
                self._finish(disk, image, progress)
            except BaseException:
                progress.end("failed", ok=False)
                raise
        finally:
            disk.close()

    def _clear(self, disk: OpenDisk) -> None:
        """Leave nothing that boots: neither what is to come, half written, nor what was."""
        if self._plan.size_bytes is not None:
            disk.discard(self._plan.size_bytes)
        self._clear_head(disk)
        block = self.disk.logical_block_bytes
        last = self.disk.size_bytes // block - 1
        backup = memoryview(bytearray(block))
        if last > _GPT_SECTORS:
            disk.read(last * block, backup)
            if (
                bytes(backup[:8]) == b"EFI PART"
            ):  # some boot loaders take it where the first is gone
                disk.zero((last - _GPT_SECTORS + 1) * block, _GPT_SECTORS * block)
        disk.flush()
        self._moved()

    def _clear_head(self, disk: OpenDisk) -> None:
        disk.write(0, buffer(HEAD_BYTES)[: min(HEAD_BYTES, self.disk.size_bytes)])

    def _write_body(self, disk: OpenDisk, progress: Progress) -> Image:
        while True:
            order = self._orders.get()
            self._moved()
            if order is None:
                raise FlashError("the image was not read to its end")
            if isinstance(order, Image):
                return order
            try:
                for piece, view in order.pieces:
                    self._write(disk, piece, view)
                    at = piece.offset + piece.length
                    progress.move(at, self._plan.size_bytes, self._plan.fraction())
            finally:
                order.release()

    def _write(self, disk: OpenDisk, piece: Piece, view: memoryview | None) -> None:
        self._refuse_small(piece.offset + piece.length)
        if view is None:
            self.written_bytes += disk.zero(piece.offset, piece.length)
        else:
            disk.write(piece.offset, view)
            self.written_bytes += piece.length
        self._moved()

    def _finish(self, disk: OpenDisk, image: Image, progress: Progress) -> None:
        disk.flush()
        self._moved()
        if self._plan.verify:
            self._verify(disk, image.body)
        self._moved()
        disk.write(0, image.head)
        self.written_bytes += len(image.head)
        try:
            disk.flush()
            if self._plan.verify:
                verify(disk, [image.head_piece])
        except BaseException:
            with contextlib.suppress(FlashError):
                self._clear_head(disk)
                disk.flush()
            raise
        self._moved()
        detail = f"{self.written_bytes / 1e6:.0f} MB written"
        if self._plan.verify:
            detail += f", verified in {self.verify_s:.1f} s"
        self.write_s = progress.end(detail) - self.verify_s

    def _verify(self, disk: OpenDisk, body: tuple[Piece, ...]) -> None:
        progress = Progress(f"verify:{self.disk.path}", f"verify {self.disk.path}", self._plan.emit)
        began_s = time.monotonic()
        done, total = 0, total_bytes(body)

        def move(size: int) -> None:
            nonlocal done
            done += size
            self._moved()
            progress.move(done, total)

        try:
            verify(disk, body, move)
        except BaseException:
            progress.end("failed", ok=False)
            raise
        self.verify_s = time.monotonic() - began_s
        progress.end("it holds what was written")

    def _refuse_small(self, needed_bytes: int) -> None:
        if needed_bytes > self.disk.size_bytes:
            short = -(-(needed_bytes - self.disk.size_bytes) // SECTOR_BYTES)
            message = (
                f"{self.disk.path} is too small for the image: at least {short} sectors are missing"
            )
            raise FlashError(message, hint="use a larger disk")
