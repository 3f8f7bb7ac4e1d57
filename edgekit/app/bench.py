"""``bench``: one candidate's figures, repeated until they may be believed."""

import time
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Final

from edgekit.app.bench_options import BenchOptions
from edgekit.app.bench_subjects import Ready, active_subject, built_subjects
from edgekit.app.options import DeployOptions
from edgekit.app.patience import wait_until_cool
from edgekit.app.power import Meters, power_figures, reading_disturbs
from edgekit.bench.latency import frames_per_second, summarise
from edgekit.bench.repeats import Repeats, Tried
from edgekit.bench.soak import LEAST_S, soak_of
from edgekit.bench.validity import judge
from edgekit.catalog.settings import settings
from edgekit.core.bench import Attempt, BenchReport, BenchResult, FixedClocks, PowerFigures
from edgekit.core.errors import EngineError, MeasurementInvalidError, UsageError
from edgekit.core.events import EventSink, Note, StepFinished, StepStarted, ignore
from edgekit.core.measurement import Measurement
from edgekit.core.validity import EMULATED, Validity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgekit.core.health import HealthSnapshot
    from edgekit.device import Device, RunResult
    from edgekit.device.clocks import ClockPin

_NS_PER_MS: Final = 1e6
_SLACK_S: Final = 600.0
_STEP: Final = "bench"
_BUDGET_S: Final = 120.0
_METERS_HZ: Final = 10.0


def bench(
    model: DeployOptions | None,
    where: DeployOptions,
    options: BenchOptions,
    *,
    emit: EventSink = ignore,
) -> BenchReport:
    """Measure candidates one after the other, each until it may be believed.

    Args:
        model: what to build and send; ``None`` for what is active on the device.
        where: names device and target, and the images for what is active.
        options: how.
        emit: told of each step.

    Raises:
        UsageError: what was asked for cannot be meant.
        DeviceError: nothing is active there, or the device was lost.
        EngineError: nothing could be built, or every runner failed.
        MeasurementInvalidError: no run tells anything.
    """
    from edgekit.meters.address import COMMAND, parse_meter
    from edgekit.meters.command import check_command
    from edgekit.report.runs import new_run_id, write_bench

    if 0 < options.soak_s < LEAST_S:
        raise UsageError(
            f"a soak of {options.soak_s:g} s has no course: it takes at least {LEAST_S:g} s",
            hint="heat takes minutes: --soak 10m",
        )
    for text in options.meters:
        address = parse_meter(text)  # a fault in it is told before anything is built
        if address.kind == COMMAND:
            check_command(address)
    with ExitStack() as stack:
        found = (
            active_subject(where, stack, emit=emit)
            if model is None
            else built_subjects(model, stack, emit=emit)
        )
        measuring = _Measuring(found.device, options, emit)
        with _clocks(found.device, options, emit) as pin:
            results = measuring.results(found.ready)
        facts = found.device.facts
    first = results[0].subject
    run_id = new_run_id(first.model, first.target)
    folder = settings().runs_dir / run_id
    report = BenchReport(run_id, found.name, facts, results, folder, _held(pin))
    write_bench(report, asked={**(model or where).as_json(), "bench": asdict(options)})
    return report


@contextmanager
def _clocks(
    device: "Device", options: BenchOptions, emit: EventSink
) -> "Iterator[ClockPin | None]":
    """Pin the device's clocks where that was asked for, and tell what it refused."""
    if not options.fixed_clocks:
        yield None
        return
    with device.fixed_clocks(emit=emit) as pin:
        for why in pin.pinned.why_not:
            emit(Note(why, warning=True))
        if pin.pinned.hint:
            emit(Note(pin.pinned.hint))
        yield pin


def _held(pin: "ClockPin | None") -> FixedClocks | None:
    return FixedClocks(pin.pinned, pin.released) if pin is not None else None


class _Measuring:
    """Measures on one device."""

    def __init__(self, device: "Device", options: BenchOptions, emit: EventSink) -> None:
        self._device = device
        self._options = options
        self._emit = emit
        self._emulated = device.facts.emulated
        self._plan = options.plan(emulated=self._emulated)
        self._meters = Meters(options.meters)
        # A meter's readings want the device's idle times beside them.
        self._power_hz = options.power_hz or (_METERS_HZ if options.meters else 0.0)
        self._before: HealthSnapshot | None = None

    def results(self, candidates: "Sequence[Ready]") -> tuple[BenchResult, ...]:
        """Measure one after the other; one that fails costs the others nothing.

        Raises:
            EngineError, MeasurementInvalidError: the first failure, where all failed.
        """
        found: list[BenchResult] = []
        failures: list[EngineError | MeasurementInvalidError] = []
        for ready in candidates:
            try:
                found.append(self.result(ready))
            except (EngineError, MeasurementInvalidError) as error:
                failures.append(error)
                if len(candidates) > 1:
                    text = f"{ready.subject}: failed: {error.message}"
                    self._emit(Note(text, warning=True))
        if failures and not found:
            raise failures[0]
        return tuple(found)

    def result(self, ready: Ready) -> BenchResult:
        """Measure until it is believed, or the budget is used up."""
        self._before = None
        self._emit(StepStarted(_STEP, f"Measure {ready.subject}"))
        try:
            tries = self._tries(ready, self._power_hz)
            power = self._power(tries[-1].run) if self._power_hz else None
            if self._power_hz and reading_disturbs(tries[-1].run) and not self._options.soak_s:
                # Speed in a pass of its own, with nobody who reads such a sensor beside it.
                tries = self._both_passes(tries, self._tries(ready, 0.0))
            found = self._summed_up(ready, tries, power)
        except BaseException:
            self._emit(StepFinished(_STEP, "failed", ok=False))
            raise
        self._emit(StepFinished(_STEP, "" if found.validity.valid else "not believed"))
        return found

    def _power(self, run: "RunResult") -> PowerFigures:
        found = power_figures(run, self._meters.latest, self._options.stuck_after_s)
        labels = [rail["label"] for rail in found.details["rails"]]
        for label, scope in self._options.scopes:
            if label not in labels:
                known = ", ".join(labels) or "none"
                text = f"no rail {label!r} to be of scope {scope}; there is {known}"
                self._emit(Note(text, warning=True))
        return found

    def _both_passes(
        self, powered: "tuple[Tried[RunResult], ...]", speed: "tuple[Tried[RunResult], ...]"
    ) -> "tuple[Tried[RunResult], ...]":
        """Hold against the run that counts what spoke against the one its energy is of."""
        *before, last = speed
        doubts = tuple(
            replace(reason, text=f"while power was read: {reason.text}")
            for reason in powered[-1].validity.reasons
        )
        validity = replace(last.validity, reasons=(*last.validity.reasons, *doubts))
        return (*powered[:-1], *before, replace(last, validity=validity))

    def _tries(self, ready: Ready, power_hz: float) -> "tuple[Tried[RunResult], ...]":
        repeats: Repeats[RunResult] = Repeats(
            lambda: self._run(ready, power_hz),
            self._judged,
            self._cool,
            self._budget_s,
            clock=time.monotonic,
            sleep=time.sleep,
        )
        return repeats.tries(self._tell)

    @property
    def _budget_s(self) -> float:
        if self._options.soak_s:
            return 0.0  # what it slows down to is the very question
        asked = self._options.budget_s
        if asked is None:
            return 0.0 if self._emulated else _BUDGET_S
        return asked

    def _run(self, ready: Ready, power_hz: float) -> "RunResult":
        from edgekit.device import RunRequest, Watch

        request = RunRequest(
            kind="time",
            frames=ready.frames,
            plan=self._plan,
            knobs=ready.subject.knobs,
            timeout_s=2 * self._plan.max_seconds + _SLACK_S,
            step=_STEP,
            watch=Watch(
                power_hz=power_hz,
                idle_s=self._options.idle_for_s,
                idle_always=bool(self._options.meters),
                scopes=self._options.scopes,
            ),
        )
        with self._meters.around(self._device) if power_hz else nullcontext():
            run = ready.run(request)
        if self._before is None:
            self._before = run.health[0]
        return run

    def _judged(self, run: "RunResult") -> Validity:
        before, *during, after = run.health
        return judge(before, during, after, run.model_ns, median_width=self._options.median_width)

    def _tell(self, validity: Validity) -> None:
        why = "; ".join(reason.text for reason in validity.reasons)
        then = "again once it has cooled" if validity.cool_down_helps else "again"
        self._emit(Note(f"not believed: {why}; measured {then}", warning=True))

    def _cool(self, seconds: float) -> None:
        assert self._before is not None  # noqa: S101 - a run came before
        wait_until_cool(self._device, self._before, seconds, self._emit, _STEP)

    def _summed_up(
        self, ready: Ready, tries: "Sequence[Tried[RunResult]]", power: PowerFigures | None
    ) -> BenchResult:
        *thrown_away, last = tries
        run, validity = last.run, last.validity
        if self._options.soak_s:
            # Heat is what a soak is to find; only what came from outside spoils it.
            outside = tuple(one for one in validity.reasons if one.kind in _FROM_OUTSIDE)
            validity = replace(validity, reasons=outside)
        if self._emulated:
            validity = replace(validity, reasons=(*validity.reasons, EMULATED))
        soaked = bool(self._options.soak_s)
        return BenchResult(
            subject=ready.subject,
            plan=self._plan,
            measurement=_measurement(run, emulated=self._emulated),
            validity=validity,
            attempts=tuple(
                Attempt(each.validity, summarise(each.run.model_ns).p50, each.waited_s)
                for each in thrown_away
            ),
            health=run.health,
            spans_ns=run.spans_ns,
            soak=soak_of(run.model_ns, run.spans_ns["model"], run.health) if soaked else None,
            power=power,
        )


_FROM_OUTSIDE: Final = frozenset({"disturbed", "swapping", "under-voltage"})


def _measurement(run: "RunResult", *, emulated: bool) -> Measurement:
    return Measurement(
        model=summarise(run.model_ns),
        end_to_end=summarise(run.end_to_end_ns) if run.end_to_end_ns else None,
        fps=None if emulated else frames_per_second(run.model_ns),
        memory_peak_bytes=run.memory_peak_bytes,
        load_ms=run.load_ns / _NS_PER_MS if run.load_ns is not None else None,
        emulated=emulated,
        samples_ns=run.model_ns,
        end_to_end_samples_ns=run.end_to_end_ns,
        versions=tuple(sorted(run.versions.items())),
        rounds=(len(run.model_ns),),
        measured_at_s=int(time.time()),
    )
