"""The searches for schedules of a model's tasks, by MetaSchedule. Runs in the toolbox of tuning.

All searches share one cost model and one database, so one thread at a time may propose.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# TVM has no types where this is checked.
Function = Any
MeasureCandidate = Any
Target = Any

Costs = list[float] | None

# The stock settings (512, 50, 4) cost seconds of a board's waiting for each batch.
_POPULATION = 48
_FRESH = 16
_GENERATIONS = 2
_NO_LIMIT = 1 << 30


class Shared:
    """What the searches of one model have in common.

    Attributes:
        database: of what was measured, where MetaSchedule looks for parents.
        model: guesses costs.
    """

    def __init__(self, job: Mapping[str, Any], target: Target) -> None:
        import numpy as np
        from tvm.s_tir import meta_schedule as ms
        from tvm.s_tir.meta_schedule.cost_model import XGBModel

        self.ms = ms
        self.target = target
        self.scratch = Path(job["scratch"])
        self.batch = int(job["batch"])
        self.seed = int(job["seed"])
        # What the cost model guesses before it has learnt anything is drawn from here.
        np.random.seed(self.seed)
        self.model = XGBModel(num_tuning_cores=job["workers"])
        self.database = ms.database.MemoryDatabase()
        self.writer = _TraceWriter(ms, self.scratch / "traces")


class _TraceWriter:
    """Writes schedules as text: only a database of TVM's own does, into a file."""

    def __init__(self, ms: Any, folder: Path) -> None:  # noqa: ANN401 - TVM's module
        folder.mkdir()
        self._file = folder / "records.json"
        self._database = ms.database.JSONDatabase(
            path_workload=str(folder / "workloads.json"), path_tuning_record=str(self._file)
        )
        self._read_bytes = 0

    def text(self, function: Function, record: Any) -> str:  # noqa: ANN401 - TuningRecord
        """Return a record's text."""
        self._database.commit_workload(function)
        self._database.commit_tuning_record(record)
        with self._file.open("rb") as stream:
            stream.seek(self._read_bytes)
            line = stream.read()
        self._read_bytes += len(line)
        _workload, fields = json.loads(line)
        return json.dumps(fields, separators=(",", ":"))


@dataclass
class Search:
    """The search for one task's best schedule.

    Attributes:
        name: the task's.
        workload: as the database knows the function.
        known: traces that were tried.
        ready: proposals, with their traces, that were not asked for yet.
        results: what was measured and the cost model has not seen yet.
        earlier: trials of earlier runs that the cost model has not seen yet.
    """

    shared: Shared
    function: Function
    name: str
    workload: Any = None
    known: set[str] = field(default_factory=set)
    ready: list[tuple[MeasureCandidate, str]] = field(default_factory=list)
    results: list[tuple[MeasureCandidate, Costs]] = field(default_factory=list)
    earlier: list[Mapping[str, Any]] = field(default_factory=list)
    _context: Any = None

    def __post_init__(self) -> None:
        self.workload = self.shared.database.commit_workload(self.function)

    def choose(self, count: int) -> list[tuple[MeasureCandidate, str]]:
        """Return candidates that were never tried, with their traces; none: the search is over."""
        self.prepare()
        chosen, self.ready = self.ready[:count], self.ready[count:]
        return chosen

    def prepare(self) -> None:
        """Have candidates ready, unless there are some."""
        self._begin()
        self._learn()
        if self.ready:
            return
        seen = set(self.known)
        for candidate in self._context.generate_measure_candidates() or ():
            trace = self._trace(candidate)
            if trace not in seen:
                seen.add(trace)
                self.ready.append((candidate, trace))

    def take(self, candidate: MeasureCandidate, costs: Costs) -> None:
        """Take up what measuring a candidate came to."""
        self.results.append((candidate, costs))
        if costs:
            self.shared.database.commit_tuning_record(self._record(candidate, costs))

    def suggest(self, texts: Sequence[str]) -> tuple[int, int]:
        """Propose these schedules first; return how many, and how many do not apply here."""
        from .tune_warm import replayed

        seen = self.known | {trial["trace"] for trial in self.earlier}
        before = len(self.ready)
        skipped = 0
        for number, text in enumerate(texts):
            folder = self.shared.scratch / f"suggested-{self.name}-{number}"
            candidate = replayed(folder, self.workload, text, self.shared.target)
            if candidate is None:
                skipped += 1
            elif (trace := self._trace(candidate)) not in seen:
                seen.add(trace)
                self.ready.append((candidate, trace))
        return len(self.ready) - before, skipped

    def _begin(self) -> None:
        from .build_pipeline import space_of

        if self._context is not None:
            return
        self._recall()
        ms, target = self.shared.ms, self.shared.target
        strategy = ms.search_strategy.EvolutionarySearch(
            population_size=_POPULATION, init_min_unmeasured=_FRESH, genetic_num_iters=_GENERATIONS
        )
        self._context = ms.TuneContext(
            self.function,
            target=target,
            space_generator=space_of(self.function, target),
            search_strategy=strategy,
            task_name=self.name,
            # Another place to start from than the run before had; threads would draw as they come.
            rand_state=1 + self.shared.seed + len(self.known),
            num_threads=1,
        )
        self._context.pre_tuning(
            max_trials=_NO_LIMIT,
            num_trials_per_iter=self.shared.batch,
            database=self.shared.database,
            cost_model=self.shared.model,
        )

    def _recall(self) -> None:
        """Take up earlier trials: the database, the cost model, and what not to try again."""
        from .build_records import usable_traces

        self.known.update(trial["trace"] for trial in self.earlier)
        sound = [(trial["trace"], trial["costs"]) for trial in self.earlier if trial["costs"]]
        folder = self.shared.scratch / f"earlier-{self.name}"
        for record, candidate in usable_traces(folder, self.workload, sound):
            self.shared.database.commit_tuning_record(record)
            self.results.append((candidate, [float(cost) for cost in record.run_secs]))
        self.earlier.clear()

    def _learn(self) -> None:
        """Show the cost model what was measured since it was asked last."""
        if not self.results:
            return
        candidates = [candidate for candidate, _costs in self.results]
        results = [
            self.shared.ms.runner.RunnerResult(costs, None if costs else "failed")
            for _candidate, costs in self.results
        ]
        self.shared.model.update(self._context, candidates, results)
        self._context.notify_runner_results(candidates, results)
        self.results.clear()

    def _trace(self, candidate: MeasureCandidate) -> str:
        return self.shared.writer.text(self.function, self._record(candidate, None))

    def _record(self, candidate: MeasureCandidate, costs: Costs) -> Any:  # noqa: ANN401 - TVM's
        return self.shared.ms.database.TuningRecord(
            candidate.sch.trace, self.workload, costs, self.shared.target, candidate.args_info
        )
