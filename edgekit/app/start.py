"""All that a race needs before anything is built: the device, the model, who may take part."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from edgekit.app.arena import Arena, Limits
from edgekit.app.bundles import Feasible, candidates, feasible
from edgekit.app.devices import Located, locate, open_device, required_target
from edgekit.app.lanes import Lane
from edgekit.app.memory import Memory, fingerprint
from edgekit.app.models import prepared_model, resolve_recipe
from edgekit.app.options import DeployOptions
from edgekit.app.patience import Patience
from edgekit.app.prebuilt import Prebuilt
from edgekit.app.search import threads_worth_trying
from edgekit.app.stopwatch import Stopwatch
from edgekit.app.tuned import with_records
from edgekit.catalog.settings import settings
from edgekit.core.candidate import Candidate, CandidateResult
from edgekit.core.contracts import Unsupported
from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink
from edgekit.core.measurement import BenchPlan
from edgekit.core.model import FileRef, Model
from edgekit.core.recipe import Recipe
from edgekit.core.target import Target

if TYPE_CHECKING:
    from edgekit.device import Device
    from edgekit.prepare.evaluation import EvaluationSet
    from edgekit.prepare.reference import ReferenceOutputs

Aim = Literal["judge", "run", "build"]
"""What candidates are for: to be held against the reference, to be run on frames, or neither."""

# An emulated processor's times mean nothing, and each of its runs takes seconds: one is enough to
# know that the timed path works too, and a few frames to know that the answers are right.
_EMULATED_PLAN = BenchPlan(
    warmup_runs=0, warmup_seconds=0, min_runs=1, min_seconds=0, max_seconds=600
)
_EMULATED_FRAMES = 3
_EMULATED_IMAGES = 20  # the fewest of which an interval can be told
_EMULATED_TIMEOUT_S = 3600.0
_TIMEOUT_S = 600.0
_ROUNDS = 5


@dataclass(frozen=True)
class Start:
    """All that stands ready before anything is built.

    Attributes:
        lanes: of the candidates that can be.
        rows: one for each candidate, in order; those that cannot be hold their reason.
    """

    arena: Arena
    located: Located
    lanes: list[Lane]
    rows: list[Lane | CandidateResult]


def line_up(
    options: DeployOptions, stack: ExitStack, *, aim: Aim = "judge", emit: EventSink
) -> Start:
    """Connect, prepare the model, and sort out before anything is built what cannot be.

    Args:
        options: device, target, model and candidates.
        stack: keeps the device open.
        aim: what is not needed for it is not loaded.
        emit: told of the steps.
    """
    stopwatch = Stopwatch()
    located = locate(options.device, options.target)
    target = required_target(located)
    recipe = resolve_recipe(options.model)
    _check_runs_folder()
    _check_offered(options)
    with stopwatch.lap("connect"):
        opening = open_device(located, target, emit=emit, accept_new=options.accept_new)
        device = stack.enter_context(opening)
        _check_fits(device, target)
    arena = _arena(options, recipe, target, device, stopwatch, aim, emit)
    return Start(arena, located, *_line_up(arena, options))


def finished(rows: Sequence[Lane | CandidateResult]) -> tuple[CandidateResult, ...]:
    """Return one row for each candidate, those of the lanes with all that was found out."""
    return tuple(row.finish() if isinstance(row, Lane) else row for row in rows)


def _arena(
    options: DeployOptions,
    recipe: Recipe,
    target: Target,
    device: "Device",
    stopwatch: Stopwatch,
    aim: Aim,
    emit: EventSink,
) -> Arena:
    emulated = device.facts.emulated
    with stopwatch.lap("prepare"):
        model = prepared_model(recipe, options.size, cut_head=options.cut_head, emit=emit)
        sampled = _with_counts(recipe, options, emulated=emulated)
        frames, reference, evaluation = _material(sampled, model, options, aim, emit)
    given = (options.max_drop, settings().max_drop, recipe.max_drop)
    plan = options.plan or (_EMULATED_PLAN if emulated else BenchPlan())
    limits = Limits(
        plan=plan,
        # A round has one run at least: who asks for fewer runs than rounds gets no more of them.
        rounds=1 if emulated else min(_ROUNDS, plan.min_runs),
        max_drop=next(value for value in given if value is not None),
        timeout_s=options.timeout_s or (_EMULATED_TIMEOUT_S if emulated else _TIMEOUT_S),
    )
    return Arena(
        device=device,
        recipe=recipe,
        target=target,
        model=model,
        frames=frames,
        reference=reference,
        evaluation=evaluation,
        limits=limits,
        memory=Memory(settings().results_dir, fingerprint(device.facts), fresh=options.fresh),
        prebuilt=Prebuilt(device.facts),
        emit=emit,
        stopwatch=stopwatch,
        calibration_images=options.calibration,
        calibration_count=options.calibration_count,
        patience=Patience(0.0 if emulated else _patience_s(options)),
    )


def _material(
    recipe: Recipe, model: Model, options: DeployOptions, aim: Aim, emit: EventSink
) -> "tuple[tuple[FileRef, ...], ReferenceOutputs | None, EvaluationSet | None]":
    from edgekit.prepare.evaluation import load_evaluation
    from edgekit.prepare.frames import load_frames
    from edgekit.prepare.reference import reference_outputs

    if aim == "build":
        return (), None, None
    frames = load_frames(recipe, model, images=options.images, emit=emit)
    if aim == "run":
        return frames, None, None
    reference = reference_outputs(model, frames, emit=emit)
    evaluation = load_evaluation(
        recipe, model, images=options.images, labels=options.labels, emit=emit
    )
    return frames, reference, evaluation


def _patience_s(options: DeployOptions) -> float:
    asked = options.repeat_budget_s
    return settings().repeat_budget_s if asked is None else asked


def _with_counts(recipe: Recipe, options: DeployOptions, *, emulated: bool) -> Recipe:
    """Return the recipe with as many frames and images as were asked for, or can be borne."""
    samples, evaluation = recipe.samples, recipe.evaluation
    if samples is not None:
        most = _EMULATED_FRAMES if emulated else samples.count
        count = options.frames or min(samples.count, most)
        recipe = replace(recipe, samples=replace(samples, count=count))
    if evaluation is not None:
        most = _EMULATED_IMAGES if emulated else evaluation.count
        count = options.evaluate or min(evaluation.count, most)
        recipe = replace(recipe, evaluation=replace(evaluation, count=count))
    return recipe


def _line_up(
    arena: Arena, options: DeployOptions
) -> tuple[list[Lane], list[Lane | CandidateResult]]:
    """Sort out, before anything is built or sent, which candidates cannot be."""
    facts = arena.device.facts
    threads = options.threads or settings().threads
    default = threads or threads_worth_trying(arena.target, facts)[0]
    lanes: list[Lane] = []
    rows: list[Lane | CandidateResult] = []
    for candidate in candidates(options.engines, options.precisions, default):
        plan = feasible(
            candidate, arena.model, arena.target, facts, accepted=options.accept_licence
        )
        tuned = _tuned(arena, plan) if isinstance(plan, Feasible) else None
        if isinstance(plan, Feasible) and plan.engine.tunable and not (tuned or options.engines):
            rows.append(_untuned(candidate))
        elif isinstance(plan, Feasible):
            lane = Lane(arena, tuned or plan, CandidateResult(candidate, "ok"))
            lanes.append(lane)
            rows.append(lane)
        # Nobody who asked for all engines wonders why a board without the hardware has no row.
        elif candidate.engine in options.engines or not plan.other_hardware:
            rows.append(_refused(candidate, plan))
    return lanes, rows


def _tuned(arena: Arena, plan: Feasible) -> Feasible | None:
    if not plan.engine.tunable:
        return None
    emulated = arena.device.facts.emulated
    return with_records(plan, arena.model, arena.target, emulated=emulated, emit=arena.emit)


def _untuned(candidate: Candidate) -> CandidateResult:
    return CandidateResult(
        candidate,
        "skipped",
        "no tuning record for this model and target, and many times slower than the others as it "
        f"is; --engine {candidate.engine} races it all the same",
    )


def _refused(candidate: Candidate, refusal: Unsupported) -> CandidateResult:
    reason = f"{refusal.reason}; {refusal.hint}" if refusal.hint else refusal.reason
    return CandidateResult(candidate, "unsupported", reason)


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
