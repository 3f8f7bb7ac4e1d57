"""One stage of a line: what it does with a frame, on which cores, and what that took."""

import ctypes
import os
import time
from typing import Callable, List, Optional, Tuple

from edgekit.onboard.camera.frames import Frame
from edgekit.onboard.cores import use_cores
from edgekit.onboard.timing import clock_ns

_NS = 1_000_000_000


class FrameError(Exception):
    """One frame cannot be worked on: it ends with this cause, and the line goes on."""

    cause = "failed"


class CorruptFrameError(FrameError):
    """A frame whose content cannot be read."""

    cause = "corrupt"


class Stage:
    """A stage's work and its figures so far.

    Args:
        name: one of the line's.
        work: does the stage's work on frames, in place.
        most: how many frames it is given at once.
        cores: of its thread, as Linux writes a list of them; empty for all.

    Attributes:
        so_far: how many frames were worked on, for how many nanoseconds, and since when it works
            on what it has now (0: it has nothing). Written by the stage's thread only, and at once.
    """

    def __init__(
        self, name: str, work: Callable[[List[Frame]], None], most: int = 1, cores: str = ""
    ) -> None:
        self.name, self.most, self.cores = name, most, cores
        self.so_far: Tuple[int, int, int] = (0, 0, 0)
        self._work = work

    def settle(self) -> None:
        """Bind the calling thread to the stage's cores."""
        if self.cores:
            use_cores(self.cores)

    def run(self, frames: List[Frame]) -> None:
        """Do the work; take down what it took."""
        done, worked_ns, _ = self.so_far
        start_ns = clock_ns()
        self.so_far = (done, worked_ns, start_ns)
        try:
            self._work(frames)
        finally:
            self.so_far = (done + len(frames), worked_ns + clock_ns() - start_ns, 0)


def _cpu_clock() -> Callable[[], int]:
    """Return a clock of the calling thread's CPU time, in nanoseconds."""
    found: Optional[Callable[[], int]] = getattr(time, "thread_time_ns", None)
    if found is not None:
        return found
    return lambda: int(time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID) * _NS)  # Python 3.6


def _core_teller() -> Callable[[], int]:
    """Return what tells the core that the calling thread is on; -1 where nobody can."""
    try:
        # Of a function of CDLL each call lets go of Python's lock, for which others wait.
        found = ctypes.PyDLL(None).sched_getcpu
    except (OSError, AttributeError):
        return lambda: -1
    return found


cpu_ns = _cpu_clock()
core = _core_teller()


def process_cpu_ns() -> int:
    """Return the CPU time of all threads of this process."""
    times = os.times()
    return int((times.user + times.system) * _NS)
