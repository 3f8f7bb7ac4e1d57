"""What ``bench`` measures: what is active on a device, or what is built and sent for it."""

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.app.arena import Arena, frame_content
from edgekit.app.devices import known_target, locate, open_device
from edgekit.app.entries import run as run_entry
from edgekit.app.lanes import Lane
from edgekit.app.models import prepared_model, resolve_recipe
from edgekit.app.options import DeployOptions
from edgekit.app.settle import settle_int8
from edgekit.app.start import finished, line_up
from edgekit.core.bench import Subject
from edgekit.core.candidate import CandidateResult
from edgekit.core.errors import DeviceError, EdgekitError, EngineError, UsageError
from edgekit.core.events import EventSink, Note
from edgekit.core.recipe import Samples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgekit.core.model import FileRef
    from edgekit.device import Device, InstalledBundle, RunRequest, RunResult


@dataclass(frozen=True)
class Ready:
    """A candidate that can be run.

    Attributes:
        frames: sha256 of frames that stand on the device.
        run: runs it there.
    """

    subject: Subject
    frames: tuple[str, ...]
    run: "Callable[[RunRequest], RunResult]"


@dataclass(frozen=True)
class Subjects:
    """A device, and all that is to be measured on it."""

    name: str
    device: "Device"
    ready: tuple[Ready, ...]


def active_subject(options: DeployOptions, stack: ExitStack, *, emit: EventSink) -> Subjects:
    """Return what is active on a device.

    Raises:
        DeviceError: nothing is.
        UsageError: there are no frames for it.
    """
    located = locate(options.device, options.target)
    opening = open_device(located, known_target(located), emit=emit, accept_new=options.accept_new)
    device = stack.enter_context(opening)
    active = device.status().current
    if active is None:
        raise DeviceError(
            f"nothing is active on {located.name}",
            hint="edgekit deploy MODEL first, or name a model: edgekit bench MODEL",
        )
    frames = _frames_for(active, options.images, emit)
    device.push(frame_content(frames), emit)
    subject = Subject(
        model=active.name,
        engine=active.engine,
        precision=active.precision,
        knobs=active.knobs,
        bundle=active.bundle,
        target=active.target,
    )
    hashes = tuple(frame.sha256 for frame in frames)
    ready = Ready(subject, hashes, lambda asked: device.run(active.bundle, asked, emit))
    return Subjects(located.name, device, (ready,))


def built_subjects(options: DeployOptions, stack: ExitStack, *, emit: EventSink) -> Subjects:
    """Build candidates, send them and return those that stand.

    Raises:
        EngineError: none does.
        UsageError, DeviceError: as in a race.
    """
    start = line_up(options, stack, emit=emit)
    settle_int8(start.arena, start.lanes, effort="first")
    for lane in start.lanes:
        if lane.running:
            lane.build()
    arena = start.arena
    standing = [lane for lane in start.lanes if lane.running]
    fallen = [row for row in finished(start.rows) if row.status not in {"ok", "gate"}]
    if not standing:
        raise EngineError("nothing stands that could be measured", hint=_reasons(fallen))
    for row in fallen:
        emit(Note(f"{row.candidate}: {row.status}: {row.reason}", warning=True))
    arena.deliver_frames(arena.frames)
    return Subjects(
        start.located.name, arena.device, tuple(_ready(arena, lane) for lane in standing)
    )


def _ready(arena: Arena, lane: Lane) -> Ready:
    entry = lane.entry()
    model = arena.variant(lane.candidate.rewrites)
    subject = Subject(
        model=arena.recipe.name,
        engine=lane.candidate.engine,
        precision=lane.candidate.precision,
        knobs=lane.candidate.knobs,
        bundle=entry.bundle.identity,
        target=arena.target.name,
        model_sha256=model.onnx.sha256,
        inputs=tuple((spec.name, tuple(spec.shape)) for spec in model.inputs),
        rewrites=lane.candidate.rewrites,
    )
    hashes = tuple(frame.sha256 for frame in arena.frames)
    return Ready(subject, hashes, lambda asked: run_entry(arena, entry, asked, arena.emit))


def _reasons(rows: list[CandidateResult]) -> str:
    return "; ".join(f"{row.candidate}: {row.reason or row.status}" for row in rows)


def _frames_for(
    active: "InstalledBundle", images: "Path | None", emit: EventSink
) -> "tuple[FileRef, ...]":
    from edgekit.prepare.frames import load_frames, picture_frames

    if images is not None:
        as_many = Samples(kind="shapes")
        frames, _ = picture_frames(
            as_many, active.name, images=images, option="--images", emit=emit
        )
        return frames
    try:
        recipe = resolve_recipe(active.name)
        return load_frames(recipe, prepared_model(recipe, None, emit=emit), images=None, emit=emit)
    except EdgekitError as error:
        raise UsageError(
            f"there are no frames for {active.name}: {error.message}",
            hint="--images DIR names a folder of images, or edgekit bench FILE.onnx the model",
        ) from error
