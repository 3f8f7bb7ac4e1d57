"""From a candidate to a bundle: build, runtime, runner, job."""

import json
from collections.abc import Collection
from dataclasses import asdict, dataclass

from edgekit.app.quantise import refuse_int8
from edgekit.app.runtimes import refuse_sources, runtime_of
from edgekit.catalog.settings import settings
from edgekit.core.bundle import Bundle
from edgekit.core.candidate import Candidate
from edgekit.core.contracts import Engine, RuntimeSpec, Unsupported
from edgekit.core.events import EventSink
from edgekit.core.model import Model, StepSpec, TensorSpec
from edgekit.core.names import EngineName, Precision
from edgekit.core.quantisation import CalibrationSet, Int8
from edgekit.core.target import DeviceFacts, Target


@dataclass(frozen=True)
class Feasible:
    """A candidate that can be built for, and run on, the device."""

    candidate: Candidate
    engine: Engine
    runtime: RuntimeSpec


def candidates(
    engines: tuple[EngineName, ...], precisions: tuple[Precision, ...], threads: int
) -> tuple[Candidate, ...]:
    """List engine x precision, for the engines and precisions asked for (empty: all).

    Of all engines only the precisions that they offer are listed; an engine that was named is
    listed with every precision that was named, so that each gets a row and a reason.
    """
    from edgekit.engines import engine_names, load_engine

    known = engine_names()
    found = []
    for name in engines or known:
        offered = load_engine(name).precisions if name in known else ()
        wanted = precisions or offered or ("fp32",)
        listed = wanted if engines else tuple(item for item in wanted if item in offered)
        found += [Candidate(name, precision, (("threads", threads),)) for precision in listed]
    return tuple(found)


def feasible(
    candidate: Candidate,
    model: Model,
    target: Target,
    facts: DeviceFacts,
    *,
    accepted: Collection[EngineName] = (),
) -> Feasible | Unsupported:
    """Tell before anything is built or sent whether the candidate can be.

    Engines whose vendor's terms are ``accepted`` come beside those of the settings.
    """
    from edgekit.engines import engine_names, load_engine

    if candidate.engine not in engine_names():
        return Unsupported(
            f"this edgekit has no engine {candidate.engine} yet",
            hint=f"engines here: {', '.join(engine_names())}",
        )
    engine = load_engine(candidate.engine)
    if candidate.precision not in engine.precisions:
        offered = ", ".join(engine.precisions)
        return Unsupported(f"{engine.name} does not offer {candidate.precision} (only {offered})")
    refusal = refuse_int8(model) if candidate.precision == "int8" else None
    refusal = refusal or engine.check(model, candidate.precision, target)
    if refusal is not None:
        return refusal
    runtime = engine.runtime(target, facts)
    if isinstance(runtime, Unsupported):
        return runtime
    refusal = refuse_sources(runtime) or refuse_terms(engine, accepted)
    return refusal or Feasible(candidate, engine, runtime)


def refuse_terms(engine: Engine, accepted: Collection[EngineName]) -> Unsupported | None:
    """Tell that an engine's tools come under terms that nobody has accepted."""
    licence = engine.toolbox.licence
    if licence is None or engine.name in {*accepted, *settings().accept_licence}:
        return None
    return Unsupported(
        f"{engine.name} needs its vendor's tools, whose terms you have not accepted: "
        f"{licence.name} ({licence.allows})",
        hint=f"read {licence.url}, then --accept-licence {engine.name}",
    )


def assemble(
    plan: Feasible,
    model: Model,
    target: Target,
    facts: DeviceFacts,
    *,
    calibration: CalibrationSet | None = None,
    judged: bool = True,
    emit: EventSink,
) -> Bundle:
    """Build the engine's files and put them together with runner, runtime and job.

    What is not ``judged`` may give other values than ONNX Runtime.

    Raises:
        EngineError: the toolbox, the build or the board's wheels are not to be had.
    """
    from edgekit.toolbox.build import build
    from edgekit.toolbox.native import native_libraries
    from edgekit.toolbox.runner_pack import pack_runner

    candidate = plan.candidate
    files = build(
        plan.engine,
        model,
        candidate.precision,
        target,
        int8=_int8(candidate, calibration),
        emit=emit,
        judged=judged,
    )
    runtime = runtime_of(plan.runtime, facts, emit=emit)
    # For the machine that runs it, which judges int8 in a board's stead.
    ours = (pack_runner(plan.engine), *native_libraries(facts.machine, emit=emit))
    return Bundle(
        name=model.name,
        engine=candidate.engine,
        precision=candidate.precision,
        target=target.name,
        architecture=target.architecture,
        compatible=target.compatible,
        files=(*files, *ours),
        runtime=runtime,
        job_json=_job(plan.engine, model),
        knobs=candidate.knobs,
    )


def _int8(candidate: Candidate, calibration: CalibrationSet | None) -> Int8 | None:
    if candidate.quantisation is None or calibration is None:
        return None
    return Int8(candidate.quantisation, calibration)


def _job(engine: Engine, model: Model) -> str:
    job = {
        "runner": engine.runner_module,
        "inputs": [_tensor(spec) for spec in model.inputs],
        "outputs": [_tensor(spec) for spec in model.outputs],
        "preprocess": _step(model.pipeline.preprocess),
        "postprocess": _step(model.pipeline.postprocess),
        "classes": list(model.classes),
    }
    return json.dumps(job, sort_keys=True)


def _tensor(spec: TensorSpec) -> dict[str, object]:
    return {**asdict(spec), "shape": list(spec.shape)}


def _step(step: StepSpec) -> dict[str, object]:
    return {"name": step.name, "parameters": json.loads(step.parameters_json)}
