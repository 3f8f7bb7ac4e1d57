"""The ring of frames in shared memory: where every byte of it stands.

All numbers are little-endian. The file begins with a head, padded to ``HEAD_BYTES``::

    at  type      what
     0  char[8]   "EDGEKCAM"
     8  uint32    version: 1
    12  uint32    bytes before the first slot
    16  uint32    slots; a power of two
    20  uint32    bytes that a slot has for pixels
    24  uint64    bytes from one slot to the next
    32  uint32    bytes before a slot's pixels
    36  uint32    bytes before a slot's answers
    40  uint32    bytes that a slot has for answers
    44  uint32    frames written so far, modulo 2**32: frame k (from 0) is in slot k % slots
    48  uint32    1: the writer has closed it
    52  uint32    the writer's process id, for people

and every slot with one of its own::

     0  uint32    lock: odd while the slot is written, another even number after each time
     4  uint32    width, pixels
     8  uint32    height, pixels
    12  uint32    bytes of answers
    16  uint64    which frame of the ring this is: k, from 0
    24  int64     the frame's number in the run
    32  int64     when it was captured, ns of CLOCK_MONOTONIC

Then come the pixels, ``uint8[height, width, 3]`` in RGB without gaps, and the answers, JSON in
ASCII. A reader takes the lock, copies what it wants, and takes the lock again: if that was odd, or
has changed, what was copied is torn and to be thrown away. The writer never waits for a reader.

The writer holds ``flock(LOCK_EX)`` on the file while it lives: who gets a ``LOCK_SH`` knows that
it has closed the ring or died, however it died.
"""

import struct
import threading
from collections import namedtuple

MAGIC = b"EDGEKCAM"
VERSION = 1
HEAD_BYTES = 4096
SLOT_HEAD_BYTES = 64
SLOTS = 4
ANSWERS_BYTES = 128 << 10

# Indices of 32-bit words.
WRITTEN = 44 // 4
CLOSED = 48 // 4

_HEAD = struct.Struct("<8sIIIIQIIIIII")
# Behind the lock, which is written by itself.
SLOT_HEAD = struct.Struct("<IIIQqq")
SLOT_HEAD_AT = 4
_UNIT = 64  # bytes of a cache line: slots share none


class Layout(namedtuple("Layout", "head_bytes slots rgb_bytes stride rgb_at answers_at answers")):
    """How large what is; names as in the module's table.

    Attributes:
        stride: bytes from one slot to the next.
        rgb_at, answers_at: from the slot's beginning.
        answers: bytes for them.
    """

    __slots__ = ()

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return int(self.head_bytes + self.slots * self.stride)

    def slot_at(self, index: int) -> int:
        """Where the slot of a frame begins."""
        return int(self.head_bytes + index % self.slots * self.stride)


def layout_for(width: int, height: int) -> Layout:
    """The ring for frames up to that many pixels."""
    rgb_bytes = width * height * 3
    answers_at = SLOT_HEAD_BYTES + _whole_units(rgb_bytes)
    stride = answers_at + ANSWERS_BYTES
    return Layout(HEAD_BYTES, SLOTS, rgb_bytes, stride, SLOT_HEAD_BYTES, answers_at, ANSWERS_BYTES)


def _whole_units(count: int) -> int:
    return -(-count // _UNIT) * _UNIT


def head_of(layout: Layout, process: int) -> bytes:
    """The head of a ring in which nothing is yet."""
    return _HEAD.pack(
        MAGIC,
        VERSION,
        layout.head_bytes,
        layout.slots,
        layout.rgb_bytes,
        layout.stride,
        layout.rgb_at,
        layout.answers_at,
        layout.answers,
        0,
        0,
        process,
    )


def read_head(head: bytes) -> Layout:
    """The layout that a ring's head tells.

    Raises:
        ValueError: it is no ring, or one of another version.
    """
    if len(head) < _HEAD.size or not head.startswith(MAGIC):
        raise ValueError("it is no ring of frames")
    values = _HEAD.unpack(head[: _HEAD.size])
    if values[1] != VERSION:
        raise ValueError("its version is %d, not %d" % (values[1], VERSION))
    head_bytes, slots, rgb_bytes, stride, rgb_at, answers_at, answers = values[2:9]
    return Layout(head_bytes, slots, rgb_bytes, stride, rgb_at, answers_at, answers)


class Fence:
    """Keeps what was written or read before apart from what comes after, on every processor.

    Python has no such thing, and an ARM core may reorder plain loads and stores. Giving a lock
    back is a release, taking it again an acquire; one after the other nothing passes both.
    An instance is used by one thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def __call__(self) -> None:
        """Be passed by no load and no store of this thread."""
        self._lock.release()
        self._lock.acquire()
