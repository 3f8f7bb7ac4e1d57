"""From raw samples to order statistics."""

import math
from collections.abc import Sequence

from edgekit.core.errors import MeasurementInvalidError
from edgekit.core.measurement import Latency

_NS_PER_MS = 1e6
_NS_PER_S = 1e9
_QUIET_MEAN_OVER_MEDIAN = 1.25


def percentile(ordered: Sequence[float], percent: float) -> float:
    """Return the ``percent`` percentile of samples in ascending order.

    Linear between the two nearest ranks, as ``numpy.percentile`` does by default.

    Raises:
        ValueError: no samples, or ``percent`` outside 0..100.
    """
    if not ordered:
        raise ValueError("no samples")
    if not 0 <= percent <= 100:  # noqa: PLR2004 - the definition of a percentage
        raise ValueError(f"{percent} is not a percentage")
    rank = (len(ordered) - 1) * percent / 100
    low = math.floor(rank)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (rank - low)


def summarise(samples_ns: Sequence[int]) -> Latency:
    """Summarise the durations of single runs, in nanoseconds, as milliseconds.

    Raises:
        MeasurementInvalidError: there are none, or one is not positive: a clock that stands
            still or runs backwards measured nothing.
    """
    if not samples_ns:
        raise MeasurementInvalidError("the run yielded no samples", hint="raise the time limit")
    ordered = sorted(samples_ns)
    if ordered[0] <= 0:
        raise MeasurementInvalidError(
            f"a run took {ordered[0]} ns: the device's clock did not move forward",
            hint="check the device's clock source",
        )
    return Latency(
        min=ordered[0] / _NS_PER_MS,
        mean=math.fsum(ordered) / len(ordered) / _NS_PER_MS,
        p50=percentile(ordered, 50) / _NS_PER_MS,
        p90=percentile(ordered, 90) / _NS_PER_MS,
        p99=percentile(ordered, 99) / _NS_PER_MS,
        runs=len(ordered),
    )


def disturbance(latency: Latency) -> str | None:
    """Tell in words that something else ran on the device meanwhile; ``None`` if not.

    A quiet device's mean lies close above its median; a few long waits pull it away.
    """
    if latency.mean <= latency.p50 * _QUIET_MEAN_OVER_MEDIAN:
        return None
    return (
        f"disturbed: mean {latency.mean:.2f} ms, median {latency.p50:.2f} ms; "
        "measure again on a quiet device"
    )


def frames_per_second(samples_ns: Sequence[int]) -> float:
    """Return runs per second: the number of runs over the time they took together."""
    return len(samples_ns) * _NS_PER_S / math.fsum(samples_ns)
