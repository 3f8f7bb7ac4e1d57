"""Answers as JSON lines: one object a frame."""

import errno
import fcntl
import json
import os
import stat
from typing import Any, Mapping, Optional

from edgekit.onboard.camera.frames import Frame
from edgekit.onboard.camera.sinks.sink import Sink, cannot_write, needed
from edgekit.onboard.faults import RunFailedError

# A file system without locks is no reason not to write there.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL)


class LinesSink(Sink):
    """Writes ``{"number": n, "captured_ns": t, "answers": [...]}``, a line for each frame.

    A line is handed to the kernel in one call, so that what reads along sees whole lines, and a
    run that is killed leaves them. Should that happen while the kernel is between two pages of
    a line, or the power fail, the last line has no end: what follows the last line break is not
    to be read.
    """

    kind = "lines"
    pictures = False

    def __init__(self, path: str) -> None:
        super().__init__(needed(self.kind, path, "of the file for the answers"))
        self._path = path
        self._file: Optional[int] = None

    def open(self, facts: Mapping[str, Any]) -> None:  # noqa: ARG002 - the contract's
        """Make the file; an earlier one is emptied."""
        # Non-blocking: a pipe that nobody reads is to be told of, not waited for.
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            file = os.open(self._path, flags, 0o644)
        except OSError as error:
            raise cannot_write(self._path, error) from error
        try:
            self._make_own(file)
        except OSError as error:
            os.close(file)
            raise cannot_write(self._path, error) from error
        except RunFailedError:
            os.close(file)
            raise
        self._file = file

    def _make_own(self, file: int) -> None:
        mode = os.fstat(file).st_mode
        if stat.S_ISCHR(mode):
            return
        if not stat.S_ISREG(mode):
            raise RunFailedError("cannot write to %s: it is no plain file" % self._path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise RunFailedError("cannot write to %s: another run does" % self._path) from error
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
        os.ftruncate(file, 0)

    def take(self, frame: Frame) -> None:
        """Write its line."""
        if self._file is None:
            raise RunFailedError("%s is not open" % self._path)
        line = {
            "number": frame.number,
            "captured_ns": frame.captured.captured_ns,
            "answers": frame.answers,
        }
        # NaN is no JSON: rather no line than one that no other program reads.
        text = json.dumps(line, allow_nan=False, separators=(",", ":"))
        data = text.encode("ascii") + b"\n"
        try:
            written = os.write(self._file, data)
            # Short only where the disk is full or the file as large as it may be; why, is told
            # by the next call.
            while written < len(data):
                written += os.write(self._file, data[written:])
        except OSError as error:
            self._take_back()
            raise cannot_write(self._path, error) from error
        self._count(len(data))

    def _take_back(self) -> None:
        """Cut off the line that was not written to its end."""
        try:
            if self._file is not None and stat.S_ISREG(os.fstat(self._file).st_mode):
                os.ftruncate(self._file, self.facts["bytes"])
        except OSError:
            pass  # the fault that is told is the first one

    def close(self) -> None:
        """Bring the file to the disk."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            if stat.S_ISREG(os.fstat(file).st_mode):
                os.fsync(file)
        except OSError as error:
            raise cannot_write(self._path, error) from error
        finally:
            os.close(file)
