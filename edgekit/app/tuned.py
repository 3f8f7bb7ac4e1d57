"""What tuning found out, brought to where a model is built."""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.app.bundles import Feasible
from edgekit.app.records import records_file
from edgekit.app.scopes import scope_of
from edgekit.app.tuning_worker import start_worker
from edgekit.catalog.cache import KeyedCache, cache_root
from edgekit.core.contracts import Engine
from edgekit.core.errors import EdgekitError
from edgekit.core.events import EventSink, Note, StepFinished, StepStarted
from edgekit.core.model import Model
from edgekit.core.names import Precision
from edgekit.core.target import Target
from edgekit.tune.record import Scope
from edgekit.tune.records import Records, open_records

if TYPE_CHECKING:
    from edgekit.tune.worker import Greeting

_TASKS: Final = "tasks.json"


def with_records(
    plan: Feasible, model: Model, target: Target, *, emulated: bool, emit: EventSink
) -> Feasible | None:
    """Return the plan with an engine that builds by tuning records; ``None`` if there are none.

    Records that cannot be used are told of, and cost no race.
    """
    precision = plan.candidate.precision
    try:
        engine = tuned_engine(plan.engine, model, precision, target, emulated=emulated, emit=emit)
    except EdgekitError as error:
        emit(Note(f"tuning records are not used: {error}", warning=True))
        return None
    return None if engine is None else replace(plan, engine=engine)


def tuned_engine(
    engine: Engine,
    model: Model,
    precision: Precision,
    target: Target,
    *,
    emulated: bool,
    emit: EventSink,
) -> Engine | None:
    """Return the engine with the best record of each of the model's tasks, ``None`` without any.

    For an emulated board, records of real ones count. Where there are none, instructions that were
    counted do, and then its own times.
    """
    from edgekit.engines.tvm import Tvm

    path = records_file()
    if not engine.tunable or not path.exists():
        return None
    scopes = [scope_of(target)]
    if emulated:
        scopes += [scope_of(target, cost="instructions"), scope_of(target, emulated=True)]
    # Quickly: this is looked up at every deploy.
    with open_records(path, emit=emit, thorough=False) as records:
        known = {each.scope for each in records.scopes() if each.trials > each.failures}
        scope = next((each for each in scopes if each in known), None)
        if scope is None:
            return None
        tasks = tasks_of(model, precision, target, emit=emit)
        if precision == "int8":
            # Layers that must stay in float are tasks of the float model.
            tasks += tasks_of(model, "fp32", target, emit=emit)
        best = _best(records, scope, tuple(dict.fromkeys(tasks)))
    return Tvm(json.dumps(best, sort_keys=True)) if best else None


def tasks_of(
    model: Model, precision: Precision, target: Target, *, emit: EventSink
) -> tuple[str, ...]:
    """Return the structural hashes of a model's tasks; found out once in the toolbox."""
    cache = KeyedCache(cache_root() / "tasks")
    key = _key(model, precision, target)
    held = cache.get(key) or cache.build(
        key,
        lambda folder: _ask(folder, model, precision, target, emit),
        emit=emit,
        subject=f"the tasks of {model.name}",
    )
    return tuple(json.loads((held / _TASKS).read_text(encoding="utf-8")))


def remember_tasks(
    model: Model, precision: Precision, target: Target, greeting: "Greeting"
) -> None:
    """Keep what a worker told, so that no build needs to ask again."""
    KeyedCache(cache_root() / "tasks").build(
        _key(model, precision, target), lambda folder: _write(folder, greeting)
    )


def _ask(folder: Path, model: Model, precision: Precision, target: Target, emit: EventSink) -> None:
    step = "tasks"
    emit(StepStarted(step, f"See which tuning records fit {model.name}"))
    try:
        with (
            tempfile.TemporaryDirectory(prefix="edgekit-tune-") as scratch,
            start_worker(model, target, Path(scratch), precision=precision, emit=emit) as worker,
        ):
            _write(folder, worker.greeting())
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    emit(StepFinished(step))


def _write(folder: Path, greeting: "Greeting") -> None:
    hashes = [task.structural_hash for task in greeting.tasks]
    (folder / _TASKS).write_text(json.dumps(hashes), encoding="utf-8")


def _key(model: Model, precision: Precision, target: Target) -> str:
    from edgekit.engines.tvm import ENGINE
    from edgekit.engines.tvm.tuning import TOOLBOX
    from edgekit.toolbox.environments import lock_sha256

    scope: Scope = scope_of(target)  # names the CPU that "native" is, too
    settings = ENGINE.build_settings(model, precision, target)
    facts = [model.onnx.sha256, precision, settings, scope.as_text(), lock_sha256(TOOLBOX)]
    return json.dumps(facts)


def _best(records: Records, scope: Scope, hashes: tuple[str, ...]) -> dict[str, dict[str, object]]:
    found: dict[str, dict[str, object]] = {}
    for structural_hash in hashes:
        record = records.best(scope, structural_hash)
        if record is not None:
            found[structural_hash] = {"trace": record.trace, "costs": list(record.costs)}
    return found
