"""The search for settings: rewrites first, then knobs, by successive halving on the device."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from edgekit.app.arena import Arena
from edgekit.app.lanes import Lane
from edgekit.core.candidate import Candidate
from edgekit.core.events import StepFinished, StepProgress, StepStarted
from edgekit.core.knobs import AFFINITY, THREADS, Knob, turned
from edgekit.core.measurement import BenchPlan
from edgekit.core.target import DeviceFacts, Target
from edgekit.tune.halving import successive_halving

# Seconds that one process measures on each rung; its start costs about as much again.
_RUNGS: Final = (0.2, 0.5)
# A lane this much slower than the fastest one cannot be saved by a knob.
_CONTENDER: Final = 2.5
# A lane this much slower than the fastest before it leaves the race: code that nobody tuned would
# take the other lanes' time many times over to be judged, and could not win.
_HOPELESS: Final = 10.0
# A setting must be this much better than the default to be worth being another one.
_WORTH: Final = 0.98
_STEP: Final = "search"


@dataclass(frozen=True)
class SearchSpace:
    """What may be varied.

    Attributes:
        rewrites: lossless rewrites that apply to the model.
        threads: numbers of threads to try, the default first.
    """

    rewrites: tuple[str, ...]
    threads: tuple[int, ...]


def threads_worth_trying(target: Target, facts: DeviceFacts) -> tuple[int, ...]:
    """Return numbers of threads, the default first.

    The default is the number of cores of the fastest cluster, as far as this user may use them:
    on big.LITTLE processors the slow cores rarely help and sometimes hurt.
    """
    fastest = max(target.clusters, key=lambda cluster: cluster.max_mhz)
    default = max(1, min(fastest.count, facts.cpu_usable))
    return tuple(dict.fromkeys((default, facts.cpu_usable, 1)))


def affinity_knob(target: Target, facts: DeviceFacts) -> Knob | None:
    """Return a knob that binds the runner to one cluster; ``None`` where there is one only.

    Clusters are told apart by the part numbers that the device's cores report, in core order.
    """
    parts = facts.cpu_parts
    if len(target.clusters) < 2 or len(set(parts)) < 2:  # noqa: PLR2004 - one cluster is no choice
        return None
    fastest = max(target.clusters, key=lambda cluster: cluster.max_mhz).midr_part
    cores = [number for number, part in enumerate(parts) if part == fastest]
    if not cores:
        return None
    return Knob(AFFINITY, ("all", ",".join(map(str, cores))))


def search(arena: Arena, lanes: Sequence[Lane], space: SearchSpace) -> None:
    """Set each lane to the best rewrites and knobs that a few short runs find.

    Every lane is measured with and without each rewrite; those within reach of the fastest also
    under other knobs. All lanes of a rung take their turns one after the other. A lane that is
    far out of reach leaves the race, with what was measured of it.
    """
    arena.emit(StepStarted(_STEP, "Search for the best settings"))
    progress = _Progress(arena)
    costs: dict[int, float] = {}
    for lane in lanes:
        if lane.running and not _leaves(lane, min(costs.values(), default=_FAR), space, progress):
            costs[id(lane)] = _best_rewrite(lane, space, progress)
    fastest = min(costs.values(), default=0.0)
    contenders = [lane for lane in lanes if costs.get(id(lane), _FAR) <= fastest * _CONTENDER]
    for lane in contenders:
        _best_knobs(lane, space, progress)
    arena.emit(StepFinished(_STEP, f"{progress.done} short runs"))


_FAR: Final = float("inf")


class _Progress:
    """Counts short runs."""

    def __init__(self, arena: Arena) -> None:
        self._arena = arena
        self._ahead: dict[tuple[Candidate, float], float] = {}
        self.done = 0

    def look_ahead(self, lane: Lane, candidate: Candidate, seconds: float) -> float:
        """Measure settings briefly; who asks for the same next is told the same."""
        found = self._ahead[candidate, seconds] = self.cost(lane, candidate, seconds)
        return found

    def cost(self, lane: Lane, candidate: Candidate, seconds: float) -> float:
        """Measure settings briefly."""
        known = self._ahead.pop((candidate, seconds), None)
        if known is not None:
            return known
        self.done += 1
        self._arena.emit(StepProgress(_STEP, self.done, None, str(candidate)))
        return lane.cost(candidate, _brief(seconds))


def _brief(seconds: float) -> BenchPlan:
    return BenchPlan(
        warmup_runs=2,
        warmup_seconds=seconds / 4,
        min_runs=5,
        min_seconds=seconds,
        max_seconds=20 * seconds,
        end_to_end=False,
    )


def _leaves(lane: Lane, fastest_ms: float, space: SearchSpace, progress: _Progress) -> bool:
    """Let a lane go that is too slow to go on; tell whether it was. What broke may say so later."""
    limit_ms = fastest_ms * _HOPELESS
    cost_ms = progress.look_ahead(lane, lane.candidate, _RUNGS[0])
    if not limit_ms < cost_ms < _FAR:
        return False
    # Threads that wait for one another crawl where something else keeps a core busy.
    knobs = turned(lane.candidate.knobs, THREADS, min(space.threads))
    fewest = replace(lane.candidate, knobs=knobs)
    if fewest != lane.candidate:
        fewest_ms = progress.look_ahead(lane, fewest, _RUNGS[0])
        if fewest_ms < cost_ms:
            lane.set(fewest)
            cost_ms = fewest_ms
        if cost_ms <= limit_ms:
            return False
    lane.leave(
        f"{cost_ms / fastest_ms:.0f} times slower than the fastest in a short run, so not judged; "
        f"alone it would be: --engine {lane.candidate.engine}"
    )
    return True


def _best_rewrite(lane: Lane, space: SearchSpace, progress: _Progress) -> float:
    plain = lane.candidate
    candidates = [plain, *(replace(plain, rewrites=(name,)) for name in space.rewrites)]
    found = successive_halving(
        candidates,
        lambda candidate, seconds: progress.cost(lane, candidate, seconds),
        budgets=_RUNGS,
    )
    costs = {tried.setting: tried.cost for tried in found}
    lane.set(worthwhile(plain, candidates, costs))
    lane.brief_ms = costs[lane.candidate]
    return lane.brief_ms


def _best_knobs(lane: Lane, space: SearchSpace, progress: _Progress) -> None:
    """Turn one knob at a time, then all those that helped at once."""
    base = lane.candidate
    candidates = list(neighbours(base, _knobs(lane, space)))
    if not candidates:
        return
    found = successive_halving(
        [base, *candidates],
        lambda candidate, seconds: progress.cost(lane, candidate, seconds),
        budgets=_RUNGS,
        keep=0.4,
    )
    costs = {tried.setting: tried.cost for tried in found}
    longest = [tried.setting for tried in found if tried.budget == _RUNGS[-1]]
    better = [setting for setting in longest if costs[setting] < costs[base] * _WORTH]
    joined = together(base, better)
    if joined is not None:
        costs[joined] = progress.cost(lane, joined, _RUNGS[-1])
        better.append(joined)
    lane.set(worthwhile(base, better, costs))


def worthwhile(
    base: Candidate, others: Sequence[Candidate], costs: Mapping[Candidate, float]
) -> Candidate:
    """Return the cheapest of the others if it is clearly cheaper than the base, else the base."""
    best = min(others, key=costs.__getitem__, default=base)
    return best if costs[best] < costs[base] * _WORTH else base


def _knobs(lane: Lane, space: SearchSpace) -> Iterable[Knob]:
    arena = lane.arena
    yield Knob(THREADS, space.threads)
    affinity = affinity_knob(arena.target, arena.device.facts)
    if affinity is not None:
        yield affinity
    yield from lane.plan.engine.knobs(lane.candidate.precision, arena.target, arena.device.facts)


def neighbours(base: Candidate, knobs: Iterable[Knob]) -> Iterable[Candidate]:
    """Give the base with one knob turned, for every knob and every value but its default."""
    for knob in knobs:
        # The first value is what the base does already.
        for value in knob.values[1:]:
            yield replace(base, knobs=turned(base.knobs, knob.name, value))


def together(base: Candidate, better: Sequence[Candidate]) -> Candidate | None:
    """Return the base with the best value of every knob that helped alone."""
    knobs = base.knobs
    changed: set[str] = set()
    for candidate in better:
        for name, value in set(candidate.knobs) - set(base.knobs):
            if name not in changed:
                changed.add(name)
                knobs = turned(knobs, name, value)
    return replace(base, knobs=knobs) if len(changed) > 1 else None
