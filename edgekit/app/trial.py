"""One candidate from feasibility to a scored row. What breaks is a row, not the end."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgekit.app.bundles import Feasible, assemble, feasible
from edgekit.app.stopwatch import Stopwatch
from edgekit.bench.latency import disturbance, frames_per_second, summarise
from edgekit.core.bundle import Bundle, BundleFile
from edgekit.core.candidate import Candidate, CandidateResult
from edgekit.core.contracts import Unsupported
from edgekit.core.errors import EngineError, MeasurementInvalidError
from edgekit.core.events import EventSink, StepFinished, StepStarted
from edgekit.core.measurement import BenchPlan, Measurement
from edgekit.core.model import FileRef, Model
from edgekit.core.report import Transfer
from edgekit.core.target import Target

if TYPE_CHECKING:
    from edgekit.device import Device, RunResult
    from edgekit.prepare.reference import ReferenceOutputs

_NS_PER_MS = 1e6


@dataclass
class Bench:
    """What the trials of one deployment share. ``transfer`` counts what all of them sent."""

    device: "Device"
    model: Model
    target: Target
    frames: tuple[FileRef, ...]
    reference: "ReferenceOutputs"
    plan: BenchPlan
    max_drop: float
    emit: EventSink
    stopwatch: Stopwatch
    transfer: Transfer = field(default_factory=lambda: Transfer(0, 0, 0))


def check_all(bench: Bench, wanted: tuple[Candidate, ...]) -> list[Feasible | CandidateResult]:
    """Sort out, before anything is sent, which candidates cannot be."""
    found: list[Feasible | CandidateResult] = []
    for candidate in wanted:
        plan = feasible(candidate, bench.model, bench.target, bench.device.facts)
        if isinstance(plan, Unsupported):
            reason = f"{plan.reason}; {plan.hint}" if plan.hint else plan.reason
            found.append(CandidateResult(candidate, "unsupported", reason))
        else:
            found.append(plan)
    return found


def run_trial(bench: Bench, plan: Feasible) -> CandidateResult:
    """Build, push, install, run and score one candidate.

    Raises:
        DeviceError: the device was lost; nothing can go on.
    """
    candidate = plan.candidate
    try:
        with bench.stopwatch.lap("build"):
            bundle = assemble(plan, bench.model, bench.target, bench.device.facts, emit=bench.emit)
    except EngineError as error:
        return CandidateResult(candidate, "failed", _in_one_line(error))
    row = CandidateResult(candidate, "ok", size_bytes=bundle.size_bytes, bundle=bundle.identity)
    _deliver(bench, bundle)
    try:
        with bench.stopwatch.lap("measure"):
            result = _measure(bench, bundle)
        return _score(bench, replace(row, measurement=_measurement(bench, result)), result)
    except EngineError as error:
        return replace(row, status="failed", reason=_in_one_line(error))
    except MeasurementInvalidError as error:
        return replace(row, status="invalid", reason=_in_one_line(error))


def frame_content(frames: Sequence[FileRef]) -> tuple[BundleFile, ...]:
    """Return frames as content that can be pushed to a device."""
    return tuple(
        BundleFile(f"frames/{frame.sha256}", frame.sha256, frame.size_bytes, frame.path)
        for frame in frames
    )


def _deliver(bench: Bench, bundle: Bundle) -> None:
    with bench.stopwatch.lap("push"):
        sent = bench.device.push(bundle.content, bench.emit)
        bench.transfer = Transfer(
            bench.transfer.files_sent + sent.files_sent,
            bench.transfer.bytes_sent + sent.bytes_sent,
            bench.transfer.files_present + sent.files_present,
        )
    with bench.stopwatch.lap("install"):
        bench.device.install(bundle, bench.emit)


def _measure(bench: Bench, bundle: Bundle) -> "RunResult":
    from edgekit.device import RunRequest

    step = f"run:{bundle.engine}:{bundle.precision}"
    request = RunRequest(
        kind="bench",
        frames=tuple(frame.sha256 for frame in bench.frames),
        plan=bench.plan,
        step=step,
    )
    with _step(bench.emit, step, f"Measure {bundle.engine} {bundle.precision}"):
        return bench.device.run(bundle.identity, request, bench.emit)


def _measurement(bench: Bench, result: "RunResult") -> Measurement:
    emulated = bench.device.facts.emulated
    return Measurement(
        model=summarise(result.model_ns),
        end_to_end=summarise(result.end_to_end_ns) if result.end_to_end_ns else None,
        fps=None if emulated else frames_per_second(result.model_ns),
        memory_peak_bytes=result.memory_peak_bytes,
        load_ms=None if result.load_ns is None else result.load_ns / _NS_PER_MS,
        emulated=emulated,
        samples_ns=tuple(result.model_ns),
        end_to_end_samples_ns=tuple(result.end_to_end_ns),
        versions=tuple(sorted(result.versions.items())),
    )


def _score(bench: Bench, row: CandidateResult, result: "RunResult") -> CandidateResult:
    from edgekit.prepare.compare import compare_answers, compare_outputs

    with bench.stopwatch.lap("score"):
        error = compare_outputs(bench.reference, result.outputs, result.answers)
        accuracy = compare_answers(bench.reference, result.answers, result.outputs)
    scored = replace(row, error=error, accuracy=accuracy)
    if accuracy.drop > bench.max_drop:
        return replace(
            scored,
            status="gate",
            reason=f"{accuracy.metric} {accuracy.value:.4f}: a drop of {accuracy.drop:.4f}, "
            f"more than {bench.max_drop:g}",
        )
    measured = scored.measurement
    if measured is None or measured.emulated:
        return scored
    return replace(scored, reason=disturbance(measured.model) or "")


def _in_one_line(error: EngineError | MeasurementInvalidError) -> str:
    text = f"{error.message} ({error.hint})" if error.hint else error.message
    return " ".join(text.split())


@contextmanager
def _step(emit: EventSink, step: str, title: str) -> Iterator[None]:
    emit(StepStarted(step, title))
    try:
        yield
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    emit(StepFinished(step))
