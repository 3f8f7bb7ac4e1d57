"""Calls timed one by one, and how far the run is, told as it goes."""

import gc
import json
import sys
import time
from typing import Any, Callable, List, Mapping, NamedTuple

_PROGRESS_INTERVAL_NS = 200_000_000  # five lines per second
_NS = 1_000_000_000

# perf_counter_ns came with Python 3.7.
clock_ns = getattr(time, "perf_counter_ns", None) or (lambda: int(time.perf_counter() * _NS))


class Timed(NamedTuple):
    """Calls that were timed one by one.

    Attributes:
        samples_ns: each call's duration, in order.
        span_ns: when the first began and the last ended, by the clock that on Linux is
            CLOCK_MONOTONIC; power is read by it, too.
    """

    samples_ns: List[int]
    span_ns: List[int]


def timed(call: Callable[[], None], plan: Mapping[str, Any], phase: str) -> Timed:
    """Call until both minima are met or ``max_seconds`` are over."""
    samples = []  # type: List[int]
    keep, clock = samples.append, clock_ns
    min_runs = max(1, int(plan["min_runs"]))
    progress = Progress(phase, min_runs)
    gc.collect()
    gc.disable()
    try:
        started = clock()
        enough = started + int(plan["min_seconds"] * _NS)
        limit = started + int(plan["max_seconds"] * _NS)
        runs = 0
        while True:
            before = clock()
            call()
            after = clock()
            keep(after - before)
            runs += 1
            if (runs >= min_runs and after >= enough) or after >= limit:
                break
            # Between two samples, never inside one.
            if after >= progress.due_ns:
                progress.report(runs, after)
    finally:
        gc.enable()
    progress.last(runs)
    return Timed(samples, [started, after])


class Progress:
    """Progress lines, five per second at most."""

    def __init__(self, phase: str, total: int) -> None:
        self._phase = phase
        self._total = total
        self.due_ns = clock_ns() + _PROGRESS_INTERVAL_NS

    def report(self, done: int, now_ns: int) -> None:
        """Print a line if one is due."""
        if now_ns >= self.due_ns:
            self.due_ns = now_ns + _PROGRESS_INTERVAL_NS
            self.last(done)

    def last(self, done: int) -> None:
        """Print a line."""
        line = {
            "event": "progress",
            "done": done,
            "total": max(done, self._total),
            "phase": self._phase,
        }
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()
