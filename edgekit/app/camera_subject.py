"""Which bundle a pipeline runs with: the one that is active, or one that is built and sent."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, cast

from edgekit.app.arena import Arena
from edgekit.app.camera_opencv import Interpreter
from edgekit.app.devices import Located, known_target, locate, open_device
from edgekit.app.lanes import Lane
from edgekit.app.models import resolve_recipe
from edgekit.app.options import DeployOptions
from edgekit.app.settle import settle_int8
from edgekit.app.start import Aim, Start, finished, line_up
from edgekit.catalog.targets import load_target
from edgekit.core.errors import DeviceError, EngineError, UsageError
from edgekit.core.events import EventSink, Note
from edgekit.core.knobs import Knobs, turned
from edgekit.core.names import EngineName, Precision
from edgekit.core.recipe import Recipe
from edgekit.core.target import DeviceFacts
from edgekit.engines import load_engine

if TYPE_CHECKING:
    from edgekit.core.bundle import Bundle
    from edgekit.device import Device, InstalledBundle

# Which engine is tried first where none is named: runs nearly everything, then the small ones.
_ENGINES: Final = ("onnxruntime", "ncnn", "mnn", "tflite")


@dataclass(frozen=True)
class CameraSubject:
    """A device, and a bundle that stands on it.

    Attributes:
        name: what the user calls the device.
        bundles: identities, the first choice first, then lighter ones.
        labels: engine and precision of each.
        knobs: of each, so that its waiting threads leave the cores to the other stages.
        batch: frames that the model takes at once; ``None`` where nothing tells.
        lane: of the first, where it was built here.
    """

    name: str
    device: "Device"
    model: str
    target: str
    bundles: tuple[str, ...]
    labels: tuple[str, ...]
    classes: tuple[str, ...]
    interpreter: Interpreter
    knobs: tuple[Knobs, ...]
    batch: int | None
    lane: Lane | None = None


def camera_subject(
    where: DeployOptions,
    recipe: Recipe | None,
    lighter: Precision | None,
    stack: ExitStack,
    *,
    layers: bool = False,
    batch: int = 1,
    emit: EventSink,
) -> CameraSubject:
    """Return what is active on the device if it is what was asked for, else build and send it.

    Args:
        where: names device, target, and what to build.
        recipe: of the model that was named; ``None`` for whatever is active.
        lighter: precision of a second bundle that may take over.
        stack: keeps the device open.
        batch: how many frames are to be inferred together by what is built.
        layers: whether its layers are to be profiled, for which what is active will not do.
        emit: told of the steps.

    Raises:
        UsageError: what is to be built does not take as many frames at once.
        DeviceError: nothing is active and no model was named, or the device was lost.
        EngineError: nothing can be built.
    """
    located = locate(where.device, where.target)
    if recipe is None or (_plain(where, lighter) and not layers):
        opened = ExitStack()
        with opened:
            found = _active(located, where, recipe, opened, emit)
            if found is not None:
                stack.push(opened.pop_all())
                return found
    if recipe is None:
        raise DeviceError(
            f"nothing is active on {located.name}",
            hint="edgekit deploy MODEL first, or name a model: edgekit camera profile MODEL",
        )
    return _built(where, lighter, batch, stack, "run" if layers else "build", emit)


def recipe_of(model: str | None) -> Recipe | None:
    """Return the recipe of a model that was named.

    Raises:
        UnknownNameError: no recipe has the name.
        UsageError: the model does not take pictures.
    """
    if model is None:
        return None
    recipe = resolve_recipe(model)
    if recipe.task == "tensor":
        raise UsageError(
            f"{recipe.name} takes tensors, not pictures",
            hint="a recipe says how a picture becomes its input: docs/catalog.md",
        )
    return recipe


def _plain(where: DeployOptions, lighter: Precision | None) -> bool:
    """Whether nothing was asked of the bundle but that it is the model's."""
    asked = (where.engines, where.precisions, where.size, where.threads, lighter)
    return not any(asked)


def _active(
    located: Located,
    where: DeployOptions,
    recipe: Recipe | None,
    stack: ExitStack,
    emit: EventSink,
) -> CameraSubject | None:
    opening = open_device(located, known_target(located), emit=emit, accept_new=where.accept_new)
    device = stack.enter_context(opening)
    active = device.status().current
    if active is None or (recipe is not None and active.name != recipe.name):
        return None
    return CameraSubject(
        name=located.name,
        device=device,
        model=active.name,
        target=active.target,
        bundles=(active.bundle,),
        labels=(_label(active),),
        classes=active.classes,
        interpreter=Interpreter(active.python, active.wheels),
        knobs=(beside_others(active, device.facts),),
        batch=_taken(active.input_shapes),
    )


def _built(
    where: DeployOptions,
    lighter: Precision | None,
    batch: int,
    stack: ExitStack,
    aim: Aim,
    emit: EventSink,
) -> CameraSubject:
    precisions = where.precisions or ("fp32",)
    if len(precisions) > 1:
        raise UsageError(
            "a pipeline begins with one bundle: name one precision",
            hint="a lighter one stands in the recipe: [pipeline.adapt] lighter",
        )
    wanted = (*precisions, *((lighter,) if lighter and lighter not in precisions else ()))
    asked = replace(where, precisions=wanted, quick=True)
    start = line_up(asked, stack, aim=aim, emit=emit)
    taken = _taken([spec.shape for spec in start.arena.model.inputs])
    check_batch(start.arena.recipe.name, taken, batch)
    first = _first_lane(start, precisions[0], emit)
    lanes = [first]
    if len(wanted) > 1:
        lanes.append(_lighter_lane(start, first, wanted[1]))
    bundles = [_delivered(start.arena, lane) for lane in lanes]
    return CameraSubject(
        name=start.located.name,
        device=start.arena.device,
        model=start.arena.recipe.name,
        target=start.arena.target.name,
        bundles=tuple(bundle.identity for bundle in bundles),
        labels=tuple(map(_label, bundles)),
        classes=start.arena.model.classes,
        interpreter=_interpreter(bundles[0]),
        knobs=tuple(beside_others(bundle, start.arena.device.facts) for bundle in bundles),
        batch=taken,
        lane=first,
    )


def check_batch(model: str, taken: int | None, batch: int) -> None:
    """Refuse to infer more frames together than a model takes, before anything is sent for it.

    Args:
        model: its name.
        taken: how many it takes at once; ``None`` where nothing tells, and the runner will.
        batch: how many are wanted.

    Raises:
        UsageError: it takes another number.
    """
    if taken is None or batch in {1, taken}:
        return
    others = f"{taken}, or " if taken > 1 else ""
    raise UsageError(
        f"{model} takes {taken} frame{'s' * (taken > 1)} at once: {batch} cannot be inferred "
        "together",
        hint=f"--batch {others}1, and in the recipe's [pipeline] too; edgekit makes no model "
        "take more frames than it was exported for",
    )


def _taken(shapes: Sequence[Sequence[int]]) -> int | None:
    # As the runner has it (edgekit.onboard.camera.variant): a first axis is that of frames.
    if not shapes:
        return None
    return shapes[0][0] if shapes[0] else 1


def beside_others(bundle: "Bundle | InstalledBundle", facts: DeviceFacts) -> Knobs:
    """Return a bundle's knobs, turned so that waiting threads do not spin on others' cores.

    A race chooses by speed alone, with nothing beside the engine.
    """
    engine = load_engine(cast("EngineName", bundle.engine))
    precision = cast("Precision", bundle.precision)
    knobs = bundle.knobs
    for knob in engine.knobs(precision, load_target(bundle.target), facts):
        if knob.shared is not None:
            knobs = turned(knobs, knob.name, knob.shared)
    return knobs


def _first_lane(start: Start, precision: Precision, emit: EventSink) -> Lane:
    """Build the first that can be built."""
    lanes = [lane for lane in start.lanes if lane.candidate.precision == precision]
    for lane in sorted(lanes, key=_rank):
        if _stands(start, lane):
            others = len({each.candidate.engine for each in lanes}) > 1
            hint = "; edgekit deploy finds the fastest of all" if others else ""
            emit(Note(f"the pipeline runs with {lane.candidate}{hint}"))
            return lane
    fallen = [row for row in finished(start.rows) if row.candidate.precision == precision]
    reasons = "; ".join(f"{row.candidate}: {row.reason or row.status}" for row in fallen)
    raise EngineError("nothing stands that a pipeline could run with", hint=reasons)


def _lighter_lane(start: Start, first: Lane, precision: Precision) -> Lane:
    """Build the bundle that may take over: of the same engine, hence of the same runtime."""
    engine = first.candidate.engine
    for lane in start.lanes:
        if lane.candidate.engine == engine and lane.candidate.precision == precision:
            if _stands(start, lane):
                return lane
            raise EngineError(f"no lighter bundle: {lane.candidate} cannot be built",
                              hint="; ".join(row.reason for row in finished([lane])))  # fmt: skip
    raise EngineError(
        f"no lighter bundle: {engine} {precision} cannot be built for this device",
        hint="another precision in [pipeline.adapt] lighter, or another --engine",
    )


def _stands(start: Start, lane: Lane) -> bool:
    settle_int8(start.arena, [lane], effort="first")
    if lane.running:
        lane.build()
    return lane.running


def _delivered(arena: Arena, lane: Lane) -> "Bundle":
    bundle = lane.bundle()
    arena.deliver(bundle)
    return bundle


def _interpreter(bundle: "Bundle") -> Interpreter:
    wheels = tuple(wheel.path for wheel in bundle.runtime.wheels)
    return Interpreter(bundle.runtime.python, wheels)


def _rank(lane: Lane) -> int:
    name = lane.candidate.engine
    return _ENGINES.index(name) if name in _ENGINES else len(_ENGINES)


def _label(bundle: "Bundle | InstalledBundle") -> str:
    return f"{bundle.engine} {bundle.precision}"
