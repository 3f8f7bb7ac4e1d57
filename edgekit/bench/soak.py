"""A long run in windows: how speed, heat and clocks went."""

import itertools
from collections.abc import Sequence
from typing import Final

from edgekit.bench.clock_signs import clock_drops
from edgekit.bench.heat_signs import hot_zones, throttling, under_voltage
from edgekit.core.bench import Soak, SoakWindow
from edgekit.core.errors import MeasurementInvalidError
from edgekit.core.health import HealthSnapshot

SLOWER: Final = 0.05
"""A window this much slower than the beginning counts as slowed. Our choice: the width of the
median that makes a run invalid."""

LEAST_S: Final = 5.0
"""A soak that is shorter has no windows to speak of. Our choice."""

_WINDOWS: Final = 120  # as many points as a plot can show
_LEAST_WINDOW_S: Final = 1.0
_INITIAL: Final = 0.1
_SUSTAINED: Final = 0.25
_LEAST_WINDOWS: Final = 4
_NS_PER_S: Final = 1e9
_KHZ_PER_MHZ: Final = 1e3


def soak_of(
    samples_ns: Sequence[int], span_ns: tuple[int, int], health: Sequence[HealthSnapshot]
) -> Soak:
    """Cut a run into windows.

    Args:
        samples_ns: each inference's duration, in order.
        span_ns: when the first began and the last ended, by the clock of ``health``.
        health: the device's state before, during and after it.

    Raises:
        MeasurementInvalidError: it was too short to have windows.
    """
    start_ns, end_ns = span_ns
    seconds = (end_ns - start_ns) / _NS_PER_S
    length_s = max(seconds / _WINDOWS, _LEAST_WINDOW_S)
    # Between two inferences nothing but progress is told: what they leave is shared out evenly.
    stretch = (end_ns - start_ns) / sum(samples_ns)
    ends_s = [ns * stretch / _NS_PER_S for ns in itertools.accumulate(samples_ns)]
    edges = _edges(ends_s, length_s)
    if len(edges) - 1 < _LEAST_WINDOWS:
        raise MeasurementInvalidError(
            f"a run of {seconds:.1f} s with {len(samples_ns)} inferences has no course",
            hint="soak longer: --soak 10m",
        )
    windows = tuple(
        _window(ends_s, first, last, start_ns, health) for first, last in itertools.pairwise(edges)
    )
    initial = _rate(ends_s, 0, max(int(len(samples_ns) * _INITIAL), 1))
    slow = [window.fps < initial * (1 - SLOWER) for window in windows]
    held = len(slow) - len(list(itertools.takewhile(bool, reversed(slow))))
    after_s, sign = _first_sign(health, start_ns)
    return Soak(
        windows=windows,
        initial_fps=initial,
        sustained_fps=_rate(ends_s, int(len(ends_s) * (1 - _SUSTAINED)), len(ends_s)),
        throttled_after_s=after_s,
        sign=sign,
        slowed_after_s=windows[held].start_s if held < len(windows) else None,
    )


def _edges(ends_s: Sequence[float], length_s: float) -> list[int]:
    """Return after how many inferences each window ends, those with none left out."""
    edges, due = [0], length_s
    for index, end_s in enumerate(ends_s):
        if end_s >= due:
            edges.append(index + 1)
            due = end_s + length_s
    return edges


def _rate(ends_s: Sequence[float], first: int, last: int) -> float:
    return (last - first) / (ends_s[last - 1] - (ends_s[first - 1] if first else 0.0))


def _window(
    ends_s: Sequence[float],
    first: int,
    last: int,
    start_ns: int,
    health: Sequence[HealthSnapshot],
) -> SoakWindow:
    begin_s, end_s = ends_s[first - 1] if first else 0.0, ends_s[last - 1]
    within = [
        one for one in health if begin_s <= (one.monotonic_ns - start_ns) / _NS_PER_S <= end_s
    ]
    heat = [zone.temperature_c for one in within for zone in one.zones]
    clocks = [clock for one in within if (clock := fastest_mhz(one)) is not None]
    return SoakWindow(
        begin_s,
        end_s,
        _rate(ends_s, first, last),
        max(heat, default=None),
        min(clocks, default=None),
    )


def fastest_mhz(snapshot: HealthSnapshot) -> float | None:
    """Return the clock of the cluster that could be fastest; ``None`` where none is told."""
    known = [each for each in snapshot.clusters if each.current_khz is not None]
    if not known:
        return None
    top = max(known, key=lambda each: (each.hardware_max_khz or 0, each.current_khz or 0))
    return (top.current_khz or 0) / _KHZ_PER_MHZ


def _first_sign(health: Sequence[HealthSnapshot], start_ns: int) -> tuple[float | None, str]:
    """Return when the device was first seen to be slowed, and by what."""
    if len(health) < 2:  # noqa: PLR2004 - before and after
        return None, ""
    before = health[0]
    for earlier, now in itertools.pairwise(health):
        seen = (before, earlier, now) if earlier is not before else (before, now)
        for look in (throttling, under_voltage, clock_drops, hot_zones):
            for sign in look(seen):
                return max((now.monotonic_ns - start_ns) / _NS_PER_S, 0.0), sign.text
    return None, ""
