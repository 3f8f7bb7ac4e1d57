"""Candidates of tuning, measured on devices: one thread for each device, one queue for all."""

import queue
import threading
from collections.abc import Sequence
from typing import Final

from edgekit.app.kernel_lane import KernelPlan, Lane, Place, Turn, taken
from edgekit.core.errors import UnreachableError
from edgekit.core.events import EventSink, Note
from edgekit.tune.session import Measured
from edgekit.tune.worker import Candidate

_JOIN_S: Final = 20.0


class DeviceBench:
    """Measures candidates on several devices at once (``edgekit.tune.session.Bench``).

    Args:
        places: where; each is connected to before this returns.
        hold: measure nothing before :meth:`flush`: where candidates are built on the very machine
            on which they are measured, the one would disturb the other.
    """

    def __init__(
        self, places: Sequence[Place], plan: KernelPlan, *, hold: bool, emit: EventSink
    ) -> None:
        self._plan = plan
        self._emit = emit
        self._hold = hold
        self._held: list[Candidate] = []
        self._told_alone = False
        self._inbox: queue.SimpleQueue[Turn] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[Measured] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._lanes = [
            Lane(place, plan, self._inbox, self._outbox, self._stop, emit) for place in places
        ]
        try:
            for lane in self._lanes:
                lane.connect(emit)
        except BaseException:
            self.close()
            raise
        for lane in self._lanes:
            lane.start()

    def submit(self, candidate: Candidate) -> None:
        """Have a candidate measured."""
        if self._hold:
            self._held.append(candidate)
        else:
            self._inbox.put(Turn(candidate))

    def flush(self) -> None:
        """Begin with what was held back."""
        for candidate in self._held:
            self._inbox.put(Turn(candidate))
        self._held.clear()

    def results(self, wait_s: float) -> Sequence[Measured]:
        """Return what was measured since it was asked last.

        Raises:
            UnreachableError: there is nothing, and all devices were away for too long.
        """
        found = taken(self._outbox, wait_s)
        if wait_s and not found:
            self._check_devices()
        return found

    def stranded(self) -> Sequence[int]:
        """Take back what nobody can begin, as all devices are away; return its numbers."""
        if not all(lane.away for lane in self._lanes):
            return ()
        return [turn.candidate.number for turn in taken(self._inbox, 0)]

    def _check_devices(self) -> None:
        useless_s, away_s = min(lane.useless_s for lane in self._lanes), self._plan.away_s
        if not useless_s:
            self._told_alone = False
        if not all(lane.away for lane in self._lanes):
            return
        if useless_s > away_s:
            reasons = "; ".join(f"{lane.place}: {lane.reason}" for lane in self._lanes)
            raise UnreachableError(
                f"no device came back to work within {away_s:g} s: {reasons}",
                hint="what was measured is kept: the same command goes on from there",
            )
        if not self._told_alone:
            self._told_alone = True
            text = f"no device is left to measure on: waiting up to {away_s:g} s for one of them"
            self._emit(Note(text, warning=True))

    def close(self) -> None:
        """End; a device ends what it is measuring first."""
        self._stop.set()
        for lane in self._lanes:
            if lane.is_alive():
                lane.join(_JOIN_S)
            lane.disconnect()
