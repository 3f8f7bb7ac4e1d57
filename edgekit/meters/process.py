"""A process that prints lines: read with a time limit, killed with all that it started."""

import contextlib
import os
import select
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from edgekit.meters.log import ReadingError

_LOOK_MS: Final = 100  # until it is noticed that it is to stop
_MOST_LINE_BYTES: Final = 4096
_SHOWN_BYTES: Final = 200


@dataclass(frozen=True)
class Lines:
    """Lines that came together, and when."""

    texts: tuple[str, ...]
    came_ns: int


@dataclass(frozen=True)
class Ended:
    """It ended by itself, with this status, after so many lines."""

    status: int
    line_count: int
    said: str

    def check(self) -> None:
        """Judge whether it did what it was called for.

        Raises:
            ReadingError: it failed, said nothing, or was to go on.
        """
        if self.status != 0:
            said = f": {self.said}" if self.said else ""
            raise ReadingError("unreadable", f"exit status {self.status}{said}")
        if self.line_count == 0:
            raise ReadingError("garbage", "it printed nothing")
        if self.line_count > 1:
            raise ReadingError("vanished", f"it ended after {self.line_count} lines")


class Process:
    """A command that was started, in a process group of its own."""

    def __init__(self, argv: Sequence[str]) -> None:
        self.line_count = 0
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 - closed by end()
        try:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
                start_new_session=True,
            )
        except OSError:
            self._errors.close()
            raise
        assert self._process.stdout is not None  # noqa: S101 - it is a pipe
        self._out = self._process.stdout
        self._rest = b""

    def lines(self, timeout_s: float, stopped: threading.Event) -> Lines | Ended | None:
        """Wait for the next lines, or its end; ``None`` where it was stopped meanwhile.

        Raises:
            ReadingError: nothing came in time, or a line that has no end.
        """
        waiting = select.poll()
        waiting.register(self._out, select.POLLIN)
        deadline = time.monotonic() + timeout_s
        while not stopped.is_set():
            left_ms = (deadline - time.monotonic()) * 1000
            if left_ms <= 0:
                raise ReadingError("timeout", f"no line in {timeout_s:g} s")
            if not waiting.poll(min(left_ms, _LOOK_MS)):
                continue
            block = self._out.read(1 << 16)
            now_ns = time.monotonic_ns()
            if not block and not self._rest:
                return self._ended(deadline)
            # A last line that lacks its end is one all the same.
            *whole, self._rest = (self._rest + (block or b"\n")).split(b"\n")
            if len(self._rest) > _MOST_LINE_BYTES:
                raise ReadingError("garbage", "a line without an end")
            texts = tuple(line.decode("utf-8", "replace").strip() for line in whole)
            if texts:
                self.line_count += len(texts)
                return Lines(texts, now_ns)
        return None

    def end(self) -> float:
        """Kill it with its group, and return the processor time it took, in seconds."""
        # Not yet waited for, so that no other group can have its number.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._out.close()
        self._errors.close()
        try:
            _, status, usage = os.wait4(self._process.pid, 0)
        except ChildProcessError:
            return 0.0
        self._process.returncode = os.waitstatus_to_exitcode(status)
        return usage.ru_utime + usage.ru_stime

    def _ended(self, deadline: float) -> Ended:
        """Tell how it ended; one that closes its output and stays is killed."""
        while True:
            left = os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            if left is not None:
                break
            if time.monotonic() > deadline:
                raise ReadingError("timeout", "it closed its output and did not end")
            time.sleep(0.002)
        # WNOWAIT leaves it to be waited for by end().
        status = left.si_status if left.si_code == os.CLD_EXITED else -left.si_status
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _SHOWN_BYTES))
        said = self._errors.read().decode("utf-8", "replace").strip()
        return Ended(status, self.line_count, " ".join(said.split()))
