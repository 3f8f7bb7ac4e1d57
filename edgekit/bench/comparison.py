"""Why two runs differ: what is not the same in them, and how much that can account for.

A factor is given where one follows from what was read: the clock of the cores that worked, and the
time that others took. Whatever else differs is named with the most that it can do, if anything
bounds that, or without a number.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Final

from edgekit.bench.soak import fastest_mhz
from edgekit.core.comparison import Cause, CauseKind, ComparedRun, Comparison
from edgekit.core.health import HealthSnapshot

SAME: Final = 0.03
"""Ratios this near to 1 are the same. Our choice: what edgekit promises against other tools."""

WARMER_C: Final = 5.0
"""Two devices this far apart began at different temperatures. Our choice: a governor's steps and
leakage hardly show below it."""

_SLOWING: Final = frozenset({"throttled", "clocks-dropped", "hot"})
_KHZ_PER_MHZ: Final = 1e3


def compare(first: ComparedRun, second: ComparedRun) -> Comparison:
    """Hold two runs against each other."""
    ratio = second.p50_ms / first.p50_ms
    causes = tuple(_causes(first, second))
    known = math.prod(cause.factor for cause in causes if cause.factor is not None)
    left = ratio / known
    return Comparison(
        first=first,
        second=second,
        ratio=ratio,
        differs=_differs(first, second),
        causes=causes,
        left=left,
        explained=_is_explained(left, causes),
        unknown=tuple(_unknown(first, second)),
    )


def _differs(first: ComparedRun, second: ComparedRun) -> bool:
    if first.interval_ms is None or second.interval_ms is None:
        return abs(math.log(second.p50_ms / first.p50_ms)) > math.log(1 + SAME)
    low, high = sorted((first.interval_ms, second.interval_ms))
    return low[1] < high[0]


def _is_explained(left: float, causes: Sequence[Cause]) -> bool:
    """Tell whether what is left is noise, or what a cause without a factor can do."""
    if abs(math.log(left)) <= math.log(1 + SAME):
        return True
    bounds = [cause.at_most for cause in causes if cause.at_most is not None]
    slower = math.prod(bound for bound in bounds if bound > 1)
    quicker = math.prod(bound for bound in bounds if bound < 1)
    return quicker / (1 + SAME) <= left <= slower * (1 + SAME)


def _causes(first: ComparedRun, second: ComparedRun) -> Iterator[Cause]:
    yield from _what_ran(first, second)
    yield from _where_it_ran(first, second)
    yield from _slowed(first, second)
    yield from _load(first, second)
    for kind in ("under-voltage", "swapping"):
        yield from _only_in_one(kind, first, second)
    yield from _heat(first, second)


def _what_ran(first: ComparedRun, second: ComparedRun) -> Iterator[Cause]:
    other_model = first.model != second.model
    if other_model:
        yield Cause("model", f"model: {first.model} against {second.model}")
    if first.inputs and second.inputs and first.inputs != second.inputs:
        times = _elements(second) / _elements(first)
        text = f"input: {_shapes(first)} against {_shapes(second)}, {times:.3g} times the values"
        yield Cause("input", text, at_most=times)
    elif not other_model and _both_differ(first.model_sha256, second.model_sha256):
        text = f"model: {_short(first.model_sha256)} against {_short(second.model_sha256)}"
        yield Cause("model", text)
    for kind in ("engine", "precision"):
        was, now = getattr(first, kind), getattr(second, kind)
        if was != now:
            yield Cause(kind, f"{kind}: {was} against {now}")
    if first.rewrites != second.rewrites:
        names = [", ".join(run.rewrites) or "none" for run in (first, second)]
        yield Cause("rewrites", f"rewrites of the graph: {names[0]} against {names[1]}")
    yield from _knobs(first.knobs, second.knobs)


def _knobs(was: Mapping[str, str | int], now: Mapping[str, str | int]) -> Iterator[Cause]:
    for name in sorted({*was, *now}):
        old, new = was.get(name), now.get(name)
        if old == new:
            continue
        text = f"{name}: {old} against {new}"
        if name == "threads" and isinstance(old, int) and isinstance(new, int):
            # Work shared among n threads is done n times as fast at most.
            yield Cause("threads", text, at_most=old / new)
        else:
            yield Cause("knobs", text)


def _where_it_ran(first: ComparedRun, second: ComparedRun) -> Iterator[Cause]:
    names = [str(run.device.get("model") or run.device.get("hostname")) for run in (first, second)]
    hosts = [run.device.get("hostname") for run in (first, second)]
    if names[0] != names[1]:
        yield Cause("device", f"device: {names[0]} against {names[1]}")
    elif hosts[0] != hosts[1]:
        yield Cause("device", f"device: another unit of {names[0]} ({hosts[0]}, {hosts[1]})")
    kernels = [run.device.get("kernel") for run in (first, second)]
    if kernels[0] != kernels[1]:
        yield Cause("kernel", f"kernel: {kernels[0]} against {kernels[1]}")
    if first.engine != second.engine:
        return
    changed = [
        f"{name} {first.versions.get(name, 'none')} against {second.versions.get(name, 'none')}"
        for name in sorted({*first.versions, *second.versions})
        if first.versions.get(name) != second.versions.get(name)
    ]
    if changed:
        yield Cause("versions", f"software: {', '.join(changed)}")


def _slowed(first: ComparedRun, second: ComparedRun) -> Iterator[Cause]:
    """Name the clocks, and throttling as what moved them where it was seen in one run alone."""
    signs = [[text for kind, text in run.reasons if kind in _SLOWING] for run in (first, second)]
    clocks = [mean_clock_mhz(run.health) for run in (first, second)]
    factor = None
    words = ""
    if clocks[0] is not None and clocks[1] is not None:
        found = clocks[0] / clocks[1]
        if abs(math.log(found)) > math.log(1 + SAME):
            factor, words = found, f"clocks: {clocks[0]:.0f} against {clocks[1]:.0f} MHz on average"
    governors = [_governors(run.health) for run in (first, second)]
    if words and all(governors) and governors[0] != governors[1]:
        words += f" (governor {governors[0]} against {governors[1]})"
    if bool(signs[0]) != bool(signs[1]):
        which, texts = ("first", signs[0]) if signs[0] else ("second", signs[1])
        text = f"throttling in the {which} run alone: {'; '.join(texts)}"
        yield Cause("throttling", f"{text}; {words}" if words else text, factor=factor)
    elif factor is not None:
        yield Cause("clocks", words, factor=factor)


def mean_clock_mhz(health: Sequence[HealthSnapshot]) -> float | None:
    """Return the mean clock of the fastest cluster while a run went on; ``None``: not read."""
    during = health[1:-1] or health
    clocks = [clock for one in during if (clock := fastest_mhz(one)) is not None]
    return fmean(clocks) if clocks else None


def _governors(health: Sequence[HealthSnapshot]) -> str:
    names = {each.governor for one in health[:1] for each in one.clusters if each.governor}
    return ", ".join(sorted(names))


def _load(first: ComparedRun, second: ComparedRun) -> Iterator[Cause]:
    shares = [others_share(run.health) for run in (first, second)]
    if shares[0] is None or shares[1] is None or abs(shares[0] - shares[1]) <= SAME:
        return
    text = f"load of others: {shares[0]:.0%} against {shares[1]:.0%} of all cores"
    # What they took was taken from the run at worst; cores that stood idle lose nothing.
    yield Cause("load", text, at_most=(1 - shares[0]) / max(1 - shares[1], SAME))


def others_share(health: Sequence[HealthSnapshot]) -> float | None:
    """Return what others took of all cores' time; ``None``: not read."""
    if len(health) < 2:  # noqa: PLR2004 - before and after
        return None
    before, after = health[0].load, health[-1].load
    spent = []
    for name in ("busy_s", "idle_s", "own_s"):
        start, end = getattr(before, name), getattr(after, name)
        if start is None or end is None:
            return None
        spent.append(end - start)
    busy_s, idle_s, own_s = spent
    whole_s = busy_s + idle_s
    return max(busy_s - own_s, 0.0) / whole_s if whole_s > 0 else None


def _only_in_one(kind: CauseKind, first: ComparedRun, second: ComparedRun) -> Iterator[Cause]:
    texts = [[text for each, text in run.reasons if each == kind] for run in (first, second)]
    if bool(texts[0]) != bool(texts[1]):
        which, found = ("first", texts[0]) if texts[0] else ("second", texts[1])
        yield Cause(kind, f"{kind} in the {which} run alone: {'; '.join(found)}")


def _heat(first: ComparedRun, second: ComparedRun) -> Iterator[Cause]:
    starts = [
        max((zone.temperature_c for one in run.health[:1] for zone in one.zones), default=None)
        for run in (first, second)
    ]
    if starts[0] is not None and starts[1] is not None and abs(starts[0] - starts[1]) > WARMER_C:
        text = f"heat: began at {starts[0]:.0f} against {starts[1]:.0f} degrees C"
        yield Cause("heat", text, factor=1.0)  # what heat does, it does by the clocks


def _unknown(first: ComparedRun, second: ComparedRun) -> Iterator[str]:
    for name, missing in (
        ("clocks", [mean_clock_mhz(run.health) is None for run in (first, second)]),
        ("load of others", [others_share(run.health) is None for run in (first, second)]),
        ("temperature", [not any(one.zones for one in run.health) for run in (first, second)]),
        ("model file", [run.model_sha256 is None for run in (first, second)]),
        ("input size", [not run.inputs for run in (first, second)]),
    ):
        if any(missing):
            which = "either run" if all(missing) else f"the {'first' if missing[0] else 'second'}"
            yield f"{name}: not told by {which}"


def _elements(run: ComparedRun) -> int:
    return sum(math.prod(shape) for _, shape in run.inputs)


def _shapes(run: ComparedRun) -> str:
    return ", ".join("x".join(map(str, shape)) for _, shape in run.inputs)


def _both_differ(one: str | None, other: str | None) -> bool:
    return one is not None and other is not None and one != other


def _short(sha256: str | None) -> str:
    return (sha256 or "")[:12]
