"""From a sensor's readings to joules between two moments; refused where they cannot tell.

Every moment is one of the device's monotonic clock. Between two readings, power is taken to go in
a straight line, and so is the energy counted.
"""

import bisect
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.core.errors import MeasurementInvalidError

_NS_PER_S = 1e9
_UJ_PER_J = 1e6
_DIGITS_W = 9  # of readings in whole microwatts; what lies below is arithmetic's


@dataclass(frozen=True)
class Interval:
    """From one moment of the device's clock to a later one."""

    start_ns: int
    end_ns: int

    def __post_init__(self) -> None:
        if self.end_ns <= self.start_ns:
            raise MeasurementInvalidError(
                f"an interval of {self.end_ns - self.start_ns} ns holds no energy",
                hint="check the device's clock source",
            )

    @property
    def seconds(self) -> float:
        """Its length."""
        return (self.end_ns - self.start_ns) / _NS_PER_S


@dataclass(frozen=True)
class PowerSamples:
    """What a power sensor read, and when."""

    times_ns: tuple[int, ...]
    power_uw: tuple[int, ...]

    def __post_init__(self) -> None:
        _check_times(self.times_ns, self.power_uw)
        if min(self.power_uw, default=0) < 0:
            raise MeasurementInvalidError(
                f"a reading of {min(self.power_uw)} uW: the sensor counts backwards",
                hint="turn the sensor's shunt round, or leave this rail out",
            )


@dataclass(frozen=True)
class CounterSamples:
    """What an energy counter read, and when; it starts again at ``range_uj``."""

    times_ns: tuple[int, ...]
    energy_uj: tuple[int, ...]
    range_uj: int

    def __post_init__(self) -> None:
        _check_times(self.times_ns, self.energy_uj)
        for value in self.energy_uj:
            if not 0 <= value <= self.range_uj:
                raise MeasurementInvalidError(
                    f"a counter of 0 to {self.range_uj} uJ read {value} uJ",
                    hint="use another sensor",
                )


Samples = PowerSamples | CounterSamples


@dataclass(frozen=True)
class Limits:
    """What readings must keep to, to be believed.

    Attributes:
        max_gap_s: between one reading and the next.
        max_unchanged_s: for how long a reading may stay the same, to the last digit.
        min_samples: within the interval.
        max_power_w: beyond it a counter did not wrap but was reset.
    """

    max_gap_s: float = 0.5
    max_unchanged_s: float = 10.0
    min_samples: int = 10
    max_power_w: float = 1000.0


@dataclass(frozen=True)
class Energy:
    """Energy of an interval.

    Attributes:
        joules: by the trapezoid rule, or by the counter.
        sampling_sd_j: standard deviation of what may have happened between readings: where two
            differ, the step lay anywhere between them. Load that comes and goes more than once
            between two readings is not seen by it, nor is the sensor's own accuracy.
        samples: how many readings lie within.
        seconds: the interval's length.
    """

    joules: float
    sampling_sd_j: float
    samples: int
    seconds: float

    @property
    def mean_w(self) -> float:
        """Mean power."""
        return self.joules / self.seconds

    @property
    def rate_hz(self) -> float:
        """Readings per second, as they came."""
        return self.samples / self.seconds


def energy_of(samples: Samples, interval: Interval, limits: Limits | None = None) -> Energy:
    """Integrate readings over an interval; its edges lie between readings.

    Raises:
        MeasurementInvalidError: they do not cover it, leave too long a gap, never change, or are
            too few.
    """
    limits = limits or Limits()
    _check_cover(samples.times_ns, interval)
    first = bisect.bisect_right(samples.times_ns, interval.start_ns) - 1
    last = bisect.bisect_left(samples.times_ns, interval.end_ns)
    times_ns = samples.times_ns[first : last + 1]
    _check_gaps(times_ns, limits.max_gap_s)
    within = sum(interval.start_ns <= time_ns <= interval.end_ns for time_ns in times_ns)
    if within < limits.min_samples:
        raise MeasurementInvalidError(
            f"{within} readings in {interval.seconds:.3g} s, {limits.min_samples} are needed",
            hint="measure for longer (--seconds, --idle), or sample faster",
        )
    if isinstance(samples, PowerSamples):
        power_uw = samples.power_uw[first : last + 1]
        _check_unchanged(times_ns, power_uw, limits.max_unchanged_s)
        joules, variance = _of_power(times_ns, power_uw, interval)
    else:
        energy_uj = samples.energy_uj[first : last + 1]
        _check_unchanged(times_ns, energy_uj, limits.max_unchanged_s)
        counted = _unwrapped(times_ns, energy_uj, samples.range_uj, limits.max_power_w)
        joules, variance = _of_counter(times_ns, counted, interval)
    return Energy(joules, math.sqrt(variance), within, interval.seconds)


def power_spread_w(samples: Samples, interval: Interval, limits: Limits | None = None) -> float:
    """Return the standard deviation of power within an interval that ``energy_of`` accepts."""
    mean_w = energy_of(samples, interval, limits).mean_w
    pieces: list[tuple[float, float]] = []
    if isinstance(samples, PowerSamples):
        pieces = [
            (1.0, power_uw / _UJ_PER_J)
            for time_ns, power_uw in zip(samples.times_ns, samples.power_uw, strict=True)
            if interval.start_ns <= time_ns <= interval.end_ns
        ]
    else:
        for (a_ns, a_uj), (b_ns, b_uj) in itertools.pairwise(
            zip(samples.times_ns, samples.energy_uj, strict=True)
        ):
            if interval.start_ns <= a_ns and b_ns <= interval.end_ns:
                seconds = (b_ns - a_ns) / _NS_PER_S
                joules = _step_uj(a_uj, b_uj, samples.range_uj) / _UJ_PER_J
                pieces.append((seconds, joules / seconds))
    weight = math.fsum(weight for weight, _ in pieces)
    spread_w = math.sqrt(math.fsum(w * (p - mean_w) ** 2 for w, p in pieces) / weight)
    return round(spread_w, _DIGITS_W)


def _of_power(
    times_ns: Sequence[int], power_uw: Sequence[int], interval: Interval
) -> tuple[float, float]:
    joules, variances = [], []
    for (a_ns, a_uw), (b_ns, b_uw) in itertools.pairwise(zip(times_ns, power_uw, strict=True)):
        from_ns, to_ns = max(a_ns, interval.start_ns), min(b_ns, interval.end_ns)
        slope = (b_uw - a_uw) / (b_ns - a_ns)
        middle_uw = a_uw + slope * ((from_ns - a_ns) + (to_ns - a_ns)) / 2
        seconds = (to_ns - from_ns) / _NS_PER_S
        joules.append(middle_uw / _UJ_PER_J * seconds)
        # A step at an unknown place is off by half of it times the time, either way: uniform.
        variances.append(((b_uw - a_uw) / _UJ_PER_J * (b_ns - a_ns) / _NS_PER_S) ** 2 / 12)
    return math.fsum(joules), math.fsum(variances)


def _of_counter(
    times_ns: Sequence[int], counted_uj: Sequence[int], interval: Interval
) -> tuple[float, float]:
    start_uj, start_variance = _counted_at(times_ns[:2], counted_uj[:2], interval.start_ns)
    end_uj, end_variance = _counted_at(times_ns[-2:], counted_uj[-2:], interval.end_ns)
    return (end_uj - start_uj) / _UJ_PER_J, start_variance + end_variance


def _counted_at(
    times_ns: Sequence[int], counted_uj: Sequence[int], moment_ns: int
) -> tuple[float, float]:
    (a_ns, b_ns), (a_uj, b_uj) = times_ns, counted_uj
    share = (moment_ns - a_ns) / (b_ns - a_ns)
    # Between two readings the energy may have come at any time; at a reading it is known.
    variance = 0.0 if share in {0, 1} else ((b_uj - a_uj) / _UJ_PER_J) ** 2 / 12
    return a_uj + (b_uj - a_uj) * share, variance


def _step_uj(before_uj: int, after_uj: int, range_uj: int) -> int:
    return after_uj - before_uj + (range_uj if after_uj < before_uj else 0)


def _unwrapped(
    times_ns: Sequence[int], energy_uj: Sequence[int], range_uj: int, max_power_w: float
) -> list[int]:
    counted = [0]
    steps = zip(itertools.pairwise(times_ns), itertools.pairwise(energy_uj), strict=True)
    for (a_ns, b_ns), (a_uj, b_uj) in steps:
        step_uj = _step_uj(a_uj, b_uj, range_uj)
        most_uj = max_power_w * _UJ_PER_J * (b_ns - a_ns) / _NS_PER_S
        if step_uj > most_uj:
            raise MeasurementInvalidError(
                f"the counter went from {a_uj} to {b_uj} uJ in {(b_ns - a_ns) / 1e6:.3g} ms, "
                f"which is more than {max_power_w:g} W: it was reset",
                hint="measure again",
            )
        if most_uj >= range_uj:
            raise MeasurementInvalidError(
                f"the counter may have wrapped more than once in {(b_ns - a_ns) / 1e6:.3g} ms",
                hint="sample faster",
            )
        counted.append(counted[-1] + step_uj)
    return counted


def _check_times(times_ns: Sequence[int], values: Sequence[int]) -> None:
    if len(times_ns) != len(values):
        raise MeasurementInvalidError(
            f"{len(values)} readings have {len(times_ns)} time stamps", hint="measure again"
        )
    for before_ns, after_ns in itertools.pairwise(times_ns):
        if after_ns <= before_ns:
            raise MeasurementInvalidError(
                f"a time stamp is followed by one {before_ns - after_ns} ns before it",
                hint="check the device's clock source",
            )


def _check_cover(times_ns: Sequence[int], interval: Interval) -> None:
    if not times_ns:
        raise MeasurementInvalidError(
            "the sensor gave no reading", hint="see what the sampler told of its faults"
        )
    for missing_ns, where in (
        (times_ns[0] - interval.start_ns, "begin"),
        (interval.end_ns - times_ns[-1], "end"),
    ):
        if missing_ns > 0:
            raise MeasurementInvalidError(
                f"the readings {where} {missing_ns / 1e6:.3g} ms inside the interval",
                hint="let the sampler start before the run and end after it",
            )


def _check_gaps(times_ns: Sequence[int], max_gap_s: float) -> None:
    gap_ns = max(after - before for before, after in itertools.pairwise(times_ns))
    if gap_ns > max_gap_s * _NS_PER_S:
        raise MeasurementInvalidError(
            f"no reading for {gap_ns / 1e6:.4g} ms, {max_gap_s * 1e3:g} ms at most",
            hint="see what the sampler told of its faults",
        )


def _check_unchanged(
    times_ns: Sequence[int], values: Sequence[int], max_unchanged_s: float
) -> None:
    since_ns = times_ns[0]
    for (_, before), (time_ns, value) in itertools.pairwise(zip(times_ns, values, strict=True)):
        if value != before:
            since_ns = time_ns
        if time_ns - since_ns > max_unchanged_s * _NS_PER_S:
            raise MeasurementInvalidError(
                f"the sensor read {value} for more than {max_unchanged_s:g} s: it is stuck",
                hint="check the sensor; for one as coarse as that: --stuck-after",
            )
