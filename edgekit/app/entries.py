"""A candidate that stands built, and its runs on the device; each run is remembered."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

from edgekit.app.arena import Arena
from edgekit.app.bundles import Feasible, assemble
from edgekit.bench.latency import disturbance, summarise
from edgekit.bench.validity import judge
from edgekit.core.bundle import Bundle
from edgekit.core.candidate import Candidate
from edgekit.core.events import Event, EventSink, Note, StepProgress
from edgekit.core.knobs import Knobs
from edgekit.core.measurement import Accuracy, BenchPlan, OutputError
from edgekit.core.validity import Reason

if TYPE_CHECKING:
    from edgekit.device import RunRequest, RunResult


@dataclass(frozen=True)
class Entry:
    """A candidate and its bundle as it was built here.

    ``content`` names what runs, whatever the knobs: runs under other knobs need no other files.
    Nor does it name what devices make of the bundle: that changes nothing of what is found out.

    Attributes:
        first_load_s: as the engine's runtime has it.
    """

    candidate: Candidate
    bundle: Bundle
    first_load_s: float = 0.0

    @property
    def content(self) -> str:
        """Identity of everything but the knobs."""
        return replace(self.bundle, knobs=()).identity


@dataclass(frozen=True)
class Timing:
    """One process's samples.

    Attributes:
        doubts: what speaks against believing them, by the device's state around the run.
    """

    model_ns: tuple[int, ...]
    end_to_end_ns: tuple[int, ...]
    load_ns: int | None
    memory_peak_bytes: int | None
    versions: tuple[tuple[str, str], ...]
    measured_at_s: int
    doubts: tuple[Reason, ...] = ()


def enter(arena: Arena, plan: Feasible, candidate: Candidate) -> Entry:
    """Build a candidate; nothing is sent yet.

    Raises:
        EngineError: the toolbox, the build or the board's wheels are not to be had.
        ModelError: a rewrite does not apply.
    """
    calibration = arena.calibration(candidate.rewrites) if candidate.quantisation else None
    with arena.stopwatch.lap("build"):
        bundle = assemble(
            replace(plan, candidate=candidate),
            arena.variant(candidate.rewrites),
            arena.target,
            arena.device.facts,
            calibration=calibration,
            emit=arena.emit,
        )
    return Entry(candidate, bundle, plan.runtime.first_load_s)


def complete(arena: Arena, entry: Entry) -> Bundle:
    """Return the bundle with what identical devices made of it, as it is sent and activated."""
    return arena.prebuilt.completed(entry.bundle) if entry.first_load_s else entry.bundle


def time_once(
    arena: Arena, entry: Entry, knobs: Knobs, plan: BenchPlan, turn: int, *, again: bool = False
) -> Timing:
    """Measure one process of a candidate under ``knobs``.

    What was disturbed so much that its mean went astray is not remembered; what is doubted for
    other reasons is, together with them.

    Args:
        arena: the device and what is measured on it.
        entry: the candidate.
        knobs: how it is run.
        plan: how long.
        turn: which of its turns this is: each is remembered by itself.
        again: measure even if it was measured before.

    Raises:
        EngineError: the runner crashed, hung or answered with what is no number.
        DeviceError: the device was lost.
    """
    from edgekit.device import RunRequest, Watch

    # The engine's call alone is timed on the first frame; the whole way, on all in turn.
    frames = arena.frames if plan.end_to_end else arena.frames[:1]
    hashes = tuple(frame.sha256 for frame in frames)
    key = ("time", entry.content, knobs, asdict(plan), hashes, turn)
    held = None if again else arena.memory.recall(*key)
    if held is None:
        request = RunRequest(
            kind="time",
            frames=hashes,
            plan=plan,
            knobs=knobs,
            timeout_s=arena.limits.timeout_s,
            # An emulated processor's times are not believed whatever its state.
            watch=None if arena.emulated else Watch(),
        )
        arena.deliver_frames(frames)
        result = run(arena, entry, request, _quiet)
        found = _timing_as_json(result)
        if disturbance(summarise(result.model_ns)):
            return _timing({"measured_at_s": int(time.time()), **found})
        held = arena.memory.keep(found, *key)
    return _timing(held)


def compare(arena: Arena, entry: Entry, knobs: Knobs) -> tuple[OutputError, Accuracy]:
    """Hold a candidate's outputs on the device against the float reference.

    Raises:
        EngineError: the runner crashed or hung, or an output is missing or no number.
        DeviceError: the device was lost.
    """
    from edgekit.device import RunRequest
    from edgekit.prepare.compare import compare_answers, compare_outputs

    frames = [frame.sha256 for frame in arena.frames]
    key = ("compare", entry.content, knobs, frames, arena.model.reference.sha256)
    held = arena.memory.recall(*key)
    if held is None:
        arena.deliver_frames(arena.frames)
        step = f"compare:{entry.candidate.engine}:{entry.candidate.precision}"
        request = RunRequest(
            kind="infer",
            frames=tuple(frames),
            knobs=knobs,
            timeout_s=arena.limits.timeout_s,
            step=step,
        )
        with arena.step(step, f"Compare the outputs of {entry.candidate}"):
            result = run(arena, entry, request, arena.emit)
        assert arena.reference is not None  # noqa: S101 - who compares lined up to judge
        with arena.stopwatch.lap("score"):
            error = compare_outputs(arena.reference, result.outputs, result.answers)
            accuracy = compare_answers(arena.reference, result.answers, result.outputs)
        value = {"error": error.as_json(), "accuracy": accuracy.as_json()}
        held = arena.memory.keep(value, *key)
    return OutputError(**held["error"]), accuracy_of(held["accuracy"])


def evaluate(arena: Arena, entry: Entry, knobs: Knobs) -> Accuracy | None:
    """Tell a candidate's accuracy on the device; ``None`` where the recipe names no set for it.

    Raises:
        EngineError: the runner crashed or hung, or an answer is no number.
        DeviceError: the device was lost.
    """
    from edgekit.app.accuracy import score
    from edgekit.device import RunRequest

    evaluation = arena.evaluation
    if evaluation is None:
        return None
    key = ("evaluate", entry.content, knobs, evaluation.identity, arena.limits.max_drop)
    held = arena.memory.recall(*key)
    if held is None:
        expected = arena.expected()
        arena.deliver_frames(evaluation.frames)
        step = f"evaluate:{entry.candidate.engine}:{entry.candidate.precision}"
        request = RunRequest(
            kind="evaluate",
            frames=tuple(frame.sha256 for frame in evaluation.frames),
            knobs=knobs,
            postprocess_json=evaluation.postprocess_json,
            timeout_s=arena.limits.timeout_s,
            step=step,
        )
        with arena.step(step, f"Evaluate {entry.candidate}"):
            result = run(arena, entry, request, arena.emit)
        with arena.stopwatch.lap("score"):
            accuracy = score(evaluation, expected, result.answers, max_drop=arena.limits.max_drop)
        held = arena.memory.keep({"accuracy": accuracy.as_json()}, *key)
    return accuracy_of(held["accuracy"])


def accuracy_of(value: Mapping[str, Any]) -> Accuracy:
    """Read an accuracy back from its JSON form."""
    interval = value["interval"]
    return Accuracy(**{**value, "interval": tuple(interval) if interval else None})


def run(arena: Arena, entry: Entry, request: "RunRequest", emit: EventSink) -> "RunResult":
    """Send and run a candidate; keep what the device made of it at its first load.

    Raises:
        EngineError: the runner crashed or hung.
        DeviceError: the device was lost.
    """
    bundle = complete(arena, entry)
    arena.deliver(bundle)
    if entry.first_load_s and entry.content not in arena.loaded:
        # Also where something was made elsewhere: this device may refuse it and make its own.
        request = replace(request, timeout_s=request.timeout_s + entry.first_load_s)
        if bundle is entry.bundle:
            arena.emit(_first_load(entry))
    with arena.stopwatch.lap("measure"):
        result = arena.device.run(
            bundle.identity, replace(request, made=entry.first_load_s > 0), emit
        )
    arena.loaded.add(entry.content)
    if result.made:
        arena.prebuilt.keep(entry.bundle, result.made)
    return result


def _first_load(entry: Entry) -> Note:
    minutes = entry.first_load_s / 60
    return Note(
        f"{entry.candidate}: the device itself ends this build at its first load, which may take "
        f"many minutes (at most {minutes:.0f}); identical devices will be sent what it makes"
    )


def _quiet(event: Event) -> None:
    """Progress within a second tells nobody anything; the stage has its own."""
    assert isinstance(event, StepProgress)  # noqa: S101 - a run emits nothing else


def _doubts(result: "RunResult") -> tuple[Reason, ...]:
    """Return what the device's state says against the run; noise is judged over all turns."""
    if len(result.health) < 2:  # noqa: PLR2004 - before and after
        return ()
    before, *during, after = result.health
    return judge(before, during, after, ()).reasons


def _timing_as_json(result: "RunResult") -> Mapping[str, Any]:
    return {
        "doubts": [asdict(reason) for reason in _doubts(result)],
        "model_ns": list(result.model_ns),
        "end_to_end_ns": list(result.end_to_end_ns),
        "load_ns": result.load_ns,
        "memory_peak_bytes": result.memory_peak_bytes,
        "versions": dict(result.versions),
    }


def _timing(held: Mapping[str, Any]) -> Timing:
    return Timing(
        model_ns=tuple(held["model_ns"]),
        end_to_end_ns=tuple(held["end_to_end_ns"]),
        load_ns=held["load_ns"],
        memory_peak_bytes=held["memory_peak_bytes"],
        versions=tuple(sorted(held["versions"].items())),
        measured_at_s=held["measured_at_s"],
        doubts=tuple(Reason(**reason) for reason in held.get("doubts", ())),
    )
