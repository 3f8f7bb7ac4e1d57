"""Tuning as a loop: choose a task, have candidates built, have them measured, keep each result."""

import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from edgekit.core.errors import EngineError
from edgekit.core.events import EventSink, Note, StepFinished, StepProgress, StepStarted
from edgekit.tune.record import CostKind, Failure, Record, Scope
from edgekit.tune.records import Records
from edgekit.tune.tasks import Task, following_task, prepared_or_next, total_cost
from edgekit.tune.warm import suggestions
from edgekit.tune.worker import Candidate, Greeting, Worker

Stop = Literal["trials", "time", "exhausted", "interrupted"]

_STEP: Final = "tune"
_BATCH: Final = 16
# Every task gets some schedule soon: without any it is plain loops.
_FIRST_BATCH: Final = 8
_WAIT_S: Final = 0.2
# MetaSchedule takes costs for seconds, and 1e10 of them for a failure: counts of instructions are
# told in thousands of millions.
_TOLD: Final[Mapping[CostKind, float]] = {"seconds": 1.0, "instructions": 1e-9}


@dataclass(frozen=True)
class Measured:
    """What measuring one candidate came to: costs or a failure."""

    number: int
    costs: tuple[float, ...] = ()
    failure: Failure | None = None
    detail: str = ""
    device: str = ""


class Bench(Protocol):
    """Where candidates are measured."""

    def submit(self, candidate: Candidate) -> None:
        """Have a candidate measured, at once or when :meth:`flush` is called."""

    def flush(self) -> None:
        """No more candidates come for now."""

    def results(self, wait_s: float) -> Sequence[Measured]:
        """Return what was measured since it was asked last; wait a little if there is nothing."""

    def stranded(self) -> Sequence[int]:
        """Take back what nobody can begin for now; return its numbers."""


@dataclass(frozen=True)
class Limits:
    """When to stop: infinite for never."""

    trials: float = math.inf
    time_s: float = math.inf


@dataclass(frozen=True)
class Tuned:
    """What a session came to.

    Attributes:
        tasks: with all of their trials, earlier ones too.
        trials: of this session.
        failures: of those.
        cost: of one run of the model's tasks, by their best trials, in the unit of the scope;
            infinite while one of them has no success.
    """

    tasks: tuple[Task, ...]
    stop: Stop
    trials: int
    failures: int
    seconds: float

    @property
    def cost(self) -> float:
        """Of one run of the model's tasks, by the best trial of each."""
        return total_cost(self.tasks)


class Session:
    """One session of tuning. What was measured is on disk before anything else is done."""

    def __init__(
        self,
        worker: Worker,
        greeting: Greeting,
        bench: Bench,
        records: Records,
        scope: Scope,
        *,
        emit: EventSink,
    ) -> None:
        self._worker = worker
        self._bench = bench
        self._records = records
        self._scope = scope
        self._emit = emit
        self._tasks = list(greeting.tasks)
        self._waiting: dict[int, tuple[int, Candidate]] = {}
        self._unkept: deque[tuple[int, Record]] = deque()
        self._trials = self._failures = 0
        records.keep_workloads(greeting.workloads)

    def run(self, title: str, limits: Limits) -> Tuned:
        """Tune until a limit is reached, nothing is left to try, or somebody interrupts."""
        started = time.monotonic()
        self._emit(StepStarted(_STEP, title))
        stop: Stop = "interrupted"
        try:
            self._recall()
            left = lambda: limits.time_s - (time.monotonic() - started)  # noqa: E731
            stop = self._loop(limits, left)
        except KeyboardInterrupt:
            self._keep(self._bench.results(0))
        except BaseException:
            self._emit(StepFinished(_STEP, "failed", ok=False))
            raise
        self._emit(StepFinished(_STEP, f"{self._trials} trials", ok=stop != "interrupted"))
        seconds = time.monotonic() - started
        return Tuned(tuple(self._tasks), stop, self._trials, self._failures, seconds)

    def _recall(self) -> None:
        """Go on where earlier sessions stopped; what was good on similar boards comes first."""
        tried: dict[str, set[str]] = {}
        for index, task in enumerate(self._tasks):
            trials = tuple(self._records.trials(self._scope, task.structural_hash))
            self._tasks[index] = task.after_records(trials)
            # Of a lost device the candidate may be innocent: it may be proposed again.
            known = [trial for trial in trials if trial.failure != "device_lost"]
            tried[task.structural_hash] = {trial.trace for trial in known}
            if known:
                told = [replace(each, costs=self._told(each.costs)) for each in known]
                self._worker.know(task.structural_hash, told)
        self._suggest(tried)

    def _suggest(self, tried: Mapping[str, set[str]]) -> None:
        found = suggestions(self._records, self._scope, tried)
        if not found.traces:
            return
        suggested, skipped = self._worker.suggest(found.traces)
        if not suggested + skipped:
            return
        sources = ", ".join(f"{source}: {count}" for source, count in found.sources.items())
        text = f"{suggested} schedules of similar boards are measured first, of {sources}"
        self._emit(Note(f"{text}; {skipped} do not apply here" if skipped else text))

    def _told(self, costs: Sequence[float]) -> tuple[float, ...]:
        """Return costs as the worker's cost model takes them."""
        return tuple(cost * _TOLD[self._scope.cost] for cost in costs)

    def _loop(self, limits: Limits, left_s: Callable[[], float]) -> Stop:
        prepared = None
        while True:
            if self._trials >= limits.trials:
                return "trials"
            if left_s() <= 0:
                return "time"
            chosen = prepared_or_next(self._tasks, prepared)
            if chosen is None:
                return "exhausted"
            prepared = following_task(self._tasks, chosen)
            self._batch(chosen, prepared, limits, left_s)

    def _batch(
        self, chosen: int, prepared: int | None, limits: Limits, left_s: Callable[[], float]
    ) -> None:
        task = self._tasks[chosen]
        before = self._trials
        most = _BATCH if task.trials else _FIRST_BATCH
        count = int(min(most, limits.trials - before))
        last = before + count >= limits.trials
        ahead = None if prepared is None or last else self._tasks[prepared].structural_hash
        for candidate in self._worker.propose(task.structural_hash, count, ahead):
            self._waiting[candidate.number] = (chosen, candidate)
            if candidate.library is None:
                failed = Measured(candidate.number, (), "build_error", candidate.error)
                self._keep([failed])
            else:
                self._bench.submit(candidate)
            self._keep(self._bench.results(0))
        self._bench.flush()
        if self._worker.exhausted:
            self._tasks[chosen] = _exhausted(self._tasks[chosen])
        while True:
            self._tell(chosen, limits, left_s())
            if not self._waiting:
                break
            self._keep(self._bench.results(_WAIT_S))
            if left_s() <= 0:
                self._drop(self._bench.stranded())
        self._refuse_hopeless(before)

    def _keep(self, results: Iterable[Measured]) -> None:
        self._unkept.extend([(result.number, self._record(result)) for result in results])
        while self._unkept:
            number, record = self._unkept[0]
            # Interrupted here, it is done again: equal trials are one.
            self._records.append(record)
            self._unkept.popleft()
            self._learn(number, record)

    def _record(self, result: Measured) -> Record:
        index, candidate = self._waiting[result.number]
        task = self._tasks[index]
        return Record(
            self._scope,
            structural_hash=task.structural_hash,
            task=task.name,
            trace=candidate.trace,
            measured_at_s=time.time(),
            costs=result.costs,
            failure=result.failure,
            detail=result.detail,
            flops=task.flops,
            device=result.device,
        )

    def _learn(self, number: int, record: Record) -> None:
        index, candidate = self._waiting.pop(number)
        self._trials += 1
        self._failures += record.failure is not None
        # Of a lost device the candidate may be innocent: nothing is learnt from it.
        if record.failure != "device_lost":
            self._tasks[index] = self._tasks[index].after([record.cost])
            self._worker.measured({number: self._told(record.costs)})
        _forget(candidate)

    def _drop(self, numbers: Iterable[int]) -> None:
        """Forget candidates that were never begun: no trial, and they may be proposed again."""
        for number in numbers:
            _index, candidate = self._waiting.pop(number)
            _forget(candidate)

    def _tell(self, chosen: int, limits: Limits, left_s: float) -> None:
        task = self._tasks[chosen]
        total = int(limits.trials) if math.isfinite(limits.trials) else None
        best = f", {self._reached(task)}" if _known(task) else ""
        cost = total_cost(self._tasks)
        whole = f", model {cost_text(cost, self._scope.cost)}" if math.isfinite(cost) else ""
        left = f", {max(left_s, 0):.0f} s left" if math.isfinite(left_s) else ""
        said = f"trials: {task.name}{best}{whole}{left}"
        self._emit(StepProgress(_STEP, self._trials, total, said))

    def _reached(self, task: Task) -> str:
        if self._scope.cost == "instructions":
            return cost_text(task.best, "instructions")
        return f"{task.flops / task.best / 1e9:.1f} GFLOPS"

    def _refuse_hopeless(self, before: int) -> None:
        """Stop where nothing at all runs: that is no fault of candidates."""
        if before == 0 and self._trials >= _FIRST_BATCH and self._failures == self._trials:
            last = list(self._records.trials(self._scope))[-1]
            raise EngineError(
                f"none of the first {self._trials} candidates could be measured: {last.detail}",
                hint="edgekit deploy --engine tvm tells whether the device runs TVM at all",
            )


def cost_text(cost: float, kind: CostKind) -> str:
    """Return a cost of the whole model as people read it."""
    return f"{cost * 1e3:.2f} ms" if kind == "seconds" else f"{cost / 1e6:.4g} M instructions"


def _known(task: Task) -> bool:
    return math.isfinite(task.best) and task.flops > 0


def _forget(candidate: Candidate) -> None:
    if candidate.library is not None:
        candidate.library.unlink(missing_ok=True)


def _exhausted(task: Task) -> Task:
    return Task(
        task.structural_hash, task.name, task.weight, task.flops, task.bests, exhausted=True
    )
