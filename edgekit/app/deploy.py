"""``deploy``: a model in, the winner running on the device, with its numbers and the way back."""

from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit.app.activation import activate_checked
from edgekit.app.bundles import candidates
from edgekit.app.choice import choose, missed_goals
from edgekit.app.devices import locate, open_device, required_target
from edgekit.app.models import prepared_model, resolve_recipe
from edgekit.app.options import DeployOptions
from edgekit.app.stopwatch import Stopwatch
from edgekit.app.trial import Bench, check_all, frame_content, run_trial
from edgekit.bench.latency import disturbance
from edgekit.catalog.settings import settings
from edgekit.core.candidate import CandidateResult
from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, Note, ignore
from edgekit.core.goal import Goal, parse_goal
from edgekit.core.measurement import BenchPlan
from edgekit.core.recipe import Recipe
from edgekit.core.report import Activation, Choice, Report
from edgekit.core.target import DeviceFacts, Target
from edgekit.report.runs import new_run_id, write_run

if TYPE_CHECKING:
    from edgekit.device import Device


# An emulated processor's times mean nothing, and each of its runs takes seconds: one is enough to
# know that the timed path works too, and a few frames to know that the answers are right.
_EMULATED_PLAN = BenchPlan(
    warmup_runs=0, warmup_seconds=0, min_runs=1, min_seconds=0, max_seconds=600
)
_EMULATED_FRAMES = 3


def deploy(options: DeployOptions, *, emit: EventSink = ignore) -> Report:
    """Deploy a model: every candidate built, sent, measured and compared; the best activated.

    A candidate that breaks is a row of the report. If none passes the gate and the goals,
    the report has no ``chosen`` and the device keeps what it has.

    Raises:
        UsageError: what was asked for cannot be meant.
        DeviceError: the device cannot be reached, was lost, or is not what the target says;
            the next call resumes, and the device's current bundle is what it was.
        RolledBackError: the winner failed its check after activation and was taken back.
    """
    stopwatch = Stopwatch()
    located = locate(options.device, options.target)
    target = required_target(located)
    recipe = resolve_recipe(options.model)
    goals = options.goals or tuple(parse_goal(goal) for goal in recipe.goals)
    _check_runs_folder()
    _check_offered(options)
    with ExitStack() as stack:
        with stopwatch.lap("connect"):
            opening = open_device(located, target, emit=emit, accept_new=options.accept_new)
            device = stack.enter_context(opening)
            _check_fits(device, target)
        bench = _prepare_bench(options, recipe, target, device, stopwatch, emit)
        rows = _run_all(bench, options)
        choice = choose(rows, goals)
        _tell_missed_goals(rows, goals, choice, emit)
        activation = _activate(bench, choice, options)
    run_id = new_run_id(recipe.name, target.name)
    report = Report(
        run_id=run_id,
        recipe=recipe.name,
        target=target.name,
        device_name=located.name,
        facts=device.facts,
        candidates=tuple(rows),
        chosen=choice,
        active=activation,
        transfer=bench.transfer,
        valid=_is_valid(rows, device.facts),
        run_dir=settings().runs_dir / run_id,
        seconds=stopwatch.seconds(),
    )
    write_run(report, asked=options.as_json())
    return report


def default_threads(target: Target, facts: DeviceFacts) -> int:
    """Return the number of cores of the fastest cluster, as far as this user may use them.

    On big.LITTLE processors the slow cores rarely help and sometimes hurt.
    """
    fastest = max(target.clusters, key=lambda cluster: cluster.max_mhz)
    return max(1, min(fastest.count, facts.cpu_usable))


def _check_runs_folder() -> None:
    """A run that could not be kept in the end would be lost: told before it begins."""
    folder = settings().runs_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"runs cannot be kept in {folder}: {error.strerror}",
            hint="name another folder in EDGEKIT_RUNS_DIR",
        ) from error


def _check_offered(options: DeployOptions) -> None:
    if not candidates(options.engines, options.precisions, threads=1):
        asked = ", ".join(options.precisions)
        raise UsageError(f"no engine offers {asked}", hint="leave --precision out to try all")


def _check_fits(device: "Device", target: Target) -> None:
    from edgekit.device import check_target

    check_target(device.facts, target)


def _prepare_bench(
    options: DeployOptions,
    recipe: Recipe,
    target: Target,
    device: "Device",
    stopwatch: Stopwatch,
    emit: EventSink,
) -> Bench:
    from edgekit.prepare.frames import load_frames
    from edgekit.prepare.reference import reference_outputs

    with stopwatch.lap("prepare"):
        model = prepared_model(recipe, options.size, emit=emit)
        sampled = _with_fewer_frames(recipe, options, device.facts)
        frames = load_frames(sampled, model, images=options.images, emit=emit)
        reference = reference_outputs(model, frames, emit=emit)
    with stopwatch.lap("push"):
        transfer = device.push(frame_content(frames), emit)
    return Bench(
        device=device,
        model=model,
        target=target,
        frames=frames,
        reference=reference,
        plan=options.plan or (_EMULATED_PLAN if device.facts.emulated else BenchPlan()),
        max_drop=_max_drop(recipe, options),
        emit=emit,
        stopwatch=stopwatch,
        transfer=transfer,
    )


def _max_drop(recipe: Recipe, options: DeployOptions) -> float:
    """Option before setting before recipe."""
    given = (options.max_drop, settings().max_drop, recipe.max_drop)
    return next(value for value in given if value is not None)


def _with_fewer_frames(recipe: Recipe, options: DeployOptions, facts: DeviceFacts) -> Recipe:
    samples = recipe.samples
    if samples is None:
        return recipe
    count = options.frames or samples.count
    if options.frames is None and facts.emulated:
        count = min(count, _EMULATED_FRAMES)
    return replace(recipe, samples=replace(samples, count=count))


def _run_all(bench: Bench, options: DeployOptions) -> list[CandidateResult]:
    chosen = options.threads or settings().threads
    threads = chosen or default_threads(bench.target, bench.device.facts)
    wanted = candidates(options.engines, options.precisions, threads)
    plans = check_all(bench, wanted)
    return [plan if isinstance(plan, CandidateResult) else run_trial(bench, plan) for plan in plans]


def _tell_missed_goals(
    rows: list[CandidateResult],
    goals: tuple[Goal, ...],
    choice: Choice | None,
    emit: EventSink,
) -> None:
    if choice is not None:
        winner = next(row for row in rows if row.bundle == choice.bundle)
        for goal in goals:
            if goal.met_by(winner) is None:
                emit(Note(f"the goal {goal} cannot be judged here: not measured", warning=True))
        return
    for row in rows:
        if row.status == "ok":
            missed = ", ".join(str(goal) for goal in missed_goals(row, goals))
            emit(Note(f"{row.candidate} misses {missed}", warning=True))


def _activate(bench: Bench, choice: Choice | None, options: DeployOptions) -> Activation | None:
    if choice is None or not options.activate:
        return bench.device.status().activation
    with bench.stopwatch.lap("activate"):
        activation = activate_checked(bench, choice)
        if activation.changed:
            # Losers of earlier races would fill a small disk; a day's grace keeps what another
            # deployment may be about to use.
            bench.device.gc()
        return activation


def _is_valid(rows: list[CandidateResult], facts: DeviceFacts) -> bool:
    measured = [row.measurement for row in rows if row.measurement is not None]
    return (
        bool(measured)
        and not facts.emulated
        and not any(row.status == "invalid" for row in rows)
        and not any(disturbance(each.model) for each in measured)
    )
