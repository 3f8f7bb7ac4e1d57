"""Readings of several rails at a steady rate, with the device's own time stamps.

The clock is ``CLOCK_MONOTONIC``, the one that ``time.perf_counter`` of a runner reads on Linux.
Waking up is what it costs, and Python takes its time for that: rails that are plain are read by a
loop in C (``native``) where the host sent one. The loop here is the reference.
"""

import array
import math
import threading
import time
from os import pread
from time import monotonic, sleep

from device_agent.power.rail import ATTRIBUTE_BYTES, ReadingError, fault_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Optional, Tuple

    from device_agent.power.native import Native, Rounds
    from device_agent.power.rail import Rail

    Keep = Callable[[int], None]
    Odd = Callable[[Optional[Exception], bytes, bytes], float]
    Plain = Tuple[int, int, int, int, Keep, Keep, Odd]
    Other = Tuple[int, "Series"]

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

    def odd(
        self, error: "Optional[Exception]", first: bytes, second: bytes, read_ns: int = 0
    ) -> float:
        """Take down why files gave no reading, and return the time.

        What C does not read may be one after all, of ``read_ns``: a ``+5``.
        """
        try:
            if isinstance(error, OSError):
                raise fault_of(error)
            value = self.rail.value_of([first, second][: self.rail.file_count])
        except ReadingError as none:
            return self.fault(none)
        self.times_ns.append(read_ns)
        self.values.append(value)
        return monotonic()

    def fault(self, none: ReadingError) -> float:
        """Take down a reading that is none, and return the time.

        A sensor that is gone is looked for, now and then.
        """
        now = monotonic()
        now_ns = int(now * 1e9)
        if none.kind == "vanished" and now_ns - self._looked_ns >= _LOOK_AGAIN_NS:
            self._looked_ns = now_ns
            self.rail.revive()
        known = self.faults.setdefault(
            none.kind, {"count": 0, "first_ns": now_ns, "last_ns": now_ns, "detail": str(none)}
        )
        known["count"] += 1
        known["last_ns"] = now_ns
        return now

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

    Args:
        rails: what is read.
        rate_hz: how often.
        most_samples: of a rail; then it ends.
        native: C's loop, of ``native.load``.
    """

    def __init__(
        self,
        rails: "List[Rail]",
        rate_hz: float,
        most_samples: int = MOST_SAMPLES,
        native: "Optional[Native]" = None,
    ) -> None:
        if not rate_hz > 0:
            raise ValueError(f"{rate_hz} Hz is no rate")
        self.series = [Series(rail) for rail in rails]
        limits = [rail.most_hz for rail in rails if rail.most_hz is not None]
        self._rate_hz = min([rate_hz, *limits]) if len(limits) == len(rails) else rate_hz
        self._most_samples = most_samples
        self._native = native
        self._in_c: "Optional[Rounds]" = None
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
        if self._in_c is not None:
            self._in_c.stop()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
            self._stopped = False  # the caller may go on by itself

    def run(self, seconds: "Optional[float]" = None) -> None:
        """Sample for so long, or until ``stop``.

        Rounds stand at fixed times; those that could not be kept are left out and counted.
        """
        began_cpu = _thread_cpu_s()
        self._in_c = self._rounds_in_c()
        began = monotonic()
        end = float("inf") if seconds is None else began + seconds
        ended = self._loop(began, end) if self._in_c is None else self._look_on(self._in_c, end)
        self._cpu_s += _thread_cpu_s() - began_cpu
        self._wall_s += ended - began

    def _rounds_in_c(self) -> "Optional[Rounds]":
        """Return C's loop where there is one and it can do all that is to be done."""
        slow = self._rate_hz * _LONGEST_SLEEP_S < 1  # C sleeps through to the next round
        if self._native is None or slow or self._takers()[1]:
            return None
        from device_agent.power.native import Rounds

        return Rounds(self._native, self.series, self._rate_hz)

    def _look_on(self, in_c: "Rounds", end: float) -> float:
        now = monotonic()
        while now < end and not (self._stopped or self._rounds == self._most_samples):
            rounds, missed = in_c.take(end, self._most_samples - self._rounds)
            self._rounds += rounds
            self._missed += missed
            now = monotonic()
        return now

    def _loop(self, now: float, end: float) -> float:
        # One flat loop of few steps: after each sleep all of it comes from a cold cache, and a
        # call that is saved there is worth ten elsewhere (benchmarks/power_sampler.py).
        plain, others = self._takers()
        period = 1 / self._rate_hz
        due = now
        while now < end and not (self._stopped or self._rounds == self._most_samples):
            for one, other, times, most, keep_time, keep_value, odd in plain:
                first = second = b""
                try:
                    first, factor = pread(one, ATTRIBUTE_BYTES, 0), times
                    if other >= 0:
                        second = pread(other, ATTRIBUTE_BYTES, 0)
                        factor = int(second)
                    value = int(first)
                    after = monotonic()
                except (OSError, ValueError) as error:
                    now = odd(error, first, second)
                    continue
                if value < 0 or factor < 0 or value * factor > most:
                    now = odd(None, first, second)
                    continue
                # A sensor behind I2C takes its time: the value was true somewhere in between.
                keep_time(int((now + after) * 5e8))
                keep_value(value * factor)
                now = after
            if others:
                now = self._take(others, now)
            self._rounds += 1
            due += period
            if now > due:
                due = self._left_out(due, now, period)
            pause = (due if due < end else end) - now
            if pause > _LONGEST_SLEEP_S:
                self._rest(now + pause)
            elif pause > 0:
                sleep(pause)
            now = monotonic()
        return now

    def _takers(self) -> "Tuple[List[Plain], List[Other]]":
        """Return what a round needs of each rail, first of those that are a product of files."""
        plain, others = [], []  # type: List[Plain], List[Other]
        for each in self.series:
            files = each.rail.plain()
            if files is None or each.rail.most_hz is not None:
                most_hz = each.rail.most_hz or self._rate_hz
                others.append((max(1, math.ceil(self._rate_hz / most_hz)), each))
            else:
                keep = (each.times_ns.append, each.values.append)
                plain.append((*files, each.rail.largest, *keep, each.odd))
        return plain, others

    def _take(self, others: "List[Other]", now: float) -> float:
        for every, series in others:
            if self._rounds % every:
                continue
            try:
                value = series.rail.read()
            except ReadingError as none:
                now = series.fault(none)
                continue
            after = monotonic()
            series.times_ns.append(int((now + after) * 5e8))
            series.values.append(value)
            now = after
        return now

    def _left_out(self, due: float, now: float, period: float) -> float:
        late = int((now - due) / period) + 1
        self._missed += late
        return due + late * period

    def _rest(self, until: float) -> None:
        left = _LONGEST_SLEEP_S
        while left > 0 and not self._stopped:
            sleep(min(left, _LONGEST_SLEEP_S))
            left = until - monotonic()

    def as_json(self) -> "Dict[str, Any]":
        """Return the readings, and what it cost to get them."""
        cpu_s = self._cpu_s + sum(series.rail.cost_cpu_s() for series in self.series)
        return {
            "rate_hz": self._rate_hz,
            "loop": "python" if self._in_c is None else "c",
            "rounds": self._rounds,
            "missed_rounds": self._missed,
            "ended_full": self._rounds == self._most_samples,
            "wall_s": self._wall_s,
            "cpu_s": cpu_s,
            "cpu_share": cpu_s / self._wall_s if self._wall_s else None,
            "series": [series.as_json() for series in self.series],
        }


def _thread_cpu_s() -> float:
    return time.clock_gettime(time.CLOCK_THREAD_CPUTIME_ID)  # time.thread_time is of Python 3.7
