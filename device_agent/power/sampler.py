"""Readings of several rails at a steady rate, with the device's own time stamps.

The clock is ``CLOCK_MONOTONIC``, the one that ``time.perf_counter`` of a runner reads on Linux.
"""

import array
import math
import threading
import time

from device_agent.power.rail import ReadingError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

    from device_agent.power.rail import Rail

    Taker = Tuple[
        Callable[[], int],
        Callable[[int], None],
        Callable[[int], None],
        Callable[[str, str, int], None],
    ]

MOST_SAMPLES = 1 << 20
"""Of one rail: 16 bytes each, nearly three hours at 100 Hz."""

_LONGEST_SLEEP_S = 0.5  # until it is noticed that it is to stop
_LOOK_AGAIN_NS = 1000000000


class Series:
    """One rail's readings, and what went wrong with it."""

    def __init__(self, rail: "Rail") -> None:
        self.rail = rail
        self.times_ns = array.array("q")
        self.values = array.array("q")
        self.faults: "Dict[str, Dict[str, Any]]" = {}
        self._looked_ns = 0

    def fault(self, kind: str, detail: str, now_ns: int) -> None:
        """Take down a reading that is none; look for a sensor that is gone, now and then."""
        if kind == "vanished" and now_ns - self._looked_ns >= _LOOK_AGAIN_NS:
            self._looked_ns = now_ns
            self.rail.revive()
        known = self.faults.setdefault(
            kind, {"count": 0, "first_ns": now_ns, "last_ns": now_ns, "detail": detail}
        )
        known["count"] += 1
        known["last_ns"] = now_ns

    def longest_unchanged_ns(self) -> int:
        """Return for how long the reading stayed the same at most: a stuck sensor's does."""
        longest = since = 0
        for index, value in enumerate(self.values):
            if value != self.values[since]:
                since = index
            longest = max(longest, self.times_ns[index] - self.times_ns[since])
        return longest

    def as_json(self) -> "Dict[str, Any]":
        """Return the rail, its readings, each time stamp as the step from the one before."""
        steps = [b - a for a, b in zip(self.times_ns, self.times_ns[1:])]
        return {
            "rail": self.rail.as_json(),
            "start_ns": self.times_ns[0] if self.times_ns else None,
            "steps_ns": steps,
            "values": self.values.tolist(),
            "longest_unchanged_ns": self.longest_unchanged_ns(),
            "faults": self.faults,
        }


class Sampler:
    """Reads rails, by a loop of the caller's or in a thread of its own.

    A thread must not be running where the process forks: start it after the runner.
    """

    def __init__(
        self, rails: "List[Rail]", rate_hz: float, most_samples: int = MOST_SAMPLES
    ) -> None:
        if not rate_hz > 0:
            raise ValueError(f"{rate_hz} Hz is no rate")
        self.series = [Series(rail) for rail in rails]
        limits = [rail.most_hz for rail in rails if rail.most_hz is not None]
        self._rate_hz = min([rate_hz, *limits]) if len(limits) == len(rails) else rate_hz
        self._most_samples = most_samples
        self._stopped = False
        self._thread: "Optional[threading.Thread]" = None
        self._cpu_s = 0.0
        self._wall_s = 0.0
        self._rounds = 0
        self._missed = 0

    def start(self) -> None:
        """Sample in a thread until ``stop``."""
        self._stopped = False
        self._thread = threading.Thread(target=self.run, name="power", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread; what it has read stays."""
        self._stopped = True
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._stopped = False  # the caller may go on by itself

    def run(self, seconds: "Optional[float]" = None) -> None:
        """Sample for so long, or until ``stop``.

        Rounds stand at fixed times; those that could not be kept are left out and counted.
        """
        began_cpu = _thread_cpu_s()
        began = due = now = time.monotonic()
        period = 1 / self._rate_hz
        end = float("inf") if seconds is None else began + seconds
        rounds = self._kinds_of_round()
        while now < end and not (self._stopped or self._rounds == self._most_samples):
            now = _take(rounds[self._rounds % len(rounds)], now)
            self._rounds += 1
            due += period
            if now > due:
                late = int((now - due) / period) + 1
                self._missed += late
                due += late * period
            now = self._sleep(min(due, end), now)
        self._cpu_s += _thread_cpu_s() - began_cpu
        self._wall_s += now - began

    def _kinds_of_round(self) -> "List[List[Taker]]":
        # Rails that cost much are read in the first of so many rounds.
        limits = [each.rail.most_hz for each in self.series if each.rail.most_hz is not None]
        rounds = math.ceil(self._rate_hz / min(limits)) if limits else 1
        every, cheap = [], []  # type: List[Taker], List[Taker]
        for each in self.series:
            taker = (each.rail.read, each.times_ns.append, each.values.append, each.fault)
            every.append(taker)
            if each.rail.most_hz is None:
                cheap.append(taker)
        return [every] + [cheap] * (rounds - 1)

    def _sleep(self, due: float, now: float) -> float:
        while due - now > _LONGEST_SLEEP_S and not self._stopped:
            time.sleep(_LONGEST_SLEEP_S)
            now = time.monotonic()
        if due > now and not self._stopped:
            time.sleep(due - now)
        return time.monotonic()

    def as_json(self) -> "Dict[str, Any]":
        """Return the readings, and what it cost to get them."""
        cpu_s = self._cpu_s + sum(series.rail.cost_cpu_s() for series in self.series)
        return {
            "rate_hz": self._rate_hz,
            "rounds": self._rounds,
            "missed_rounds": self._missed,
            "ended_full": self._rounds == self._most_samples,
            "wall_s": self._wall_s,
            "cpu_s": cpu_s,
            "cpu_share": cpu_s / self._wall_s if self._wall_s else None,
            "series": [series.as_json() for series in self.series],
        }


def _take(takers: "Sequence[Taker]", before: float) -> float:
    """Read every rail once, and return the time after it."""
    # Written for few steps: after each sleep all of it comes from a cold cache.
    for read, keep_time, keep_value, fault in takers:
        try:
            value = read()
        except ReadingError as error:
            before = time.monotonic()
            fault(error.kind, str(error), int(before * 1e9))
            continue
        after = time.monotonic()
        # A sensor behind I2C takes its time: the value was true somewhere in between.
        keep_time(int((before + after) * 5e8))
        keep_value(value)
        before = after
    return before


def _thread_cpu_s() -> float:
    return time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID)  # time.thread_time is of Python 3.7
