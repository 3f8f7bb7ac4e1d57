"""Which cores a stage ran on, and where it ran better, in words."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import numpy as np

from edgekit.camera.seen import Advice, Seen, ms
from edgekit.camera.what_if import CAMERA
from edgekit.camera.work import Floats, Work

_INFERENCE: Final = "inference"
_NS_PER_MS: Final = 1e6
_ENOUGH: Final = 20  # works, below which a mean says little
_SLOWER: Final = 1.25  # times as long: another kind of core, not chance
_DISTURBED: Final = 1.15  # times as long: the cost of sharing, not chance
_SHARED: Final = 0.1  # of a work's time, from which on it had to share its core
_OTHERS: Final = 0.05  # of the time, from which on a core is in use by other stages
_FULL: Final = 0.9  # of all cores, from which on no place is a better one
_COMPUTING: Final = ("decode", "preprocess", "postprocess")  # they wait for nothing but a core
_FELT: Final = 0.05  # of the latency, below which it is not worth a word
_IDLE: Final = 0.25  # of a stage's time: more than an interrupt now and then


class _Core(NamedTuple):
    number: int
    works: int
    mean_ns: float


def slow_cores(seen: Seen) -> Advice | None:
    """Say that the stage that limits the rate ran on slow cores, too."""
    name = seen.figures.bottleneck
    if name == CAMERA:
        return None
    work = Work.of(seen.record.stage(name)).since(seen.window.from_ns)
    fast, slow = _kinds(work)
    if not slow:
        return None
    fast_ns, slow_ns = _mean_ns(fast), _mean_ns(slow)
    each_ns = float(work.wall_ns.mean())
    return Advice(
        1 - fast_ns / each_ns,
        f"{name} takes {ms(fast_ns / _NS_PER_MS)} on {_cores(core.number for core in fast)} and "
        f"{ms(slow_ns / _NS_PER_MS)} on {_cores(core.number for core in slow)}: place it on "
        f"{_numbers(core.number for core in fast)}, saves up to "
        f"{ms((each_ns - fast_ns) / _NS_PER_MS)} each time",
    )


def shared_cores(seen: Seen) -> Advice | None:
    """Say that other stages slow the inference down by running on its cores."""
    record, figures = seen.record, seen.figures
    names = [stage.name for stage in record.stages]
    if _INFERENCE not in names or (figures.cpu_cores or 0.0) >= _FULL * figures.cores:
        return None
    # What other programs, or other kinds of cores, do to it would look the same.
    if slow_cores(seen) or other_programs(seen):
        return None
    work = Work.of(record.stage(_INFERENCE)).since(seen.window.from_ns)
    others = {name: Work.of(record.stage(name)) for name in names if name != _INFERENCE}
    shared = {name: _shared(work, other) for name, other in others.items()}
    met = np.sum(list(shared.values()), axis=0) >= _SHARED * np.maximum(work.wall_ns, 1)
    if min(met.sum(), (~met).sum()) < _ENOUGH:
        return None
    met_ns, alone_ns = float(work.wall_ns[met].mean()), float(work.wall_ns[~met].mean())
    if met_ns < _DISTURBED * alone_ns:
        return None
    with_whom = [name for name, times in shared.items() if times.sum() >= _SHARED * _most(shared)]
    saved_ns = float(work.wall_ns.mean()) - alone_ns
    latency_ms = figures.latency.mean_ms if figures.latency else 0.0
    if figures.bottleneck != _INFERENCE and saved_ns / _NS_PER_MS < _FELT * latency_ms:
        return None
    return Advice(
        saved_ns / float(work.wall_ns.mean()),
        f"inference shares its cores with {' and '.join(with_whom)}: {ms(met_ns / _NS_PER_MS)} "
        f"where they meet, {ms(alone_ns / _NS_PER_MS)} where not: place it on "
        f"{_free_cores(seen, others.values())}, saves up to {ms(saved_ns / _NS_PER_MS)} each time",
    )


def other_programs(seen: Seen) -> Advice | None:
    """Say that something else on the device has the cores that a stage waits for."""
    used, cores = seen.figures.cpu_cores or 0.0, seen.figures.cores
    stages = [stage for stage in seen.stages if stage.name in _COMPUTING and stage.held_ms]
    stage = max(stages, key=lambda stage: stage.busy_share or 0.0, default=None)
    latency = seen.figures.latency
    if stage is None or not stage.held_ms or latency is None or used >= _FULL * cores:
        return None
    idle_share = seen.limits.idle_share[stage.name]
    waits_ms = idle_share * stage.held_ms
    if idle_share < _IDLE or stage.frames < _ENOUGH or waits_ms < _FELT * latency.mean_ms:
        return None
    return Advice(
        idle_share if stage.name == seen.figures.bottleneck else waits_ms / latency.mean_ms,
        f"{stage.name} waits for a core for {ms(waits_ms)} of its {ms(stage.held_ms)} a frame, and "
        f"not for other stages (the line takes {used:.2f} of {cores} cores): stop what else runs "
        f"on the device, saves up to {ms(waits_ms)} a frame",
    )


def _kinds(work: Work) -> tuple[list[_Core], list[_Core]]:
    """Return the cores on which a stage was quick, and those on which it was not."""
    cores = [
        _Core(int(core), int(on.sum()), float(work.wall_ns[on].mean()))
        for core in np.unique(work.core[work.core >= 0])
        for on in [work.core == core]
    ]
    cores = [core for core in cores if core.works >= _ENOUGH]
    least_ns = min((core.mean_ns for core in cores), default=0.0)
    fast = [core for core in cores if core.mean_ns < _SLOWER * least_ns]
    return fast, [core for core in cores if core not in fast and least_ns]


def _mean_ns(cores: Sequence[_Core]) -> float:
    return sum(core.works * core.mean_ns for core in cores) / sum(core.works for core in cores)


def _shared(work: Work, other: Work) -> Floats:
    """Return for how long another stage worked during each work, and ended on its core."""
    found = np.zeros(len(work))
    for core in np.unique(work.core[work.core >= 0]):
        on = work.core == core
        found[on] = other.where(other.core == core).within(work.where(on))
    return found


def _most(shared: "dict[str, Floats]") -> float:
    return float(max(times.sum() for times in shared.values()))


def _free_cores(seen: Seen, others: Iterable[Work]) -> str:
    """Return the cores that other stages leave alone."""
    window = seen.window
    used = np.zeros(seen.figures.cores)
    for other in others:
        for core in range(len(used)):
            on = other.where(other.core == core)
            used[core] += on.busy_ns(window.from_ns, window.to_ns)
    free = np.flatnonzero(used < _OTHERS * (window.to_ns - window.from_ns))
    return _numbers(free.tolist()) if len(free) else "cores of its own"


def _cores(numbers: Iterable[int]) -> str:
    told = _numbers(numbers)
    return f"core {told}" if told.isdigit() else f"cores {told}"


def _numbers(numbers: Iterable[int]) -> str:
    """Write cores as Linux does: ``0-3,6``."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ",".join(f"{low}-{high}" if high > low else f"{low}" for low, high in spans)
