"""``diff``: the layers of a build on a device against ONNX Runtime on the host."""

import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.app.arena import Arena
from edgekit.app.bundles import Feasible
from edgekit.app.lanes import Lane
from edgekit.app.layer_runs import (
    Calibrate,
    LayerErrors,
    LayerRuns,
    Outputs,
    accumulated,
    alone,
)
from edgekit.app.options import DeployOptions
from edgekit.app.settle import settle_int8
from edgekit.app.start import Start, finished, line_up
from edgekit.core.difference import (
    Difference,
    LayerDifference,
    TensorError,
    asked_tolerance,
    default_tolerance,
    worst,
)
from edgekit.core.errors import EngineError, UsageError
from edgekit.core.events import EventSink, Note, ignore
from edgekit.core.knobs import Knobs
from edgekit.core.model import FileRef
from edgekit.core.names import EngineName, Precision
from edgekit.core.quantisation import CalibrationSet

if TYPE_CHECKING:
    from edgekit.prepare.layer_models import LayerModels, Shown

_USUAL: Final[EngineName] = "onnxruntime"
_CALIBRATION_BYTES: Final = 1 << 30


@dataclass(frozen=True)
class DiffOptions:
    """What is compared, and where.

    Attributes:
        model: a recipe's name, or the path of an ONNX file.
        target, device: as in :class:`~edgekit.app.options.DeployOptions`.
        engine, precision: ``None`` for those of what is active on the device, if it is this
            model, else for ONNX Runtime's float32 or whatever else the device can run.
        size: input height and width in pixels, ``None`` for the recipe's own.
        frame: an image, ``None`` for the recipe's first.
        tolerance: share of a layer's range, ``None`` for the precision's own.
        calibration: folder of images for int8's ranges, ``None`` for the recipe's set.
        calibration_count: on how many of them.
        cut_head: whether a detector's decode is moved out of the graph.
        threads: ``None`` for the number of cores in the fastest cluster.
        knobs: what the engine's runner is told besides.
        timeout_s: after which one run on the device counts as hung.
    """

    model: str
    target: str | None = None
    device: str | None = None
    engine: EngineName | None = None
    precision: Precision | None = None
    size: tuple[int, int] | None = None
    frame: Path | None = None
    tolerance: float | None = None
    calibration: Path | None = None
    calibration_count: int | None = None
    cut_head: bool = True
    threads: int | None = None
    knobs: Knobs = ()
    accept_new: bool = False
    accept_licence: tuple[EngineName, ...] = ()
    timeout_s: float | None = None


def diff(options: DiffOptions, *, emit: EventSink = ignore) -> Difference:
    """Compare every layer on the device with ONNX Runtime on this host, on one frame.

    Nothing is activated, and nothing is remembered but the builds.

    Raises:
        UsageError: what was asked for cannot be meant.
        EngineError: the engine cannot run the model on the device, or shows no layer of it.
        DeviceError: the device cannot be reached, or was lost.
    """
    from edgekit.prepare.layer_models import LayerModels

    with ExitStack() as stack:
        start = line_up(_line_up_options(options), stack, emit=emit)
        arena = start.arena
        plan = _plan(start, options)
        frame = _frame(options, arena)
        scratch = stack.enter_context(tempfile.TemporaryDirectory(prefix="edgekit-diff-"))
        tensors = Path(scratch, "tensors")
        tensors.mkdir()
        with arena.step("diff:reference", f"Run {arena.model.name} here, layer by layer"):
            layers = LayerModels(arena.model, frame, tensors)
        runs = LayerRuns(arena, plan, layers, frame)
        with arena.step("diff:plain", f"Run {plan.candidate} as it is deployed"):
            plain = runs.plain(arena.model)
        answer = _answer(layers, plain)
        with arena.step("diff:accumulated", f"Show {len(layers.groups)} layers in the whole net"):
            summed = accumulated(runs, plain)
        calibrate = _calibrator(arena, plan, Path(scratch))
        with arena.step("diff:alone", f"Run {len(layers.groups)} layers each alone"):
            single = alone(runs, calibrate)
        return _difference(options, start, runs, answer, (summed, single))


def _line_up_options(options: DiffOptions) -> DeployOptions:
    return DeployOptions(
        model=options.model,
        target=options.target,
        device=options.device,
        engines=(options.engine,) if options.engine else (),
        precisions=(options.precision,) if options.precision else (),
        size=options.size,
        threads=options.threads,
        frames=1,
        accept_new=options.accept_new,
        accept_licence=options.accept_licence,
        activate=False,
        calibration=options.calibration,
        calibration_count=options.calibration_count,
        cut_head=options.cut_head,
        timeout_s=options.timeout_s,
    )


def _plan(start: Start, options: DiffOptions) -> Feasible:
    """Return what is compared, its int8 settled as for a deployment."""
    lane = _lane(start, options)
    if lane.candidate.precision == "int8":
        settle_int8(start.arena, [lane], effort="method")
        if not lane.running:
            raise EngineError(lane.finish().reason)
    knobs = {**dict(lane.candidate.knobs), **dict(options.knobs)}
    _check_knobs(lane, options.knobs)
    return replace(lane.plan, candidate=replace(lane.candidate, knobs=tuple(sorted(knobs.items()))))


def _check_knobs(lane: Lane, asked: Knobs) -> None:
    arena, engine = lane.arena, lane.plan.engine
    offered = engine.knobs(lane.candidate.precision, arena.target, arena.device.facts)
    known = {knob.name for knob in offered}
    for name, _ in asked:
        if name not in known:
            raise UsageError(
                f"{engine.name} has no knob {name} at {lane.candidate.precision} on "
                f"{arena.target.name}",
                hint=f"it has {', '.join(sorted(known)) or 'none'}",
            )


def parse_knob(text: str) -> tuple[str, str | int]:
    """Read ``name=value``.

    Raises:
        UsageError: it is not of this form.
    """
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"{text!r} is not a knob", hint="write NAME=VALUE, such as winograd=off")
    return name, int(value) if value.isdecimal() else value


def _lane(start: Start, options: DiffOptions) -> Lane:
    arena = start.arena
    if not start.lanes:
        reasons = [f"{row.candidate}: {row.reason}" for row in finished(start.rows)]
        raise EngineError(
            f"{arena.target.name} cannot run {arena.model.name} so: {'; '.join(reasons)}",
            hint="try another --engine or --precision",
        )
    if options.engine is None and options.precision is None:
        active = _active(start)
        if active is not None:
            return active
    # Stable: an engine's precisions stand with the safest first.
    return min(start.lanes, key=lambda lane: lane.candidate.engine != _USUAL)


def _active(start: Start) -> Lane | None:
    """Return the lane of what is active on the device, with its knobs, if it is this model."""
    arena = start.arena
    current = arena.device.status().current
    if current is None or current.name != arena.model.name:
        return None
    for lane in start.lanes:
        if (lane.candidate.engine, lane.candidate.precision) == (current.engine, current.precision):
            arena.emit(Note(f"compared as active on the device: {lane.candidate}"))
            lane.set(replace(lane.candidate, knobs=current.knobs))
            return lane
    return None


def _frame(options: DiffOptions, arena: Arena) -> FileRef:
    from edgekit.prepare.frames import frames_of

    return frames_of([options.frame])[0] if options.frame else arena.frames[0]


def _answer(layers: "LayerModels", plain: Outputs) -> TensorError:
    import numpy as np

    from edgekit.prepare.layer_errors import tensor_error

    return worst(
        [
            tensor_error(layers.value(name), np.load(path, allow_pickle=False))
            for name, path in plain.items()
        ]
    )


def _calibrator(arena: Arena, plan: Feasible, scratch: Path) -> Calibrate | None:
    """Return what makes the calibration sets of int8 layers; ``None`` where none is int8."""
    if plan.candidate.quantisation is None:
        return None

    def calibrate(shown: "Shown") -> CalibrationSet:
        from edgekit.prepare.layer_calibration import layer_calibration

        folder = Path(tempfile.mkdtemp(prefix="calibration-", dir=scratch))
        whole = arena.calibration()
        made = layer_calibration(arena.model, whole, shown.inputs, folder, _CALIBRATION_BYTES)
        if made.count < whole.count:
            text = f"layers alone are calibrated on {made.count} of {whole.count} samples"
            arena.emit(Note(f"{text}: their inputs take more room than the net's"))
        return made

    return calibrate


def _difference(
    options: DiffOptions,
    start: Start,
    runs: LayerRuns,
    answer: TensorError,
    found: tuple[LayerErrors, LayerErrors],
) -> Difference:
    arena, candidate = start.arena, runs.plan.candidate
    summed, single = found
    if not summed.found and not single.found:
        reasons = dict.fromkeys((*summed.refused.values(), *single.refused.values()))
        raise EngineError(
            f"{candidate} shows no layer of {arena.model.name}: {'; '.join(reasons)}",
            hint="compare another engine",
        )
    asked = options.tolerance
    precision = candidate.precision
    return Difference(
        model=arena.model.name,
        engine=candidate.engine,
        precision=precision,
        target=arena.target.name,
        device=start.located.name,
        knobs=candidate.knobs,
        quantisation=str(candidate.quantisation or ""),
        frame=runs.frame.sha256,
        tolerance=default_tolerance(precision)
        if asked is None
        else asked_tolerance(precision, asked),
        layers=_layers(runs.layers, summed, single),
        answer=answer,
        looking=worst(runs.looking) if runs.looking else None,
        builds=(summed.builds, single.builds),
        versions=runs.versions,
    )


def _layers(
    layers: "LayerModels", summed: LayerErrors, single: LayerErrors
) -> tuple[LayerDifference, ...]:
    makers = {tensor: group.name for group in layers.groups for tensor in group.made}
    return tuple(
        LayerDifference(
            name=group.name,
            nodes=tuple(str(node.name) for node in group.nodes),
            operators=group.operators,
            shape=layers.shape(group),
            feeds=tuple(makers[tensor] for tensor in group.given if tensor in makers),
            alone=single.found.get(group.name),
            accumulated=summed.found.get(group.name),
            remark=_remark(group.name, summed, single),
        )
        for group in layers.groups
    )


def _remark(name: str, summed: LayerErrors, single: LayerErrors) -> str:
    return "; ".join(
        f"{words} not measured: {side.refused[name]}"
        for words, side in (("in the net", summed), ("alone", single))
        if name in side.refused
    )
