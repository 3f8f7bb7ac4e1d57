"""The use case of tuning: schedules tried on boards until they are fast, each trial kept."""

import json
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.app.bundles import feasible
from edgekit.app.cluster import scheduler_address
from edgekit.app.counting import check_countable, counting_on
from edgekit.app.devices import Located, locate, open_device, required_target
from edgekit.app.kernel_lane import KernelPlan, Place, passing_file
from edgekit.app.kernels import DeviceBench
from edgekit.app.models import prepared_model, resolve_recipe
from edgekit.app.quantise import refuse_int8
from edgekit.app.records import own_records
from edgekit.app.runtimes import runtime_of
from edgekit.app.scopes import scope_of
from edgekit.app.tuned import remember_tasks
from edgekit.app.tuning_worker import start_worker
from edgekit.core.bundle import Bundle
from edgekit.core.candidate import Candidate
from edgekit.core.contracts import Unsupported
from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, Note, ignore
from edgekit.core.model import Model
from edgekit.core.names import Precision
from edgekit.core.target import Target
from edgekit.tune.record import CostKind, Scope
from edgekit.tune.records import Records
from edgekit.tune.session import Limits, Session, Tuned
from edgekit.tune.worker import Greeting

if TYPE_CHECKING:
    from edgekit.board.counting_launcher import Launcher
    from edgekit.device import Device

_ENGINE: Final = "tvm"
_COUNTING_LIMIT_S: Final = 120.0  # the emulator that counts is slower still


@dataclass(frozen=True)
class TuneOptions:
    """What is to be tuned, where, and for how long.

    Attributes:
        devices: names or addresses of boards of one kind; empty: as ``locate`` finds one.
        limits: when to stop.
        size: input height and width in pixels; ``None`` for the recipe's own.
        seed: where the search starts.
        workers: what compiles candidates, such as ``dask://10.0.0.5:8786``; ``None``: this machine.
        cost: what a candidate is judged by: its time, or, on virtual boards alone, how many
            instructions it executes.
        away_s: how long to wait while no device at all can be reached.
    """

    model: str
    target: str | None = None
    devices: tuple[str, ...] = ()
    limits: Limits = field(default_factory=Limits)
    size: tuple[int, int] | None = None
    precision: Precision = "fp32"
    seed: int = 0
    accept_new: bool = False
    workers: str | None = None
    cost: CostKind = "seconds"
    away_s: float = 1800.0


@dataclass(frozen=True)
class TuneReport:
    """What a session came to, and where it is kept.

    Attributes:
        emulated: whether costs are those of an emulated processor: times of one mean nothing to a
            real one.
    """

    model: str
    scope: Scope
    records: Path
    tuned: Tuned
    emulated: bool = False


def tune(options: TuneOptions, *, emit: EventSink = ignore) -> TuneReport:
    """Tune a model for a kind of board on one or more of its boards.

    Interrupted (``KeyboardInterrupt``), it ends in good order and says so in the report.

    Raises:
        UsageError: model, target or device cannot be meant, or TVM cannot serve them.
        DeviceError: a device cannot be reached at the start, or none could for ``away_s``.
        EngineError: the toolbox or the cluster is not to be had, or nothing that is built runs.
    """
    scheduler = scheduler_address(options.workers) if options.workers else None
    located = [locate(name, options.target) for name in options.devices or (None,)]
    _refuse_twice(located)
    targets = {target.name: target for target in map(required_target, located)}
    if len(targets) != 1:
        raise UsageError(
            f"the devices are of different kinds: {', '.join(sorted(targets))}",
            hint="records of one kind of board are of no use to another: tune one after the other",
        )
    (target,) = targets.values()
    if options.cost == "instructions":
        for each in located:
            check_countable(each)
    model = prepared_model(resolve_recipe(options.model), options.size, emit=emit)
    _refuse_model(model, options.precision, target)
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="edgekit-tune-")))
        worker = stack.enter_context(
            start_worker(
                model,
                target,
                scratch,
                precision=options.precision,
                seed=options.seed,
                scheduler=scheduler,
                emit=emit,
            )
        )
        greeting = worker.greeting()
        remember_tasks(model, options.precision, target, greeting)
        bench, emulated = _bench(located, target, model, greeting, options, emit)
        stack.callback(bench.close)
        scope = scope_of(target, emulated=emulated, cost=options.cost)
        records = stack.enter_context(own_records(emit))
        _tell_unused(records, scope, emit)
        session = Session(worker, greeting, bench, records, scope, emit=emit)
        tuned = session.run(f"Tune {model.name} for {target.title or target.name}", options.limits)
        return TuneReport(model.name, scope, records.path, tuned, emulated)


def _refuse_twice(located: Sequence[Located]) -> None:
    """Refuse a device that is named twice: it would be measured on while it measures."""
    places = [each.address or each.board or each.target for each in located]
    for index, place in enumerate(places):
        first = places.index(place)
        if first != index:
            raise UsageError(
                f"{located[first].name} and {located[index].name} are one device",
                hint="name each board once; virtual boards have names: virtual:a,virtual:b",
            )


def _refuse_model(model: Model, precision: Precision, target: Target) -> None:
    """Refuse, before anything is started, what TVM cannot compile for any board of this kind."""
    from edgekit.engines import load_engine

    refusal = refuse_int8(model) if precision == "int8" else None
    refusal = refusal or load_engine(_ENGINE).check(model, precision, target)
    if refusal is not None:
        raise _untunable(model, refusal)


def _untunable(model: Model, refusal: Unsupported) -> UsageError:
    return UsageError(f"{model.name} cannot be tuned: {refusal.reason}", hint=refusal.hint)


def _bench(
    located: Sequence[Located],
    target: Target,
    model: Model,
    greeting: Greeting,
    options: TuneOptions,
    emit: EventSink,
) -> tuple[DeviceBench, bool]:
    """Connect to the devices; tell whether one of them is emulated."""
    emulated: list[bool] = []
    counts = options.cost == "instructions"
    # Threads that wait for each other spin, and that would be counted.
    threads = 1 if counts else scope_of(target).fingerprint.threads

    def place(each: Located) -> Place:
        def connect(tell: EventSink) -> "AbstractContextManager[Device]":
            return open_device(each, target, emit=tell, accept_new=options.accept_new)

        def bundle(device: "Device") -> Bundle:
            emulated.append(device.facts.emulated)
            candidate = Candidate(_ENGINE, options.precision, (("threads", threads),))
            return _bundle(device, target, model, candidate, greeting.session, emit)

        def counter() -> "AbstractContextManager[Launcher]":
            return counting_on(each, target, emit=emit)

        return Place(each.name, connect, bundle, counter if counts else None)

    places = [place(each) for each in located]
    hold = any(each.name == "local" for each in located)
    plan = KernelPlan(away_s=options.away_s)
    if counts:
        plan = replace(plan, limit_s=_COUNTING_LIMIT_S)
    bench = DeviceBench(places, plan, hold=hold, emit=emit)
    if len(set(emulated)) > 1:
        bench.close()
        raise UsageError(
            "one of the devices is emulated and another is not",
            hint="times of an emulated processor mean nothing to a real one: tune them apart",
        )
    return bench, emulated[0]


def _bundle(
    device: "Device",
    target: Target,
    model: Model,
    candidate: Candidate,
    session: Path,
    emit: EventSink,
) -> Bundle:
    """Return what times kernels on a device: TVM's runtime, the session library, the runner."""
    from edgekit.device import check_target
    from edgekit.engines.tvm.tuning import RUNNER_MODULE
    from edgekit.toolbox.runner_pack import pack_runner

    check_target(device.facts, target)
    plan = feasible(candidate, model, target, device.facts)
    if isinstance(plan, Unsupported):
        raise _untunable(model, plan)
    return Bundle(
        name="tuning",
        engine=_ENGINE,
        precision=candidate.precision,
        target=target.name,
        architecture=target.architecture,
        compatible=target.compatible,
        files=(passing_file(session), pack_runner(plan.engine, RUNNER_MODULE)),
        runtime=runtime_of(plan.runtime, device.facts, emit=emit),
        job_json=json.dumps({"runner": RUNNER_MODULE, "classes": []}),
        knobs=candidate.knobs,
    )


def _tell_unused(records: Records, scope: Scope, emit: EventSink) -> None:
    others = records.other_versions(scope)
    trials = sum(each.trials for each in others)
    if trials:
        emit(
            Note(
                f"{trials} trials of other versions of TVM or of edgekit's import are not used: "
                "this one's schedules are others"
            )
        )
