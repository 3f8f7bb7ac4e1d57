"""What a meter said, taken down by the host's monotonic clock: readings and faults."""

import itertools
import math
import re
import statistics
import threading
from dataclasses import dataclass, replace
from typing import Final

from edgekit.core.power import PowerFault, PowerRecord, RailFacts, RailSeries

MOST_READINGS: Final = 1 << 20

_MOST_W: Final = 1e4  # no device that edgekit serves; SCPI's 9.9E37 says "over range"
_NUMBER: Final = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*[wW]?", re.ASCII)
_SHOWN: Final = 48
_NS_PER_S: Final = 1e9


class ReadingError(Exception):
    """A reading that is none.

    Attributes:
        kind: ``garbage``, ``negative``, ``timeout``, ``unreadable`` or ``vanished``.
    """

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(detail)
        self.kind = kind


@dataclass(frozen=True)
class MeterReadings:
    """All that a meter gave.

    Attributes:
        record: by the host's monotonic clock, in nanoseconds.
        half_reading_ns: half of how long a reading took: by that much its moment is unknown.
    """

    record: PowerRecord
    half_reading_ns: int


def microwatts(text: str, scale: float) -> int:
    """Return what a meter's answer says.

    Raises:
        ReadingError: it is no number, or one that cannot be.
    """
    match = _NUMBER.fullmatch(text.strip())
    watts = float(match.group(1)) * scale if match else math.nan
    if not abs(watts) <= _MOST_W:
        raise ReadingError("garbage", repr(text[:_SHOWN]))
    if watts < 0:
        raise ReadingError("negative", repr(text[:_SHOWN]))
    return round(watts * 1e6)


class Log:
    """Readings and faults so far; a thread that does not come back can write on without harm."""

    def __init__(self, scale: float) -> None:
        self._scale = scale
        self._lock = threading.Lock()
        self._times_ns: list[int] = []
        self._values_uw: list[int] = []
        self._took_ns: list[int] = []
        self._faults: dict[str, PowerFault] = {}
        self.rounds = 0
        self.missed_rounds = 0
        self.cpu_s = 0.0

    @property
    def is_full(self) -> bool:
        """Whether there is no room for more."""
        return len(self._times_ns) >= MOST_READINGS

    def answer(self, text: str, asked_ns: int, answered_ns: int) -> None:
        """Take down an answer: true somewhere between the question and it."""
        try:
            value_uw = microwatts(text, self._scale)
        except ReadingError as error:
            self.fault(error, answered_ns)
            return
        with self._lock:
            time_ns = (asked_ns + answered_ns) // 2
            if self._times_ns and time_ns <= self._times_ns[-1]:
                return  # asked twice at one moment of the clock
            self._times_ns.append(time_ns)
            self._values_uw.append(value_uw)
            self._took_ns.append(answered_ns - asked_ns)

    def fault(self, error: ReadingError, now_ns: int) -> None:
        """Take down a reading that is none."""
        with self._lock:
            known = self._faults.get(error.kind)
            self._faults[error.kind] = (
                replace(known, count=known.count + 1, last_ns=now_ns)
                if known
                else PowerFault(error.kind, 1, now_ns, now_ns, str(error))
            )

    def readings(self, rail: RailFacts, rate_hz: float | None, wall_s: float) -> MeterReadings:
        """Return all so far; ``rate_hz`` is that of the readings where nobody asked for one."""
        with self._lock:
            times_ns, values_uw = tuple(self._times_ns), tuple(self._values_uw)
            series = RailSeries(
                rail,
                times_ns,
                values_uw,
                _longest_unchanged_ns(times_ns, values_uw),
                tuple(self._faults.values()),
            )
            record = PowerRecord(
                rate_hz=rate_hz or _usual_rate_hz(times_ns),
                rounds=self.rounds,
                missed_rounds=self.missed_rounds,
                ended_full=self.is_full,
                wall_s=wall_s,
                cpu_s=self.cpu_s,
                series=(series,),
            )
            half_ns = round(statistics.median(self._took_ns) / 2) if self._took_ns else 0
        return MeterReadings(record, half_ns)


def _usual_rate_hz(times_ns: tuple[int, ...]) -> float:
    steps = [after - before for before, after in itertools.pairwise(times_ns)]
    return _NS_PER_S / statistics.median(steps) if steps else 1.0


def _longest_unchanged_ns(times_ns: tuple[int, ...], values: tuple[int, ...]) -> int:
    longest = since = 0
    for index, value in enumerate(values):
        if value != values[since]:
            since = index
        longest = max(longest, times_ns[index] - times_ns[since])
    return longest
