"""Energy of one inference, with and without what the board draws idle, and how sure that is.

The uncertainty is the expanded one with coverage factor 2 (about 95 %), of three parts: what may
have happened between readings, where the run's edges lie, and where idle lay meanwhile.
Source: JCGM 100:2008 (GUM), 4.3.7 (a quantity between two bounds) and 6.2.
"""

import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from edgekit.bench.energy import (
    Energy,
    Interval,
    Limits,
    PowerSamples,
    Samples,
    energy_of,
    power_spread_w,
)
from edgekit.core.errors import MeasurementInvalidError

_COVERAGE_FACTOR = 2
# Readings are whole microwatts: of less than that nothing is known, however steady they are.
_LAST_DIGIT_W = 1e-6
_NS_PER_S = 1e9


@dataclass(frozen=True)
class Idle:
    """Power while nothing was asked of the device.

    Attributes:
        mean_w: over the whole time.
        spread_w: standard deviation of the readings.
        updates: how often the reading changed: one that a slow sensor repeats is no new witness.
        seconds: how long it was looked at.
    """

    mean_w: float
    spread_w: float
    updates: int
    seconds: float

    @property
    def standard_error_w(self) -> float:
        """Standard deviation of ``mean_w``."""
        return self.spread_w / math.sqrt(max(self.updates, 1))


@dataclass(frozen=True)
class InferenceEnergy:
    """What a run of so many inferences took.

    Attributes:
        run: the run's energy.
        before: idle power before it.
        after: idle power after it.
        inferences: how many there were.
        edge_uncertainty_ns: how far both edges of the run may be off, the same way.
    """

    run: Energy
    before: Idle
    after: Idle
    inferences: int
    edge_uncertainty_ns: int = 0

    @property
    def idle_w(self) -> float:
        """Idle power during the run: halfway between before and after."""
        return (self.before.mean_w + self.after.mean_w) / 2

    @property
    def idle_drift_w(self) -> float:
        """How much more the device drew idle after the run than before it."""
        return self.after.mean_w - self.before.mean_w

    @property
    def above_idle_j(self) -> float:
        """The run's energy less what idle would have taken in that time."""
        return self.run.joules - self.idle_w * self.run.seconds

    @property
    def uncertainty_j(self) -> float:
        """Of the run's energy, coverage factor 2."""
        return _COVERAGE_FACTOR * math.hypot(
            self.run.sampling_sd_j, self._edges_sd_j, self._digit_sd_j
        )

    @property
    def above_idle_uncertainty_j(self) -> float:
        """Of ``above_idle_j``, coverage factor 2."""
        idle_sd_j = self._idle_sd_w * self.run.seconds
        return _COVERAGE_FACTOR * math.hypot(
            self.run.sampling_sd_j, self._edges_sd_j, self._digit_sd_j, idle_sd_j
        )

    @property
    def j_per_inference(self) -> float:
        """The run's energy for each inference."""
        return self.run.joules / self.inferences

    @property
    def above_idle_j_per_inference(self) -> float:
        """Energy above idle for each inference."""
        return self.above_idle_j / self.inferences

    @property
    def is_above_idle(self) -> bool:
        """Whether the run can be told from an idle device at all."""
        return self.above_idle_j > self.above_idle_uncertainty_j

    @property
    def _edges_sd_j(self) -> float:
        # Shifted by d, the run loses d seconds of load at one edge and gains as many of idle.
        swing_w = abs(self.run.mean_w - self.idle_w)
        return swing_w * self.edge_uncertainty_ns / _NS_PER_S / math.sqrt(3)

    @property
    def _digit_sd_j(self) -> float:
        return _LAST_DIGIT_W * self.run.seconds / math.sqrt(12)

    @property
    def _idle_sd_w(self) -> float:
        # Between the two it may have lain anywhere.
        return math.hypot(
            self.idle_drift_w / math.sqrt(12),
            self.before.standard_error_w / 2,
            self.after.standard_error_w / 2,
        )

    def statement(self) -> str:
        """Say how sure the figures are, and of what."""
        n = self.inferences
        above = (
            f"{self.above_idle_j_per_inference:.4g} +- {self.above_idle_uncertainty_j / n:.2g} J"
        )
        if not self.is_above_idle:
            above += " (not told from idle)"
        return (
            f"{self.j_per_inference:.4g} +- {self.uncertainty_j / n:.2g} J per inference, "
            f"{above} above idle; {n} in {self.run.seconds:.4g} s, "
            f"{self.run.rate_hz:.3g} readings/s; "
            f"idle {self.before.mean_w:.4g} W (spread {self.before.spread_w:.2g}) before, "
            f"{self.after.mean_w:.4g} W (spread {self.after.spread_w:.2g}) after; "
            "+- holds the sampling, the clocks and the drift of idle, not the sensor's accuracy"
        )


def idle_of(samples: Samples, interval: Interval, limits: Limits | None = None) -> Idle:
    """Return idle power over an interval.

    Raises:
        MeasurementInvalidError: as ``energy_of``.
    """
    energy = energy_of(samples, interval, limits)
    values = samples.power_uw if isinstance(samples, PowerSamples) else samples.energy_uj
    within = [
        value
        for time_ns, value in zip(samples.times_ns, values, strict=True)
        if interval.start_ns <= time_ns <= interval.end_ns
    ]
    updates = 1 + sum(a != b for a, b in itertools.pairwise(within))
    spread_w = power_spread_w(samples, interval, limits)
    return Idle(energy.mean_w, spread_w, updates, energy.seconds)


def energy_per_inference(
    samples: Samples,
    idle_before: Interval,
    run: Interval,
    idle_after: Interval,
    inferences: int,
    *,
    edge_uncertainty_ns: int = 0,
    limits: Limits | None = None,
) -> InferenceEnergy:
    """Tell what one inference takes.

    Args:
        samples: of one rail, from before the first interval to after the last.
        idle_before: while the device was idle before the run.
        run: from the first inference's start to the last one's end.
        idle_after: while the device was idle again.
        inferences: how many the run held.
        edge_uncertainty_ns: of ``run``, where its edges were moments of another clock.
        limits: what readings must keep to.

    Raises:
        MeasurementInvalidError: the readings cannot tell, or the intervals overlap.
    """
    if inferences < 1:
        raise MeasurementInvalidError("the run held no inference", hint="raise the time limit")
    if idle_before.end_ns > run.start_ns or run.end_ns > idle_after.start_ns:
        raise MeasurementInvalidError(
            "the device was to be idle before and after the run, not during it",
            hint="check how the clocks of host and device were aligned",
        )
    with _named("run"):
        energy = energy_of(samples, run, limits)
    with _named("idle before it"):
        before = idle_of(samples, idle_before, limits)
    with _named("idle after it"):
        after = idle_of(samples, idle_after, limits)
    return InferenceEnergy(
        run=energy,
        before=before,
        after=after,
        inferences=inferences,
        edge_uncertainty_ns=edge_uncertainty_ns,
    )


@contextmanager
def _named(part: str) -> Iterator[None]:
    """Say of which time the readings cannot tell."""
    try:
        yield
    except MeasurementInvalidError as error:
        raise MeasurementInvalidError(f"{part}: {error.message}", hint=error.hint) from error
