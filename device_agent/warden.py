"""A process that ends what a killed agent would leave running."""

import contextlib
import os
import signal

from device_agent.detached import close_all_but

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)


class Warden:
    """Ends a process group as soon as the agent is gone, however it was ended.

    It sleeps on a pipe whose other end the agent alone holds, and which the kernel closes where
    nobody else can.

    Args:
        group: whose leader the agent has not reaped yet.
    """

    def __init__(self, group: int) -> None:
        self._pid: "Optional[int]" = None
        self._writer: "Optional[int]" = None
        try:
            reader, self._writer = os.pipe()
        except OSError:
            return  # as below
        # Whatever asks the agent to end is the agent's to hear; this one follows it.
        former = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            self._pid = os.fork()
            if self._pid == 0:
                _stand_by(reader, group)
        except OSError:
            self._pid = None  # no process is to be had: the group's leader alone ends with us
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
            os.close(reader)

    def dismiss(self) -> None:
        """End it; the group is left alone. To be called before the group's leader is reaped."""
        if self._pid is not None:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
        if self._writer is not None:
            os.close(self._writer)


def _stand_by(reader: int, group: int) -> None:
    """Wait for the agent's end in a session of its own; never returns."""
    try:
        os.setsid()
        close_all_but((reader,))
        os.chdir("/")
        os.read(reader, 1)  # nothing is ever written to it
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(group, signal.SIGKILL)
    finally:
        os._exit(0)
