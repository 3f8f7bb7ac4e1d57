"""A GStreamer pipeline in a process of its own, fed through its standard input.

``gst-launch-1.0`` needs no binding for this Python, and whatever a plug-in does to its process,
the run goes on to say so.
"""

import collections
import contextlib
import fcntl
import os
import select
import shlex
import shutil
import subprocess
import threading
import time
from typing import Any, Deque, List, Optional, Sequence

from edgekit.onboard.camera.passwords import without_passwords
from edgekit.onboard.faults import RunFailedError

_PROGRAM = "gst-launch-1.0"
_FEED = ("fdsrc", "fd=0", "!", "matroskademux")
_LINES_KEPT = 50
_F_SETPIPE_SZ = 1031  # Python 3.10 has a name for it; Source: linux/fcntl.h
_PIPE_BYTES = 1 << 20  # what every user may ask for
_FATAL = "ERROR: "  # gst-launch takes its pipeline down after it
_TELLING = ("ERROR", "WARNING: erroneous pipeline")
_LOOK_S = 0.1
_WORDS_S = 2.0  # for the last words of a process that has ended, or was ended


def read_launch(text: str) -> List[str]:
    """The elements of ``appsrc ! ...``, frames coming in where ``appsrc`` stands.

    Raises:
        RunFailedError: it does not begin so.
    """
    shown = without_passwords(text)
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise RunFailedError("cannot read the launch string %r: %s" % (shown, error)) from error
    if words[:2] != ["appsrc", "!"] or not words[2:]:
        raise RunFailedError(
            "the launch string %r does not begin with 'appsrc ! ', where frames come in" % shown
        )
    return [*_FEED, *words[1:]]


class Launched:
    """One pipeline, running. That it fails to come up shows when it is fed.

    Attributes:
        stall_s: how long it may take no data before that is a fault.
        end_s: how long it may take to end by itself, once it has everything.
        error_s: how long it may do neither after it has told an error.

    Raises:
        RunFailedError: there is no GStreamer here.
    """

    stall_s = 10.0
    end_s = 10.0
    error_s = 2.0

    def __init__(self, elements: Sequence[str]) -> None:
        program = shutil.which(_PROGRAM)
        if program is None:
            raise RunFailedError(
                "no %s on this device, which plays launch strings; on Debian and Ubuntu it comes "
                "with the package gstreamer1.0-tools" % _PROGRAM
            )
        # -f: without it, the program would wait for a debugger after a crash. Not -e, with which
        # it may wait for ever after an error. In the runner's process group, to die with it.
        process: Any = subprocess.Popen(
            [program, "-q", "-f", *elements],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
        )
        self._process = process
        self._feed = process.stdin
        self._said: Deque[str] = collections.deque(maxlen=_LINES_KEPT)
        self._erred = threading.Event()
        self._listener = threading.Thread(target=self._listen, args=(process.stderr,))
        self._listener.daemon = True
        self._listener.start()
        os.set_blocking(self._feed.fileno(), False)
        with contextlib.suppress(OSError):  # smaller pieces then
            fcntl.fcntl(self._feed.fileno(), _F_SETPIPE_SZ, _PIPE_BYTES)

    def _listen(self, stream: Any) -> None:
        with stream:
            for line in stream:
                text = without_passwords(line.decode("utf-8", "replace").strip())
                if text:
                    self._said.append(text)
                if text.startswith(_FATAL):
                    self._erred.set()

    def feed(self, pieces: Sequence[Any]) -> None:
        """Hand over bytes, one buffer after the other.

        Raises:
            RunFailedError: it has ended, or takes nothing; after an error it told, it is ended.
        """
        for piece in pieces:
            self._feed_one(memoryview(piece).cast("B"))

    def _feed_one(self, left: memoryview) -> None:
        feed = self._feed.fileno()
        ready = select.poll()  # select() knows no descriptor above 1023
        ready.register(feed, select.POLLOUT)
        while left:
            try:
                left = left[os.write(feed, left) :]
                continue
            except BlockingIOError:
                pass
            except OSError as error:
                raise self._ended() from error
            self._await_room(ready)

    def _await_room(self, ready: Any) -> None:
        limit_s = time.monotonic() + self.stall_s
        while not ready.poll(int(_LOOK_S * 1000)):
            if self._erred.is_set() and not ready.poll(int(self.error_s * 1000)):
                raise self._hung()
            if time.monotonic() >= limit_s:
                raise RunFailedError(
                    "%s has taken no data for %g s%s" % (_PROGRAM, self.stall_s, self._last_words())
                )

    def _hung(self) -> RunFailedError:
        """End what has told an error, and hangs while it takes its pipeline down."""
        self.end()
        return RunFailedError("%s failed and had to be ended%s" % (_PROGRAM, self._last_words()))

    def _ended(self) -> RunFailedError:
        try:
            code = self._process.wait(_WORDS_S)
        except subprocess.TimeoutExpired:
            return RunFailedError("%s reads no more%s" % (_PROGRAM, self._last_words()))
        return RunFailedError("%s ended %s%s" % (_PROGRAM, _how(code), self._last_words()))

    def _last_words(self) -> str:
        """What it said of its fault; else the last that it said."""
        if self._process.poll() is not None:
            self._listener.join(_WORDS_S)  # not for ever: a child of its own may hold the pipe
        said = list(self._said)
        for at, line in enumerate(said):
            if line.startswith(_TELLING):
                # Then come a heading, a place in the source, and the reason.
                return ": " + " ".join([line, *said[at + 3 : at + 4]])
        return ": %s" % said[-1] if said else ""

    def finish(self) -> None:
        """Tell it that no more comes, and wait until it has ended; a stalled one is ended.

        Raises:
            RunFailedError: it failed, or had to be ended.
        """
        self._feed.close()
        limit_s = time.monotonic() + self.end_s
        code = self._code_after(_LOOK_S)
        while code is None:
            if self._erred.is_set() and self._code_after(self.error_s) is None:
                raise self._hung()
            if time.monotonic() >= limit_s:
                self.end()
                raise RunFailedError(
                    "%s did not end within %g s of the last frame and was ended%s"
                    % (_PROGRAM, self.end_s, self._last_words())
                )
            code = self._code_after(_LOOK_S)
        if code != 0:
            raise RunFailedError("%s ended %s%s" % (_PROGRAM, _how(code), self._last_words()))

    def _code_after(self, seconds: float) -> Optional[int]:
        try:
            code: int = self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        return code

    def end(self) -> None:
        """End it at once; harmless where it has ended."""
        self._process.kill()
        self._process.wait()
        self._feed.close()
        self._listener.join(_WORDS_S)


def _how(code: int) -> str:
    return "by signal %d" % -code if code < 0 else "with exit status %d" % code
