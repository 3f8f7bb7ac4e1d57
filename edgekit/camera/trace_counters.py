"""Values over the time of a camera run: queues, rates, latency, watts, temperatures and clocks."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgekit.camera.record import CameraRecord
from edgekit.core.health import HealthSnapshot
from edgekit.core.power import ENERGY, PowerRecord, RailSeries

NS_PER_S: Final = 1_000_000_000
NS_PER_MS: Final = 1e6
_UW_PER_W: Final = 1e6
_KHZ_PER_MHZ: Final = 1e3
_MOST_W: Final = 1000.0
"""Beyond it an energy counter did not wrap but was reset."""

Points = Iterable[tuple[int, float]]
"""Moments, ascending, and the value from each one on."""


def counters(
    record: CameraRecord, power: PowerRecord | None, health: Sequence[HealthSnapshot]
) -> Iterator[tuple[str, str, Mapping[str, Points]]]:
    """Yield groups of counters: a title, the unit, and the values by name."""
    delivered = record.ended_ns[record.was_delivered]
    yield (
        "frames a second",
        "fps",
        {
            "captured": rate(record.arrived_ns, record.span_ns),
            "delivered": rate(delivered, record.span_ns),
        },
    )
    yield "latency", "ms", {"capture to end": latency(record)}
    depths = {
        f"waiting for {stage.name}": queue_depth(record, index)
        for index, stage in enumerate(record.stages)
    }
    yield "queue depth", "frames", depths
    for title, unit, values in (
        ("power", "W", rails(power)),
        ("temperature", "°C", temperatures(health)),
        ("clock", "MHz", clocks(health)),
    ):
        if values:
            yield title, unit, values


def queue_depth(record: CameraRecord, index: int) -> Points:
    """Return how many frames wait in the queue before a stage."""
    stage = record.stages[index]
    was_queued = stage.queued_ns >= 0
    entered = stage.queued_ns[was_queued]
    left = np.where(stage.start_ns >= 0, stage.start_ns, record.ended_ns)[was_queued]
    moments = np.concatenate([entered, left])
    steps = np.concatenate([np.ones_like(entered), -np.ones_like(left)])
    times, places = np.unique(moments, return_inverse=True)
    # What comes and goes at the same moment is told at once.
    waiting = np.cumsum(np.bincount(places, weights=steps, minlength=len(times)))
    # A stage takes a frame out a moment before it starts on it, and the next one comes in at once.
    depths = np.minimum(waiting, record.queues[index].depth)
    return zip(times.tolist(), depths.tolist(), strict=True)


def latency(record: CameraRecord) -> Points:
    """Return milliseconds from a frame's capture to the end of the line, at that end."""
    delivered = record.was_delivered
    ended, captured = record.ended_ns[delivered], record.captured_ns[delivered]
    order = np.argsort(ended, kind="stable")
    took = (ended - captured)[order] / NS_PER_MS
    return zip(ended[order].tolist(), took.tolist(), strict=True)


def rate(moments: NDArray[np.int64], span_ns: tuple[int, int]) -> Iterator[tuple[int, float]]:
    """Yield how many moments a second there are in each second of a span, at that second's start.

    What is left over after the last whole second counts too, unless it is less than half a one;
    a span of less than a second is taken as a whole.
    """
    start_ns, length_ns = span_ns[0], span_ns[1] - span_ns[0] + 1
    window_ns = min(length_ns, NS_PER_S)
    whole, rest_ns = divmod(length_ns, window_ns)
    windows = whole + (2 * rest_ns >= window_ns)
    found, counts = np.unique((moments - start_ns) // window_ns, return_counts=True)
    past = 0
    for window, count in zip(found.tolist(), counts.tolist(), strict=True):
        if 0 <= window < windows:
            if window > past:  # nothing came for a while
                yield start_ns + past * window_ns, 0.0
            lasts_ns = window_ns if window < whole else rest_ns
            yield start_ns + window * window_ns, count * NS_PER_S / lasts_ns
            past = window + 1
    if past < windows:
        yield start_ns + past * window_ns, 0.0


def rails(power: PowerRecord | None) -> dict[str, Points]:
    """Return watts by the name of the rail, with its sensor's where two are of one name."""
    series = power.series if power else ()
    labels = [each.rail.label or each.rail.sensor for each in series]
    return {
        label if labels.count(label) == 1 else f"{label} ({each.rail.sensor})": watts(each)
        for label, each in zip(labels, series, strict=True)
    }


def watts(series: RailSeries) -> Iterator[tuple[int, float]]:
    """Yield a rail's power: as read, or the mean between two readings of a counter of energy."""
    readings = list(zip(series.times_ns, series.values, strict=True))
    if series.rail.quantity != ENERGY:
        yield from ((at_ns, value / _UW_PER_W) for at_ns, value in readings)
        return
    for (a_ns, a_uj), (b_ns, b_uj) in itertools.pairwise(readings):
        step_uj = b_uj - a_uj + ((series.rail.range_uj or 0) if b_uj < a_uj else 0)
        mean_w = step_uj / _UW_PER_W * NS_PER_S / (b_ns - a_ns) if b_ns > a_ns else -1.0
        if 0 <= mean_w <= _MOST_W:
            yield a_ns, mean_w


def temperatures(health: Sequence[HealthSnapshot]) -> Mapping[str, Points]:
    """Return degrees Celsius by the name of the zone."""
    found: dict[str, list[tuple[int, float]]] = {}
    for state in health:
        for zone in state.zones:
            name = f"{zone.type or 'zone'} ({zone.zone})"
            found.setdefault(name, []).append((state.monotonic_ns, zone.temperature_c))
    return found


def clocks(health: Sequence[HealthSnapshot]) -> Mapping[str, Points]:
    """Return megahertz by the cores that share a clock."""
    found: dict[str, list[tuple[int, float]]] = {}
    for state in health:
        for cluster in state.clusters:
            if cluster.current_khz is not None:
                cores = _cores(cluster.cpus) or f"policy {cluster.policy}"
                point = (state.monotonic_ns, cluster.current_khz / _KHZ_PER_MHZ)
                found.setdefault(cores, []).append(point)
    return found


def _cores(cpus: Sequence[int]) -> str:
    """Write cores as Linux does: ``cpu 0-3,6``."""
    runs: list[list[int]] = []
    for cpu in sorted(cpus):
        if runs and cpu == runs[-1][-1] + 1:
            runs[-1].append(cpu)
        else:
            runs.append([cpu])
    words = (f"{run[0]}-{run[-1]}" if len(run) > 1 else f"{run[0]}" for run in runs)
    return "cpu " + ",".join(words) if runs else ""
