"""What a run took of each rail, and which figure stands for the whole device.

Where the readings cannot tell, the reason stands in place of a number.
"""

import bisect
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from edgekit.bench.energy import CounterSamples, Interval, Limits, PowerSamples, Samples
from edgekit.bench.inference_energy import InferenceEnergy, energy_per_inference
from edgekit.core.errors import MeasurementInvalidError
from edgekit.core.power import (
    ENERGY,
    HOST_SOURCES,
    PowerFault,
    PowerRecord,
    RailFacts,
    RailSeries,
    Span,
)

_DEFAULT_LIMITS: Final = Limits()
_MOST_PERIODS: Final = 5
"""Of the sampler or the sensor, that a gap may last if that is more than ``Limits.max_gap_s``."""


@dataclass(frozen=True)
class RailEnergy:
    """What a run took of one rail.

    Attributes:
        rail: sensor, label and scope.
        energy: with idle beside it; ``None`` where it cannot be told.
        reason: why it cannot; empty where it can.
        rate_hz: readings a second that were asked for; ``energy.run.rate_hz`` is what came.
        cpu_share: what taking the readings of all rails took of one core.
        missed_rounds: that could not be kept.
        faults: readings that were none, anywhere in the record.
        loop: what the sampler's was written in, as in :class:`PowerRecord`.
    """

    rail: RailFacts
    energy: InferenceEnergy | None
    reason: str
    rate_hz: float
    cpu_share: float | None
    missed_rounds: int
    faults: tuple[PowerFault, ...] = ()
    loop: str = ""

    def words(self) -> str:
        """Say what was measured, by what, and what is wrong with it."""
        said = [self.energy.statement() if self.energy else f"not told: {self.reason}"]
        said += [f"fault: {fault.words()}" for fault in self.faults]
        if self.cpu_share is not None:
            where = " of the host" if self.rail.source in HOST_SOURCES else ""
            loop = f" (its loop in {self.loop.capitalize()})" if self.loop else ""
            said.append(f"sampling took {self.cpu_share:.2%} of one core{where}{loop}")
        if self.rail.most_hz is not None:
            said.append(
                f"read {self.rail.most_hz:g} times a second at most, as each reading disturbs what "
                "is measured: take speed from a run without it"
            )
        if self.missed_rounds:
            said.append(f"{self.missed_rounds} rounds missed")
        rail = self.rail
        return f"{rail.label} ({rail.scope}, {rail.sensor} by {rail.source}): " + "; ".join(said)

    def as_json(self) -> Mapping[str, Any]:
        """Return all of it under names that carry their units."""
        return {
            **{name: getattr(self.rail, name) for name in ("source", "sensor", "label", "scope")},
            "energy": None if self.energy is None else energy_json(self.energy),
            "reason": self.reason or None,
            "rate_hz": self.rate_hz,
            "sampler_cpu_share": self.cpu_share,
            "sampler_loop": self.loop or None,
            "missed_rounds": self.missed_rounds,
            "faults": [vars(fault) for fault in self.faults],
        }


def power_of_run(
    record: PowerRecord,
    run_ns: Span,
    inferences: int,
    idle_before_ns: Span,
    idle_after_ns: Span,
    edge_uncertainty_ns: int = 0,
    limits: Limits = _DEFAULT_LIMITS,
) -> tuple[RailEnergy, ...]:
    """Return each rail's energy per inference, or why it cannot be told.

    Args:
        record: from before ``idle_before_ns`` to after ``idle_after_ns``, by the same clock.
        run_ns: from the first inference's start to the last one's end.
        inferences: how many lie within it.
        idle_before_ns: while nothing was asked of the device, before the run.
        idle_after_ns: the same, after it.
        edge_uncertainty_ns: how far the record's clock may be off from that of the spans.
        limits: what readings must keep to; a rail that is read seldom may leave longer gaps.
    """
    found = []
    for series in record.series:
        energy, reason = None, ""
        judged_by = _limits(limits, record.rate_hz, series.rail)
        try:
            energy = energy_per_inference(
                _samples(series),
                _seen(series, Interval(*idle_before_ns), judged_by),
                Interval(*run_ns),
                _seen(series, Interval(*idle_after_ns), judged_by),
                inferences,
                edge_uncertainty_ns=edge_uncertainty_ns,
                limits=judged_by,
            )
        except MeasurementInvalidError as error:
            reason = _reason(error, record, series)
        found.append(
            RailEnergy(
                rail=series.rail,
                energy=energy,
                reason=reason,
                rate_hz=_rate_hz(record.rate_hz, series.rail),
                cpu_share=record.cpu_share,
                missed_rounds=record.missed_rounds,
                faults=series.faults,
                loop=record.loop,
            )
        )
    return tuple(found)


def energy_json(energy: InferenceEnergy) -> Mapping[str, Any]:
    """Return the figures under names that carry their units; ``+-`` has coverage factor 2."""
    n = energy.inferences
    idle = {
        f"idle_{when}_{name}": getattr(part, name)
        for when, part in (("before", energy.before), ("after", energy.after))
        for name in ("mean_w", "spread_w", "seconds")
    }
    return {
        "j_per_inference": energy.j_per_inference,
        "j_per_inference_uncertainty": energy.uncertainty_j / n,
        "above_idle_j_per_inference": energy.above_idle_j_per_inference,
        "above_idle_j_per_inference_uncertainty": energy.above_idle_uncertainty_j / n,
        "is_above_idle": energy.is_above_idle,
        "mean_w": energy.run.mean_w,
        "idle_w": energy.idle_w,
        **idle,
        "inferences": n,
        "seconds": energy.run.seconds,
        "readings": energy.run.samples,
        "readings_per_s": energy.run.rate_hz,
        "edge_uncertainty_ns": energy.edge_uncertainty_ns,
    }


def _samples(series: RailSeries) -> Samples:
    if series.rail.quantity == ENERGY:
        return CounterSamples(series.times_ns, series.values, series.rail.range_uj or 0)
    return PowerSamples(series.times_ns, series.values)


def _seen(series: RailSeries, idle: Interval, limits: Limits) -> Interval:
    """Return what was seen of an idle time, from its first reading to its last.

    Of idle a mean is asked for, which needs no reading at either end; but one soon after it.
    """
    times_ns = series.times_ns
    first = bisect.bisect_left(times_ns, idle.start_ns)
    last = bisect.bisect_right(times_ns, idle.end_ns) - 1
    if last <= first:
        return idle
    most_ns = limits.max_gap_s * 1e9
    start_ns, end_ns = times_ns[first], times_ns[last]
    return Interval(
        start_ns if start_ns - idle.start_ns <= most_ns else idle.start_ns,
        end_ns if idle.end_ns - end_ns <= most_ns else idle.end_ns,
    )


def _limits(limits: Limits, rate_hz: float, rail: RailFacts) -> Limits:
    # A meter of one reading a second leaves gaps of a second, and says so by its rate.
    period_s = max(1 / _rate_hz(rate_hz, rail), (rail.update_interval_ns or 0) / 1e9)
    return replace(limits, max_gap_s=max(limits.max_gap_s, _MOST_PERIODS * period_s))


def _rate_hz(asked_hz: float, rail: RailFacts) -> float:
    return min(asked_hz, rail.most_hz or asked_hz)


def _reason(error: MeasurementInvalidError, record: PowerRecord, series: RailSeries) -> str:
    said = [f"{error.message} ({error.hint})" if error.hint else error.message]
    said += [fault.words() for fault in series.faults]
    if record.ended_full:
        said.append("the sampler ended early for want of room")
    return "; ".join(said)
