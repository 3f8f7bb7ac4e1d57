"""Checksums of an image, made while it is read: the whole one, and a block map's of its ranges."""

import hashlib
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final

from edgekit.flash.block_map import BlockMap, RangeCheck
from edgekit.flash.memory import buffer
from edgekit.flash.zeros import ZEROS

BLOCK_BYTES: Final = 4 << 20
_SLOTS: Final = 3

Check = Callable[[int, memoryview | None, int], None]


class Digests:
    """Buffers to read an image into, each free again when what is in it has been digested.

    Every checksum has a thread of its own: hashing one block goes on while the next is read.
    """

    def __init__(self, block_map: BlockMap | None, subject: str, *, whole: bool) -> None:
        """``whole``: make the checksum of all of it as well."""
        self._sha256 = hashlib.sha256() if whole else None
        self._checks: list[Check] = [self._update] if whole else []
        if block_map is not None and block_map.algorithm:
            self._checks.append(RangeCheck(block_map, subject).update)
        self._threads = [
            ThreadPoolExecutor(1, thread_name_prefix="edgekit-digest") for _ in self._checks
        ]
        self._buffers = [buffer(BLOCK_BYTES) for _ in range(_SLOTS)]
        self._waiting: list[list[Future[None]]] = [[] for _ in range(_SLOTS)]
        self._slot = 0

    @property
    def sha256(self) -> str:
        """The checksum of all that was taken; empty where none was to be made."""
        return "" if self._sha256 is None else self._sha256.hexdigest()

    def buffer(self) -> memoryview:
        """Return the next buffer, when it is free.

        Raises:
            FlashError: what was in it is not what the block map says.
        """
        self._slot = (self._slot + 1) % _SLOTS
        self._wait(self._slot)
        return self._buffers[self._slot]

    def take(self, offset: int, view: memoryview | None, size: int) -> None:
        """Digest what was read into the last buffer; ``None``: ``size`` zeros."""
        for check, thread in zip(self._checks, self._threads, strict=True):
            self._waiting[self._slot].append(thread.submit(check, offset, view, size))

    def finish(self) -> None:
        """Wait until all is digested.

        Raises:
            FlashError: something is not what the block map says.
        """
        for slot in range(_SLOTS):
            self._wait(slot)

    def close(self) -> None:
        """End the threads."""
        for thread in self._threads:
            thread.shutdown(cancel_futures=True)

    def _wait(self, slot: int) -> None:
        waiting, self._waiting[slot] = self._waiting[slot], []
        for each in waiting:
            each.result()

    def _update(self, _offset: int, view: memoryview | None, size: int) -> None:
        assert self._sha256 is not None  # noqa: S101 - else this is no check
        if view is not None:
            self._sha256.update(view)
            return
        for at in range(0, size, len(ZEROS)):
            self._sha256.update(ZEROS[: min(len(ZEROS), size - at)])
