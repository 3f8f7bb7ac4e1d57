"""Whether a run may be believed: what the device's state before, during and after it says."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from statistics import median
from typing import Final

from edgekit.bench.clock_signs import clock_drops
from edgekit.bench.heat_signs import Sign, hot_zones, throttling, under_voltage
from edgekit.bench.median_interval import LEAST_SAMPLES, median_interval
from edgekit.core.health import HealthSnapshot
from edgekit.core.validity import Reason, ReasonKind, Validity

MEDIAN_WIDTH: Final = 0.05
"""Widest interval of the median, as a share of it. Our choice: a result within 3 % of another
tool's is what edgekit promises, and half of this is less than that."""

OTHERS_SHARE: Final = 0.05
"""Most of all cores' time that others may take. Our choice: above what an idle system's services
take, and no more than the width of the median that is allowed."""

SWAPPED_BYTES: Final = 4 << 20
"""Most that may be swapped during a run. Our choice: a service that wakes reads some pages back
and disturbs nobody; a model that does not fit moves this much in a fraction of a second."""

LEAST_LOAD_S: Final = 1.0
"""Shorter spans are not judged: /proc/stat counts in steps of 10 ms for each core."""

_NS_PER_S: Final = 1e9
_NS_PER_MS: Final = 1e6
_MIB: Final = 1 << 20


def judge(
    before: HealthSnapshot,
    during: Sequence[HealthSnapshot],
    after: HealthSnapshot,
    samples_ns: Sequence[int],
    *,
    median_width: float = MEDIAN_WIDTH,
) -> Validity:
    """Judge a run.

    Args:
        before: the device's state when the run was about to begin.
        during: what was seen meanwhile, in order; may be empty.
        after: the state when it had just ended.
        samples_ns: durations of single runs, in order.
        median_width: widest interval of the median, as a share of the median.
    """
    seen = (before, *during, after)
    reasons = [Reason(kind, sign.text, sign.cools) for kind, look in _SIGNS for sign in look(seen)]
    unknown: list[str] = []
    for judged in (_swapping(before, after), _disturbed(before, after)):
        _file(judged, reasons, unknown)
    interval = median_interval(samples_ns)
    if interval is None:
        unknown.append(f"noise: {len(samples_ns)} samples, {LEAST_SAMPLES} at least")
    else:
        reasons.extend(_noisy(samples_ns, interval, median_width))
    unknown.extend(_not_seen(seen))
    return Validity(
        tuple(reasons),
        tuple(unknown),
        interval and (interval[0] / _NS_PER_MS, interval[1] / _NS_PER_MS),
    )


_SIGNS: Final[
    tuple[tuple[ReasonKind, Callable[[Sequence[HealthSnapshot]], Iterable[Sign]]], ...]
] = (
    ("throttled", throttling),
    ("under-voltage", under_voltage),
    ("clocks-dropped", clock_drops),
    ("hot", hot_zones),
)


def _file(judged: "Reason | str | None", reasons: list[Reason], unknown: list[str]) -> None:
    if isinstance(judged, Reason):
        reasons.append(judged)
    elif judged is not None:
        unknown.append(judged)


def _swapping(before: HealthSnapshot, after: HealthSnapshot) -> Reason | str | None:
    moved = 0
    for name in ("swapped_in_bytes", "swapped_out_bytes"):
        start, end = getattr(before.memory, name), getattr(after.memory, name)
        if start is None or end is None:
            return "swapping: /proc/vmstat was not read"
        moved += max(end - start, 0)
    if moved <= SWAPPED_BYTES:
        return None
    free = after.memory.available_bytes
    left = "" if free is None else f"; {free / _MIB:.0f} MiB of memory were free after it"
    text = f"{moved / _MIB:.1f} MiB were swapped during the run{left}"
    return Reason("swapping", text)


def _disturbed(before: HealthSnapshot, after: HealthSnapshot) -> Reason | str | None:
    elapsed_s = (after.monotonic_ns - before.monotonic_ns) / _NS_PER_S
    if elapsed_s < LEAST_LOAD_S:
        return f"load of others: {elapsed_s:.2f} s are too short a span to tell"
    spent = {}
    for name in ("busy_s", "idle_s", "own_s"):
        start, end = getattr(before.load, name), getattr(after.load, name)
        if start is None or end is None:
            return "load of others: /proc/stat was not read"
        spent[name] = max(end - start, 0.0)
    whole_s = spent["busy_s"] + spent["idle_s"]
    others_s = spent["busy_s"] - spent["own_s"]
    if whole_s <= 0:
        return "load of others: the counters of /proc/stat stood still"
    if others_s <= OTHERS_SHARE * whole_s:
        return None
    text = (
        f"other programs took {others_s / elapsed_s:.2f} of {whole_s / elapsed_s:.1f} cores "
        f"for {elapsed_s:.1f} s: {100 * others_s / whole_s:.1f} %, "
        f"{100 * OTHERS_SHARE:.0f} % at most"
    )
    return Reason("disturbed", text)


def _noisy(
    samples_ns: Sequence[int], interval: tuple[float, float], widest: float
) -> Iterable[Reason]:
    low, high = interval
    middle = median(samples_ns)
    if high - low > widest * middle:
        yield Reason(
            "noisy",
            f"the median of {middle / _NS_PER_MS:.3f} ms lies between {low / _NS_PER_MS:.3f} and "
            f"{high / _NS_PER_MS:.3f} ms (95 %): {100 * (high - low) / middle:.1f} % wide, "
            f"{100 * widest:g} % at most",
        )


def _not_seen(seen: Sequence[HealthSnapshot]) -> Iterable[str]:
    """Tell what was never there, and what went away between the first and the last look."""
    names = [_sensors(snapshot) for snapshot in seen]
    ever = sorted(set().union(*names))
    for what in ("clocks", "temperature", "throttling"):
        if not any(name.startswith(what) for name in ever):
            yield f"{what}: this device tells nothing of it"
    for name in ever:
        missing = sum(name not in found for found in names)
        if missing:
            yield f"{name}: no value in {missing} of {len(names)} readings"


def _sensors(snapshot: HealthSnapshot) -> set[str]:
    signs = asdict(snapshot.throttle)
    return {
        *(f"clocks of policy {cluster.policy}" for cluster in snapshot.clusters),
        *(f"temperature of {zone.type} (zone {zone.zone})" for zone in snapshot.zones),
        *(f"throttling by {one.type} (cooling device {one.device})" for one in snapshot.cooling),
        *(f"throttling, {name}" for name, value in signs.items() if value is not None),
    }
