"""``camera``: a pipeline runs on the device, and is profiled or watched from here."""

import json
import re
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.app.camera_inputs import Inputs, inputs_of
from edgekit.app.camera_opencv import lend_opencv
from edgekit.app.camera_options import CameraOptions, Wanted, wanted_pipeline
from edgekit.app.camera_outcome import CameraOutcome, Timeline, can_trace, outcome_of
from edgekit.app.camera_progress import STEP, Progress
from edgekit.app.camera_subject import CameraSubject, camera_subject, check_batch, recipe_of
from edgekit.app.devices import locate
from edgekit.app.options import DeployOptions
from edgekit.catalog.recipes import load_recipe
from edgekit.catalog.settings import settings
from edgekit.core.camera import PipelineSpec, PreviewSpec
from edgekit.core.errors import (
    CatalogError,
    ConnectionLostError,
    DeviceError,
    EdgekitError,
    RunnerError,
    UnknownNameError,
    UsageError,
)
from edgekit.core.events import EventSink, Note, StepFinished, StepStarted, ignore
from edgekit.onboard.camera.passwords import without_passwords

if TYPE_CHECKING:
    from edgekit.core.layers import LayerProfile
    from edgekit.core.recipe import Pipeline, Recipe
    from edgekit.device import RunResult

Stopping = Callable[[], AbstractContextManager[threading.Event]]
"""Gives an event for as long as a pipeline runs; who sets it has it end with all that it told."""

_SLACK_S: Final = 900.0  # until a model is loaded on a slow board
_ENDLESS_S: Final = 366 * 24 * 3600.0
_GRACE_S: Final = 60.0
# The runner says in its last line what it cannot go on with; libraries talk before.
_REFUSED: Final = re.compile(r"the runner failed with status 1:\n(?:.*\n)*?([^\n]+)")
_NOT_OF_THE_SOURCE: Final = ("loading the ", "the runner failed: ", "inference ")
_CAMERA_BUSY: Final = "a camera serves one program: end that one, or wait until it is done"
_NOT_KEPT: Final = "nothing of the run was brought home; the same command begins anew"
_PERFETTO: Final = "pip install 'edgekit[camera]'"
_OLD_RUNNER: Final = "the job names no frames"


def _plain_event() -> AbstractContextManager[threading.Event]:
    return nullcontext(threading.Event())


@dataclass(frozen=True)
class _Plan:
    subject: CameraSubject
    wanted: Wanted
    inputs: Inputs
    runtimes: tuple[str, ...]
    files: tuple[tuple[str, str], ...]


def profile(
    where: DeployOptions,
    options: CameraOptions,
    *,
    stopping: Stopping = _plain_event,
    emit: EventSink = ignore,
) -> CameraOutcome:
    """Run a pipeline on a device and tell where every millisecond and every frame went.

    Args:
        where: names device and target, and the model; an empty one is whatever is active.
        options: the pipeline, as far as the recipe does not say it.
        stopping: who may end it before its time.
        emit: told of the steps, and of each second.

    Raises:
        UsageError: the pipeline cannot be meant.
        DeviceError: nothing is active, the source refused, or the device was lost.
        EngineError: nothing could be built, or the runner failed.
        KeyboardInterrupt: it was stopped before there was anything to tell, or given up; its words
            say what was kept.
    """
    with ExitStack() as stack:
        plan = _planned(where, options, None, stack, emit)
        return _ran(plan, where, options, stopping, Progress(emit, plan.subject))


def watch(
    where: DeployOptions,
    options: CameraOptions,
    *,
    port: int = 0,
    opened: Callable[[str], None] = lambda _url: None,
    stopping: Stopping = _plain_event,
    emit: EventSink = ignore,
) -> CameraOutcome:
    """Run a pipeline and show it on a page of this machine, until it is stopped.

    Args:
        where: as in :func:`profile`.
        options: likewise; without seconds it has no end of its own.
        port: of the page, on this machine alone; 0 for any that is free.
        opened: told of the page's address.
        stopping: who may end it.
        emit: as in :func:`profile`.

    Raises:
        EdgekitError, KeyboardInterrupt: as in :func:`profile`.
    """
    from edgekit.camera.page import LivePage

    endless = options if options.seconds is not None else replace(options, seconds=0.0)
    with ExitStack() as stack:
        plan = _planned(where, endless, PreviewSpec(), stack, emit)
        subject = plan.subject
        page = LivePage(
            port,
            f"{subject.model} on {subject.name}",
            subject.classes,
            subject.labels,
            emulated=subject.device.facts.emulated,
        )
        with page:
            opened(page.url)
            progress = Progress(emit, subject, page.take)
            try:
                return _ran(plan, where, endless, stopping, progress)
            except EdgekitError as error:
                gone = isinstance(error, ConnectionLostError)
                page.take({"phase": "gone" if gone else "ended", "why": error.message})
                raise


def _planned(
    where: DeployOptions,
    options: CameraOptions,
    preview: PreviewSpec | None,
    stack: ExitStack,
    emit: EventSink,
) -> _Plan:
    from edgekit.device import LocalAddress

    recipe = recipe_of(where.model or None)
    if options.layers and recipe is None:
        raise UsageError("--layers needs a MODEL: what is active does not know its own layers")
    if not can_trace():
        _without_timeline(options, emit)
    local = isinstance(locate(where.device, where.target).address, LocalAddress)
    batch = 1
    if recipe is not None or options.source is not None:
        # What cannot be meant is told before anything is built or sent.
        early = wanted_pipeline(options, recipe.pipeline if recipe else None, preview=preview)
        inputs_of(early.spec, local=local)
        batch = early.spec.batch
    lighter = recipe.pipeline.lighter if recipe and recipe.pipeline else None
    subject = camera_subject(
        where, recipe, lighter, stack, layers=options.layers, batch=batch, emit=emit
    )
    wanted = wanted_pipeline(options, _pipeline_of(recipe, subject), preview=preview)
    check_batch(subject.model, subject.batch, wanted.spec.batch)
    if wanted.spec.adapt is not None and len(subject.bundles) == 1:
        emit(Note("no lighter bundle takes over: only a MODEL that is named has one built"))
        wanted = Wanted(replace(wanted.spec, adapt=None), None)
    inputs = inputs_of(wanted.spec, local=local)
    runtimes = lend_opencv(subject.device, subject.interpreter, inputs.spec, emit=emit)
    return _Plan(subject, wanted, inputs, runtimes, inputs.send(subject.device, emit))


def _without_timeline(options: CameraOptions, emit: EventSink) -> None:
    if options.trace is not None:
        raise UsageError("a timeline needs Perfetto's package, which is not here", hint=_PERFETTO)
    emit(Note(f"no timeline is drawn: Perfetto's package is not here; {_PERFETTO}"))


def _pipeline_of(recipe: "Recipe | None", subject: CameraSubject) -> "Pipeline | None":
    """Return the pipeline of the recipe, or of that which the active bundle is of."""
    if recipe is not None:
        return recipe.pipeline
    try:
        return load_recipe(subject.model).pipeline
    except (UnknownNameError, CatalogError):
        return None


def _ran(
    plan: _Plan,
    where: DeployOptions,
    options: CameraOptions,
    stopping: Stopping,
    progress: Progress,
) -> CameraOutcome:
    from edgekit.report.runs import new_run_id

    subject = plan.subject
    folder = settings().runs_dir / new_run_id(subject.model, subject.target)
    folder.mkdir(parents=True, exist_ok=True)
    asked = {**where.as_json(), "camera": _plain(options), "pipeline": plan.inputs.spec.as_json()}
    text = without_passwords(json.dumps(asked, indent=1))
    (folder / "asked.json").write_text(text + "\n", encoding="utf-8")
    # Before the pipeline: beside it their times would be another's.
    layers = _layers(plan, options, progress.emit)
    progress.emit(StepStarted(STEP, _title(subject, plan.inputs.spec)))
    try:
        result = _run(plan, options, folder, stopping, progress)
        timeline = Timeline(options.trace, layers)
        outcome = outcome_of(subject, plan.inputs, result, timeline, progress.seen)
    except BaseException as error:
        progress.emit(StepFinished(STEP, "failed", ok=False))
        if isinstance(error, KeyboardInterrupt) and not error.args:
            raise KeyboardInterrupt(_given_up(folder)) from None
        raise
    progress.emit(StepFinished(STEP, f"{outcome.figures.delivered} frames"))
    return outcome


def _layers(plan: _Plan, options: CameraOptions, emit: EventSink) -> "LayerProfile | None":
    from edgekit.app.layers import layers_of

    lane = plan.subject.lane
    if not options.layers or lane is None:
        return None
    found = layers_of(lane)
    if found is None:
        emit(Note(f"edgekit does not tell {lane.plan.engine.name}'s layers"))
    return found


def _run(
    plan: _Plan, options: CameraOptions, folder: Path, stopping: Stopping, progress: Progress
) -> "RunResult":
    from edgekit.device import RunRequest, Watch

    subject, spec = plan.subject, plan.inputs.spec
    request = RunRequest(
        kind="camera",
        pipeline_json=json.dumps(spec.as_json()),
        inputs=plan.files,
        lighter=tuple(zip(subject.bundles, subject.knobs, strict=True))[1:],
        runtimes=plan.runtimes,
        kept=(plan.inputs.kept[0],) if plan.inputs.kept else (),
        knobs=subject.knobs[0],
        timeout_s=spec.seconds + _SLACK_S if spec.seconds else _ENDLESS_S,
        grace_s=_GRACE_S,
        outputs=folder,
        step=STEP,
        watch=Watch(power_hz=options.power_hz, tell=True),
    )
    with stopping() as stop:
        try:
            return subject.device.run(
                subject.bundles[0], request, progress.emit, progress.hear, stop
            )
        except RunnerError as error:
            if stop.is_set():
                text = "ended before there was anything to tell"
                raise KeyboardInterrupt(text) from None
            raise _in_words(error, subject, spec) from error
        except ConnectionLostError as error:
            raise ConnectionLostError(error.message, hint=_NOT_KEPT) from error


def _given_up(folder: Path) -> str:
    if (folder / "camera.json").exists():
        return f"given up; the run's record, as far as it came home, is in {folder}"
    return f"given up; {_NOT_KEPT}"


def _in_words(
    error: RunnerError, subject: CameraSubject, spec: PipelineSpec
) -> RunnerError | DeviceError:
    """Return what the source refused as the device's fault, in its own words."""
    if _OLD_RUNNER in error.message:
        return RunnerError(
            f"what is active on {subject.name} was made by an edgekit that had no pipelines",
            hint="edgekit deploy MODEL puts it there anew",
        )
    refused = _REFUSED.fullmatch(error.message)
    if refused is None or refused[1].startswith(_NOT_OF_THE_SOURCE):
        return error
    message = f"{subject.name}: {refused[1]}"
    if spec.source.kind != "v4l2":
        return DeviceError(message)
    if " is busy: " in refused[1]:
        return DeviceError(message, hint=_CAMERA_BUSY)
    listed = f"edgekit camera list --device {subject.name} tells what its cameras offer"
    return DeviceError(message, hint=listed)


def _title(subject: CameraSubject, spec: PipelineSpec) -> str:
    source = without_passwords(spec.source.name or spec.source.kind)
    return f"{source} through {subject.model} on {subject.labels[0]}"


def _plain(options: CameraOptions) -> Mapping[str, Any]:
    trace = str(options.trace) if options.trace else None
    return {**asdict(replace(options, trace=None)), "trace": trace}
