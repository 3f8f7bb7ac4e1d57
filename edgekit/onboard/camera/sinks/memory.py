"""Frames and answers in shared memory, for another process on the device.

``ring.py`` has the layout, byte by byte; any language that maps a file can read it. In Python::

    reader = Reader("edgekit-camera")
    while True:
        seen = reader.read(timeout_s=1.0)
        if seen is not None:
            use(seen.rgb, seen.answers)
        elif reader.writer != "writing":
            break
"""

import binascii
import contextlib
import fcntl
import json
import mmap
import os
import time
from collections import namedtuple
from typing import Any, Mapping, Optional

import numpy as np

from edgekit.onboard.camera.frames import Frame
from edgekit.onboard.camera.sinks import ring
from edgekit.onboard.camera.sinks.sink import Sink, cannot_write
from edgekit.onboard.faults import RunFailedError

_FOLDER = "/dev/shm"  # noqa: S108 - where POSIX shared memory stands on Linux
_USUAL_NAME = "edgekit-camera"
_MODE = 0o640  # what a camera sees is not for every user
_COUNT = 1 << 32
_TRIES = 50  # a reader that looks whether the writer lives holds the file's lock for a moment
_TRY_S = 0.01
_POLL_S = 0.001
_LOOK_S = 0.1  # between two looks whether the writer lives


def path_of(name: str) -> str:
    """The file of a name: that in ``/dev/shm``; a path is itself."""
    return name if "/" in name else os.path.join(_FOLDER, name or _USUAL_NAME)


class MemorySink(Sink):
    """Writes the newest frames into a ring, and never waits for who reads them.

    The ring is removed when it is closed; readers that have it mapped keep what they see. A run
    that was killed leaves it behind, until the next one replaces it.
    """

    kind = "memory"

    def __init__(self, path: str) -> None:
        super().__init__(path_of(path))
        self._path = path_of(path)
        self._file: Optional[int] = None
        self._memory: Any = None
        self._words: Any = None
        self._layout: Any = None
        self._fence = ring.Fence()
        self._written = 0

    def open(self, facts: Mapping[str, Any]) -> None:
        """Make the ring, for frames of the source's size."""
        width, height = int(facts.get("width") or 0), int(facts.get("height") or 0)
        if width <= 0 or height <= 0:
            raise RunFailedError("the source does not tell its size, which shared memory needs")
        self._layout, self._written = ring.layout_for(width, height), 0
        try:
            self._file = self._make()
            self._memory = mmap.mmap(self._file, self._layout.size_bytes)
        except OSError as error:
            self.close()
            raise cannot_write(self._path, error) from error
        self._words = memoryview(self._memory).cast("I")

    def _make(self) -> int:
        """Make the file, whole and locked before it has its name."""
        draft = "%s.%s" % (self._path, binascii.hexlify(os.urandom(4)).decode("ascii"))
        file = os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            # Taken now: memory that is missing later would end the process.
            os.posix_fallocate(file, 0, self._layout.size_bytes)
            os.pwrite(file, ring.head_of(self._layout, os.getpid()), 0)
            self._give_name(draft)
        except BaseException:
            os.close(file)
            _remove(draft)
            raise
        return file

    def _give_name(self, draft: str) -> None:
        """Put the draft in its place; one that a living writer holds is not replaced."""
        for _ in range(_TRIES):
            try:
                earlier = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                with contextlib.suppress(FileExistsError):
                    os.link(draft, self._path)
                    os.remove(draft)
                    return
                continue
            try:
                if self._replaced(earlier, draft):
                    return
            finally:
                os.close(earlier)
            time.sleep(_TRY_S)
        raise RunFailedError("cannot write to %s: another run does" % self._path)

    def _replaced(self, earlier: int, draft: str) -> bool:
        """Put the draft in the place of a ring, if nobody writes that."""
        try:
            fcntl.flock(earlier, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if os.pread(earlier, len(ring.MAGIC), 0) != ring.MAGIC:
            raise RunFailedError(
                "cannot write to %s: what stands there is no ring of frames" % self._path
            )
        # Another run may have put its own there before this one had the lock.
        if not _is_at(earlier, self._path):
            return False
        os.replace(draft, self._path)
        return True

    def take(self, frame: Frame) -> None:
        """Write it over the oldest."""
        if self._memory is None:
            raise RunFailedError("%s is not open" % self._path)
        layout = self._layout
        rgb = np.ascontiguousarray(frame.rgb)
        height, width = rgb.shape[:2]
        text = json.dumps(frame.answers, allow_nan=False, separators=(",", ":")).encode("ascii")
        if rgb.nbytes > layout.rgb_bytes or len(text) > layout.answers:
            raise ValueError(
                "frame %d has %d bytes of pixels and %d of answers; the shared memory was made "
                "for %d and %d"
                % (frame.number, rgb.nbytes, len(text), layout.rgb_bytes, layout.answers)
            )
        at = layout.slot_at(self._written)
        lock = self._words[at // 4]
        self._words[at // 4] = (lock + 1) % _COUNT
        self._fence()
        sizes = (width, height, len(text))
        times = (self._written, frame.number, frame.captured.captured_ns)
        ring.SLOT_HEAD.pack_into(self._memory, at + ring.SLOT_HEAD_AT, *(sizes + times))
        _bytes_at(self._memory, at + layout.rgb_at, rgb.nbytes)[...] = rgb.reshape(-1)
        self._memory[at + layout.answers_at : at + layout.answers_at + len(text)] = text
        self._fence()
        self._words[at // 4] = (lock + 2) % _COUNT
        self._fence()
        self._written += 1
        self._words[ring.WRITTEN] = self._written % _COUNT
        self._count(rgb.nbytes + len(text))

    def close(self) -> None:
        """Say that no more comes, and remove the file."""
        if self._words is not None:
            self._fence()
            self._words[ring.CLOSED] = 1
            self._words.release()
        if self._file is not None and _is_at(self._file, self._path):
            _remove(self._path)
        self._let_go()

    def _let_go(self) -> None:
        if self._memory is not None:
            self._memory.close()
        if self._file is not None:
            os.close(self._file)
        self._memory = self._words = self._file = None


class Seen(namedtuple("Seen", "index number captured_ns rgb answers")):
    """One frame out of the ring, the reader's own copy.

    Attributes:
        index: counted from 0 by the writer; a gap is what the reader was too slow for.
        number: of the frame in its run.
        captured_ns: when it was taken, by CLOCK_MONOTONIC.
        rgb: ``uint8[H, W, 3]``.
        answers: as the postprocess made them.
    """

    __slots__ = ()


class Reader:
    """Reads a ring that another process writes. Used by one thread; needs no more than to read.

    A ring belongs to one run: when its writer is ``closed`` or ``gone``, make a new reader.

    Raises:
        OSError: there is no such file, or no permission to read it.
        ValueError: it is no ring.
    """

    def __init__(self, name: str = _USUAL_NAME) -> None:
        path = path_of(name)
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self._layout = ring.read_head(os.pread(self._file, ring.HEAD_BYTES, 0))
            # ValueError where the file ends before that.
            size = self._layout.size_bytes
            self._memory: Any = mmap.mmap(self._file, size, prot=mmap.PROT_READ)
        except ValueError as error:
            os.close(self._file)
            raise ValueError("cannot read %s: %s" % (path, error)) from error
        except OSError:
            os.close(self._file)
            raise
        self._words: Any = memoryview(self._memory).cast("I")
        self._fence = ring.Fence()
        self._next = 0

    def read(self, timeout_s: float = 1.0) -> Optional[Seen]:
        """Return the newest frame, once; ``None`` where none came in time, or none will come."""
        now = time.monotonic()
        end, look = now + timeout_s, now + _LOOK_S
        while True:
            seen = self._newest()
            if seen is not None:
                self._next = seen.index + 1
                return seen
            now = time.monotonic()
            if now >= end:
                return None
            if now >= look:
                look = now + _LOOK_S
                # What it wrote between our look at the ring and its end is still to be read.
                if self.writer != "writing" and not self._has_news():
                    return None
            time.sleep(_POLL_S)

    def _has_news(self) -> bool:
        # A slot may be read before the head says that it was written: then this is behind.
        ahead = (int(self._words[ring.WRITTEN]) - self._next) % _COUNT
        return 0 < ahead < _COUNT // 2

    def _newest(self) -> Optional[Seen]:
        """The newest frame that was not read; ``None`` too where it is just being replaced."""
        if not self._has_news():
            return None
        written = self._words[ring.WRITTEN]
        self._fence()
        layout, at = self._layout, self._layout.slot_at((written - 1) % _COUNT)
        lock = self._words[at // 4]
        if lock % 2:
            return None
        self._fence()
        head = ring.SLOT_HEAD.unpack_from(self._memory, at + ring.SLOT_HEAD_AT)
        width, height, answers_bytes, index, number, captured_ns = head
        rgb_bytes = width * height * 3
        if rgb_bytes > layout.rgb_bytes or answers_bytes > layout.answers:
            return None  # of two frames
        rgb = _bytes_at(self._memory, at + layout.rgb_at, rgb_bytes).copy()
        text = self._memory[at + layout.answers_at : at + layout.answers_at + answers_bytes]
        self._fence()
        if self._words[at // 4] != lock:
            return None
        answers = json.loads(text.decode("ascii"))
        return Seen(index, number, captured_ns, rgb.reshape(height, width, 3), answers)

    @property
    def writer(self) -> str:
        """What has become of the writer: ``writing``, ``closed``, or ``gone`` without a word."""
        if self._words[ring.CLOSED]:
            return "closed"
        try:
            fcntl.flock(self._file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return "writing"
        fcntl.flock(self._file, fcntl.LOCK_UN)
        # It may have closed the ring, and then ended, since the first look.
        return "closed" if self._words[ring.CLOSED] else "gone"

    def close(self) -> None:
        """Let go of the memory; harmless where that was done."""
        if self._memory is None:
            return
        self._words.release()
        self._memory.close()
        os.close(self._file)
        self._words = self._memory = None


def _bytes_at(memory: Any, at: int, count: int) -> Any:
    return np.frombuffer(memory, np.uint8, count, at)


def _is_at(file: int, path: str) -> bool:
    """Whether the open file is the one that has this path."""
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(path)
