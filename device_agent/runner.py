"""One runner process: started, listened to, and ended with everything that it started."""

import contextlib
import json
import os
import select
import signal
import subprocess
import time

from device_agent.protocol import VerbError
from device_agent.warden import Warden

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List

    from device_agent.server import Answer, Call

_LAST_WORDS_BYTES = 8 << 10
_MAX_LINE_BYTES = 1 << 20
_POLL_S = 0.2
_END_POLL_S = 0.005  # its pipes are closed: it is about to end
_EVENT_PERIOD_S = 0.1  # talk costs time on the very cores that are being measured
_PR_SET_PDEATHSIG = 1  # Source: linux/prctl.h


def _nothing() -> None:
    """Do nothing."""


class Runner:
    """A process in a session of its own, with its output at hand.

    Args:
        command: what is started.
        folder: where.
        environment: with which variables.
        grace_s: how long it may take to end by itself when it is to end before its time; 0: it is
            killed at once.
    """

    def __init__(
        self,
        command: "List[str]",
        folder: str,
        environment: "Dict[str, str]",
        grace_s: float = 0.0,
    ) -> None:
        self._started = time.monotonic()
        self._grace_s = grace_s
        self._end_at = 0.0
        self._why = ""
        self._lines = b""
        self._last_words = b""
        self._last_event = (0.0, "")
        try:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
                preexec_fn=_dying_with(os.getpid()),  # noqa: PLW1509 - the agent has one thread
            )
        except OSError as error:
            raise VerbError("no_python", f"could not start {command[0]}: {error}") from error
        self._warden = Warden(self.group)

    @property
    def group(self) -> int:
        """The process group of everything that it starts."""
        return self._process.pid

    def watch(
        self, call: "Call", timeout_s: float, tick: "Callable[[], None]" = _nothing
    ) -> "Answer":
        """Pass the runner's events on until it ends, or is ended; return how it ended.

        ``tick`` is called several times a second.

        Raises:
            VerbError: ``cancelled``, by the host, where the runner has no time to end by itself.
            HostGoneError: nobody waits for the answer any more; the runner is ended.
        """
        self._end_at = self._started + timeout_s
        try:
            while not self._has_ended():
                if time.monotonic() > self._end_at and not self._may_still_end("timed_out"):
                    break
                self._listen(call, _POLL_S if self._pipes() else _END_POLL_S)
                tick()
            else:
                self._drain(call)
        finally:
            status = self._end()
        return {
            "exit_status": status if status >= 0 else None,
            "signal": signal.Signals(-status).name if status < 0 else None,
            "timed_out": self._why == "timed_out",
            "cancelled": self._why == "cancelled",
            "duration_ns": int((time.monotonic() - self._started) * 1e9),
            "last_words": self._last_words.decode("utf-8", "replace"),
        }

    def _may_still_end(self, why: str) -> bool:
        """Ask the runner to end by itself, once; tell whether it has time to."""
        if self._why or not self._grace_s:
            self._why = self._why or why
            return False
        self._why = why
        self._end_at = time.monotonic() + self._grace_s
        # Itself alone: what it started it ends in its own order. Unreaped, so nobody else's number.
        os.kill(self._process.pid, signal.SIGINT)
        return True

    def _has_ended(self) -> bool:
        # Left unreaped, so that its process group cannot be another's when it is killed.
        flags = os.WEXITED | os.WNOHANG | os.WNOWAIT
        return os.waitid(os.P_PID, self._process.pid, flags) is not None

    def _pipes(self) -> "List[Any]":
        pipes = (self._process.stdout, self._process.stderr)
        return [pipe for pipe in pipes if pipe is not None and not pipe.closed]

    def _listen(self, call: "Call", wait_s: float) -> bool:
        """Take in what there is; tell whether there was anything."""
        ready, _, _ = select.select([call.channel.source, *self._pipes()], [], [], wait_s)
        for source in ready:
            if source == call.channel.source:
                for _time in range(call.channel.cancelled()):
                    self._cancel()
                continue
            piece = os.read(source.fileno(), 1 << 16)
            if not piece:
                source.close()
            elif source is self._process.stdout:
                self._take_lines(call, piece)
            else:
                self._remember(piece)
        return bool(ready)

    def _cancel(self) -> None:
        if self._may_still_end("cancelled"):
            return
        if not self._grace_s:
            raise VerbError("cancelled", "the host ended the run")
        self._end_at = 0.0  # the host asked twice, and waits no longer

    def _drain(self, call: "Call") -> None:
        # What a dead runner wrote lies in the pipes; a child of its own may hold them open.
        while self._pipes() and self._listen(call, 0):
            pass

    def _take_lines(self, call: "Call", piece: bytes) -> None:
        self._lines += piece
        while b"\n" in self._lines:
            line, _, self._lines = self._lines.partition(b"\n")
            self._take_line(call, line)
        if len(self._lines) > _MAX_LINE_BYTES:
            self._remember(self._lines[-_LAST_WORDS_BYTES:])
            self._lines = b""

    def _take_line(self, call: "Call", line: bytes) -> None:
        try:
            event = json.loads(line.decode("utf-8"))
        except ValueError:
            event = None
        if not isinstance(event, dict) or "event" not in event:
            self._remember(line + b"\n")
            return
        phase, now = str(event.get("phase")), time.monotonic()
        ends = event.get("done") == event.get("total")
        if ends or phase != self._last_event[1] or now - self._last_event[0] > _EVENT_PERIOD_S:
            self._last_event = (now, phase)
            call.event(event)

    def _remember(self, piece: bytes) -> None:
        self._last_words = (self._last_words + piece)[-_LAST_WORDS_BYTES:]

    def _end(self) -> int:
        self._warden.dismiss()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        status = self._process.wait()
        for pipe in self._pipes():
            pipe.close()
        return status


def _dying_with(agent: int) -> "Callable[[], None]":
    """Return what has the kernel end the runner if the agent is killed and cannot do it.

    What the runner started is the warden's to end, a moment later.
    """
    try:
        # Here and not in the runner: until it has asked for it, nothing ends it.
        import ctypes

        prctl = ctypes.CDLL(None).prctl
    except (ImportError, OSError, AttributeError):
        # A Python without ctypes: a lost host still ends the runner, through the agent.
        return lambda: None

    def ask() -> None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != agent:  # it was killed before this was asked
            os.kill(os.getpid(), signal.SIGKILL)

    return ask
