"""``race``: every engine at every precision on the device itself; the best, and why."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass

from edgekit.app.arena import Arena, part_of
from edgekit.app.choice import choose, pareto, undecided_leaders
from edgekit.app.devices import Located
from edgekit.app.lanes import MEASURE_STEP, Lane
from edgekit.app.models import resolve_recipe
from edgekit.app.options import DeployOptions
from edgekit.app.search import SearchSpace, search, threads_worth_trying
from edgekit.app.settle import mend_refused, settle_int8
from edgekit.app.start import finished, line_up
from edgekit.bench.latency import disturbance
from edgekit.bench.rounds import turns
from edgekit.catalog.settings import settings
from edgekit.core.candidate import Candidate, CandidateResult
from edgekit.core.events import EventSink, Note, StepFinished, StepProgress, StepStarted, ignore
from edgekit.core.goal import Goal, parse_goal
from edgekit.core.report import Activation, Choice, Report
from edgekit.core.target import DeviceFacts
from edgekit.report.runs import new_run_id, write_run

# Leaders that noise leaves open get so many times as many turns again: three times as many in
# all narrow the interval to less than half, the better t for it included.
_MORE = 2


@dataclass
class Race:
    """A race that was run: its lanes, their rows, and the best of them."""

    arena: Arena
    located: Located
    lanes: tuple[Lane, ...]
    rows: tuple[CandidateResult, ...]
    best: Choice | None

    def winner(self) -> Lane | None:
        """Return the lane of the best candidate."""
        best = self.best
        found = [lane for lane in self.lanes if best and lane.row.bundle == best.bundle]
        return found[0] if found else None

    def report(self, active: Activation | None) -> Report:
        """Sum up; ``active`` is what is active on the device by now."""
        arena = self.arena
        recipe = arena.recipe.name
        run_id = new_run_id(recipe, arena.target.name)
        return Report(
            run_id=run_id,
            recipe=recipe,
            target=arena.target.name,
            device_name=self.located.name,
            facts=arena.device.facts,
            candidates=self.rows,
            best=self.best,
            pareto=pareto(self.rows),
            active=active,
            transfer=arena.transfer,
            valid=_is_valid(self.rows, arena.device.facts),
            run_dir=settings().runs_dir / run_id,
            seconds=arena.stopwatch.seconds(),
        )


def race(options: DeployOptions, *, emit: EventSink = ignore) -> Report:
    """Race every candidate on the device; nothing is activated.

    A candidate that breaks is a row of the report. If none passes the gate, the report has no
    ``best``; if the best misses a goal, it has no ``chosen``.

    Raises:
        UsageError: what was asked for cannot be meant.
        DeviceError: the device cannot be reached, was lost, or is not what the target says;
            the next call goes on with what was found out by then.
    """
    with ExitStack() as stack:
        run = run_race(options, stack, emit=emit)
        report = run.report(run.arena.device.status().activation)
    write_run(report, asked=options.as_json())
    return report


def run_race(options: DeployOptions, stack: ExitStack, *, emit: EventSink) -> Race:
    """Run the race; the device stays connected until ``stack`` is closed."""
    recipe = resolve_recipe(options.model)
    goals = options.goals or tuple(parse_goal(goal) for goal in recipe.goals)
    start = line_up(options, stack, emit=emit)
    arena, lanes, rows = start.arena, start.lanes, start.rows
    settle_int8(arena, lanes, effort="first" if options.quick else "method")
    for lane in lanes:
        if lane.running:
            lane.build()
    if not arena.emulated and not options.quick:
        search(arena, lanes, _space(arena, options))
    for lane in lanes:
        if lane.running:
            lane.judge()
    if not options.quick:
        mend_refused(arena, lanes)
    results, leaders = _measured(arena, lanes, rows, goals)
    best = choose(results, goals, leaders)
    _tell_missed_goals(best, results, goals, emit)
    return Race(arena, start.located, tuple(lanes), results, best)


def _space(arena: Arena, options: DeployOptions) -> SearchSpace:
    from edgekit.prepare.lossless import lossless_rewrites

    asked = options.threads or settings().threads
    every = threads_worth_trying(arena.target, arena.device.facts)
    return SearchSpace(
        rewrites=lossless_rewrites(arena.model), threads=(asked,) if asked else every
    )


def _measured(
    arena: Arena,
    lanes: Sequence[Lane],
    rows: Sequence[Lane | CandidateResult],
    goals: tuple[Goal, ...],
) -> tuple[tuple[CandidateResult, ...], tuple[Candidate, ...]]:
    """Measure by turns, and those longer that stand at the head and within each other's noise.

    They are looked at once more, not until one wins: whoever looks often enough sees a winner
    among equals.

    Returns:
        A row for each candidate, and the candidates that were measured longer.
    """
    rounds = arena.limits.rounds
    arena.patience.begin(arena.device)
    running = [lane for lane in lanes if lane.running]
    _take_turns(arena, running, range(1, rounds + 1), f"Measure {len(running)} candidates by turns")
    results = finished(rows)
    leaders = tuple(row.candidate for row in undecided_leaders(results, goals))
    if not leaders:
        return results, ()
    again = [lane for lane in running if lane.candidate in leaders]
    names = ", ".join(str(lane.candidate) for lane in again)
    more = range(rounds + 1, rounds * (1 + _MORE) + 1)
    _take_turns(arena, again, more, f"Measure {names} longer: noise leaves open which is faster")
    return finished(rows), leaders


def _take_turns(arena: Arena, running: Sequence[Lane], numbers: range, title: str) -> None:
    plan = part_of(arena.limits.plan, arena.limits.rounds)
    total = len(numbers) * len(running)
    if not total:
        return
    arena.emit(StepStarted(MEASURE_STEP, title))
    for done, (turn, lane) in enumerate(turns(running, len(numbers))):
        arena.emit(StepProgress(MEASURE_STEP, done, total, str(lane.candidate)))
        if lane.running:
            lane.measure(plan, numbers[turn])
    arena.emit(StepFinished(MEASURE_STEP, f"{len(numbers)} turns each" if len(numbers) > 1 else ""))


def _tell_missed_goals(
    best: Choice | None,
    rows: Sequence[CandidateResult],
    goals: tuple[Goal, ...],
    emit: EventSink,
) -> None:
    if best is None:
        return
    winner = next(row for row in rows if row.bundle == best.bundle)
    for goal in goals:
        if goal.met_by(winner) is None:
            emit(Note(f"the goal {goal} cannot be judged here: not measured", warning=True))
    if best.missed:
        emit(Note(f"the best, {best.candidate}, misses {', '.join(best.missed)}", warning=True))


def _is_valid(rows: Sequence[CandidateResult], facts: DeviceFacts) -> bool:
    # Who left the race has figures, but too few to be held against it.
    stayed = [row for row in rows if row.status != "skipped"]
    measured = [row.measurement for row in stayed if row.measurement is not None]
    return (
        bool(measured)
        and not facts.emulated
        and not any(row.status == "invalid" for row in rows)
        and not any(disturbance(each.model) for each in measured)
        and not any(row.doubts for row in stayed)
    )
