"""``layers``: where a model's time goes on a device, layer by layer, for each engine."""

import json
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.app.arena import Arena
from edgekit.app.entries import Entry, complete
from edgekit.app.lanes import Lane
from edgekit.app.options import DeployOptions
from edgekit.app.settle import settle_int8
from edgekit.app.start import line_up
from edgekit.core.candidate import CandidateResult
from edgekit.core.errors import RunnerError
from edgekit.core.events import EventSink, ignore
from edgekit.core.layers import LayerProfile, LayersRow, LayerTime
from edgekit.core.measurement import BenchPlan

if TYPE_CHECKING:
    from edgekit.engines.onnx_layers import Row

_FILE: Final = "layers.json"  # edgekit.onboard.profiling.FILE
_PLAN: Final = BenchPlan(min_runs=30, min_seconds=0.5, max_seconds=60.0, end_to_end=False)
_NS_PER_MS: Final = 1e6


@dataclass(frozen=True)
class Layers:
    """What was asked for and found: a row for each candidate."""

    model: str
    target: str
    device: str
    emulated: bool
    rows: tuple[LayersRow, ...]

    def as_json(self) -> Mapping[str, Any]:
        """The result under the names that scripts rely on."""
        return {
            "model": self.model,
            "target": self.target,
            "device": self.device,
            "emulated": self.emulated,
            "rows": [row.as_json() for row in self.rows],
        }


def layers(options: DeployOptions, *, emit: EventSink = ignore) -> Layers:
    """Profile every candidate on the device; nothing is activated and nothing remembered.

    Raises:
        UsageError: what was asked for cannot be meant.
        DeviceError: the device cannot be reached, was lost, or is not what the target says.
    """
    with ExitStack() as stack:
        start = line_up(replace(options, quick=True, activate=False), stack, emit=emit)
        arena = start.arena
        lanes = [lane for lane in start.lanes if _can_tell(lane)]
        settle_int8(arena, lanes, effort="first")
        profiles = {id(lane): _profiled(lane, options.plan) for lane in lanes}
        rows = tuple(_row(row, profiles) for row in start.rows)
        return Layers(
            model=arena.model.name,
            target=arena.target.name,
            device=start.located.name,
            emulated=arena.emulated,
            rows=rows,
        )


def layers_of(lane: Lane) -> LayerProfile | None:
    """Profile one candidate that stands on the device; ``None`` where its engine cannot tell.

    Raises:
        RunnerError: the profile cannot be read.
        DeviceError: the device was lost.
    """
    from edgekit.engines.onnx_layers import load_mapper

    if load_mapper(lane.plan.engine.name) is None:
        return None
    return _profile(lane, lane.arena.limits.plan if lane.arena.emulated else _PLAN)


def _can_tell(lane: Lane) -> bool:
    from edgekit.engines.onnx_layers import load_mapper

    name = lane.plan.engine.name
    if load_mapper(name) is not None:
        return True
    lane.end("unsupported", f"edgekit does not tell {name}'s layers: not verified on hardware")
    return False


def _profiled(lane: Lane, plan: BenchPlan | None) -> LayerProfile | None:
    if lane.running:
        lane.build()
    if not lane.running:
        return None
    arena = lane.arena
    wanted = plan or (arena.limits.plan if arena.emulated else _PLAN)
    return lane.attempt(lambda: _profile(lane, wanted))


def _row(row: Lane | CandidateResult, profiles: Mapping[int, LayerProfile | None]) -> LayersRow:
    profile = profiles.get(id(row))
    result = row.finish() if isinstance(row, Lane) else row
    return LayersRow(result.candidate, result.status, result.reason, profile)


def _profile(lane: Lane, plan: BenchPlan) -> LayerProfile:
    from edgekit.device import RunRequest

    arena, entry = lane.arena, lane.entry()
    bundle = complete(arena, entry)
    frames = arena.frames[:1]
    step = f"profile:{entry.candidate.engine}:{entry.candidate.precision}"
    request = RunRequest(
        kind="profile",
        frames=tuple(frame.sha256 for frame in frames),
        plan=plan,
        knobs=entry.candidate.knobs,
        timeout_s=arena.limits.timeout_s + entry.first_load_s,
        made=True,
        step=step,
    )
    arena.deliver(bundle)
    arena.deliver_frames(frames)
    with arena.step(step, f"Profile the layers of {entry.candidate}"):
        result = arena.device.run(bundle.identity, request, arena.emit)
        files = {file.path: file.source for file in entry.bundle.files} | dict(result.made)
        files |= _twins(arena, lane, files)
        profile = _mapped(arena, entry, files)
    return profile.untimed() if arena.emulated else profile


def _twins(arena: Arena, lane: Lane, files: Mapping[str, Path]) -> dict[str, Path]:
    """Return which tensors of the engine's are which of the model's, where names do not tell."""
    from edgekit.toolbox.build import build
    from edgekit.toolbox.twins import FILE, twins, twins_of, values_script

    engine, model = lane.plan.engine, arena.variant(lane.candidate.rewrites)
    if "values.json" in files:  # told by the device
        place = files["values.json"].with_name(FILE)
        return {FILE: twins_of(model, files["inputs.npz"], files["values.json"], place)}
    if values_script(engine) is None:
        return {}
    # Values are compared of fp32: its tensors are called as those of any other precision.
    plain = build(engine, model, "fp32", arena.target, emit=ignore)
    found = twins(engine, model, plain, emit=arena.emit)
    return {FILE: found} if found is not None else {}


def _mapped(arena: Arena, entry: Entry, files: Mapping[str, Path]) -> LayerProfile:
    """Read what the runner told, and put it in the names of the ONNX model."""
    from edgekit.engines.onnx_layers import OnnxGraph, load_mapper

    mapper = load_mapper(entry.candidate.engine)
    assert mapper is not None  # noqa: S101 - who cannot tell was sorted out before
    try:
        told = json.loads(files[_FILE].read_text(encoding="utf-8"))
        rows = tuple(_read(row) for row in told["layers"])
        graph = OnnxGraph(arena.variant(entry.candidate.rewrites).onnx.path)
        groups = graph.grouped(mapper(rows, graph, files))
        model_ms, run_ms = (float(told[name]) / _NS_PER_MS for name in ("model_ns", "run_ns"))
        ratio = float(told["fastest_run_ns"]) / float(told["fastest_model_ns"])
        runs, method = int(told["runs"]), str(told["method"])
    except (ValueError, KeyError, TypeError, ZeroDivisionError) as error:
        raise RunnerError(f"the runner's {_FILE} cannot be read: {error!r}") from error
    total_ns = sum(row.time_ns for row in rows)
    if total_ns == 0:
        raise RunnerError(
            f"every layer is shorter than {entry.candidate.engine}'s clock can tell",
            hint="profile a larger model, or one with a larger --size",
        )
    found = tuple(
        _layer([rows[at] for at in group.rows], group.nodes, total_ns) for group in groups
    )
    return LayerProfile(
        engine=entry.candidate.engine,
        precision=entry.candidate.precision,
        layers=found,
        total_ms=total_ns / _NS_PER_MS,
        model_ms=model_ms,
        unmapped_share=sum(layer.share for layer in found if not layer.nodes),
        run_ms=run_ms,
        ratio=ratio,
        runs=runs,
        method=method,
    )


def _read(row: Mapping[str, Any]) -> "Row":
    from edgekit.engines.onnx_layers import Row

    return Row(
        name=str(row["name"]),
        operator=str(row["operator"]),
        unit=str(row["unit"]),
        time_ns=int(row["time_ns"]),
        kernel=str(row.get("kernel", "")),
        facts=row,
    )


def _layer(rows: "list[Row]", nodes: tuple[str, ...], total_ns: int) -> LayerTime:
    def joined(values: list[str], between: str) -> str:
        return between.join(dict.fromkeys(value for value in values if value))

    time_ns = sum(row.time_ns for row in rows)
    return LayerTime(
        name=joined([row.name for row in rows], " + "),
        nodes=nodes,
        operator=joined([row.operator for row in rows], " + "),
        time_ns=time_ns,
        share=time_ns / total_ns,
        unit=joined([row.unit for row in rows], " + "),
        kernel=joined([row.kernel for row in rows], " + "),
    )
