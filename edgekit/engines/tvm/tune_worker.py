"""Candidates for tuning, proposed and built: runs inside the toolbox of tuning, alone.

    python tune_worker.py JOB.json

Python 3.11 and newer; edgekit is not importable here. JSON lines on standard input and output
(``edgekit.tune.worker`` is the other end). First it tells what there is to tune::

    {"tasks": [{"hash", "name", "weight", "flops", "workload"}], "tvm", "pipeline", "mcpu",
     "session"}

Then it obeys, one line at a time, until its input ends::

    {"do": "know", "task", "trials": [{"trace", "costs"}]}     earlier trials; no answer
    {"do": "suggest", "traces": {"<task>": ["<trace>"]}}       others' schedules, proposed first:
                                                               {"suggested": how many, "skipped"}
    {"do": "propose", "task", "count"}                         a line for each candidate, then
                                                               {"proposed": how many, "exhausted"}
    {"do": "measured", "results": [{"id", "costs"}]}           no answer; no costs: it failed

A candidate's line is ``{"candidate": {"id", "task", "trace", "library", "arguments", "error"}}``.
One seed and the same earlier trials give the same first proposals.
"""

import contextlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

# TVM has no types where this is checked.
MeasureCandidate = Any
Function = Any

# The stock settings (512, 50, 4) cost seconds of a board's waiting for each batch.
_POPULATION = 64
_FRESH = 16
_GENERATIONS = 2
_LAST_LINES = 4
_MOST_CHARACTERS = 400
# Type codes of DLDataType, by the first letters of TVM's names. Source: dlpack.h.
_CODES = {"int": 0, "uint": 1, "float": 2, "bool": 6}
_NO_LIMIT = 1 << 30


@dataclass
class _Search:
    """The search for one task's best schedule.

    Attributes:
        context: MetaSchedule's; made when the first proposal is asked for.
        known: traces that were tried.
        open: candidates whose results are awaited.
        ready: proposals, with their traces, that were not asked for yet.
        results: what was measured and the cost model has not seen yet.
        earlier: trials of earlier runs that the cost model has not seen yet.
    """

    function: Function
    workload: Any
    name: str
    context: Any = None
    known: set[str] = field(default_factory=set)
    open: dict[int, MeasureCandidate] = field(default_factory=dict)
    ready: list[tuple[MeasureCandidate, str]] = field(default_factory=list)
    results: list[tuple[MeasureCandidate, list[float] | None]] = field(default_factory=list)
    earlier: list[Mapping[str, Any]] = field(default_factory=list)


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


class Worker:
    """All tasks of one model, with one cost model and one database for all of them."""

    def __init__(self, job: Mapping[str, Any], say: TextIO) -> None:
        import numpy as np
        from tvm.s_tir import meta_schedule as ms
        from tvm.s_tir.meta_schedule.cost_model import XGBModel

        self._ms = ms
        self._job = job
        self._say = say
        self._pipeline = _neighbour("build_pipeline")
        self._toolchains = _load("toolchains", Path(job["toolchains"]))
        self._found = self._toolchains.toolchains(job["architecture"], job["glibc"])
        if not self._found:
            how = self._toolchains.how_to_install(job["architecture"])
            raise RuntimeError(f"no C compiler for {job['architecture']} is here: {how}")
        self._compilers = self._make_compilers()
        self._target = self._pipeline.make_target(job["cpu"])
        self._target_text = self._kernel.as_text(self._target)
        # What the cost model guesses before it has learnt anything is drawn from here.
        np.random.seed(job["seed"])
        self._model = XGBModel(num_tuning_cores=job["workers"])
        self._database = ms.database.MemoryDatabase()
        self._writer = _TraceWriter(ms, Path(job["scratch"], "traces"))
        self._searches: dict[str, _Search] = {}
        self._number = 0

    def _make_compilers(self) -> Any:  # noqa: ANN401 - of a module that cannot be imported here
        module, scheduler = _neighbour("tune_compilers"), self._job["scheduler"]
        self._kernel = module.load_kernel(Path(self._job["scratch"]), _load)
        self._kernel.leave_out_gpus()
        if scheduler is None:
            return module.local_compilers(self._kernel, self._job["workers"])
        return module.cluster_compilers(self._kernel, scheduler)

    def close(self) -> None:
        """Give back what compiles."""
        self._compilers.close()

    def greet(self) -> None:
        """Tell the tasks; compile what runs candidates on the board."""
        model = Path(self._job["model"])
        module = self._pipeline.import_model(model, self._target, self._job["precision"])
        tasks = []
        for task, function in self._pipeline.tasks_of(module, self._target):
            workload = self._database.commit_workload(function)
            self._searches[task.key] = _Search(function, workload, task.name)
            tasks.append(
                {
                    "hash": task.key,
                    "name": task.name,
                    "weight": task.count,
                    "flops": task.flops,
                    "workload": json.dumps(workload.as_json()),
                }
            )
        self._tell(
            {
                "tasks": tasks,
                "tvm": importlib.metadata.version("apache-tvm"),
                "pipeline": str(self._pipeline.VERSION),
                "mcpu": str(self._target.attrs.get("mcpu", "")),
                "session": str(self._session()),
            }
        )

    def obey(self, line: Mapping[str, Any]) -> None:
        """Do what one line asks."""
        if line["do"] == "know":
            self._searches[line["task"]].earlier += line["trials"]
        elif line["do"] == "suggest":
            self._suggest(line["traces"])
        elif line["do"] == "propose":
            self._propose(self._searches[line["task"]], line["task"], line["count"])
        elif line["do"] == "measured":
            for result in line["results"]:
                self._take(result["id"], result["costs"])
        else:
            raise RuntimeError(f"no such request: {line['do']}")

    def _suggest(self, traces: Mapping[str, Sequence[str]]) -> None:
        """Take up schedules of other boards; what does not apply on this one is skipped."""
        replayed = _neighbour("tune_warm").replayed
        suggested = skipped = 0
        for task, texts in traces.items():
            search = self._searches[task]
            seen = search.known | {trial["trace"] for trial in search.earlier}
            for number, text in enumerate(texts):
                folder = Path(self._job["scratch"], f"suggested-{task}-{number}")
                candidate = replayed(folder, search.workload, text, self._target)
                if candidate is None:
                    skipped += 1
                elif (trace := self._trace(search, candidate)) not in seen:
                    seen.add(trace)
                    search.ready.append((candidate, trace))
                    suggested += 1
        self._tell({"suggested": suggested, "skipped": skipped})

    def _propose(self, search: _Search, task: str, count: int) -> None:
        self._begin(search)
        self._learn(search)
        chosen, exhausted = self._choose(search, count)
        # A thread for each waits for what compiles, and links.
        with ThreadPoolExecutor(self._job["batch"]) as pool:
            built = pool.map(lambda pair: self._build(*pair), enumerate(c for c, _ in chosen))
            for (candidate, trace), (library, error) in zip(chosen, built, strict=True):
                number, self._number = self._number, self._number + 1
                search.known.add(trace)
                search.open[number] = candidate
                arguments = [_argument(info.as_json()) for info in candidate.args_info]
                told = {"id": number, "task": task, "trace": trace, "arguments": arguments}
                self._tell({"candidate": {**told, "library": library, "error": error}})
        self._tell({"proposed": len(chosen), "exhausted": exhausted})

    def _choose(
        self, search: _Search, count: int
    ) -> tuple[list[tuple[MeasureCandidate, str]], bool]:
        """Return candidates that were never tried; none left is the end of the search."""
        if not search.ready and not self._fill(search):
            return [], True
        chosen, search.ready = search.ready[:count], search.ready[count:]
        return chosen, False

    def _fill(self, search: _Search) -> bool:
        """Have the search propose a batch; tell whether there is anything new in it."""
        found = search.context.generate_measure_candidates() or ()
        seen = set(search.known)
        for candidate in found:
            trace = self._trace(search, candidate)
            if trace not in seen:
                seen.add(trace)
                search.ready.append((candidate, trace))
        return bool(search.ready)

    def _begin(self, search: _Search) -> None:
        if search.context is not None:
            return
        self._recall(search)
        strategy = self._ms.search_strategy.EvolutionarySearch(
            population_size=_POPULATION, init_min_unmeasured=_FRESH, genetic_num_iters=_GENERATIONS
        )
        search.context = self._ms.TuneContext(
            search.function,
            target=self._target,
            space_generator=self._pipeline.space_of(search.function, self._target),
            search_strategy=strategy,
            task_name=search.name,
            # Another place to start from than the run before had; threads would draw as they come.
            rand_state=1 + self._job["seed"] + len(search.known),
            num_threads=1,
        )
        search.context.pre_tuning(
            max_trials=_NO_LIMIT,
            num_trials_per_iter=self._job["batch"],
            database=self._database,
            cost_model=self._model,
        )

    def _recall(self, search: _Search) -> None:
        """Take up earlier trials: the database, the cost model, and what not to try again."""
        search.known.update(trial["trace"] for trial in search.earlier)
        sound = [(trial["trace"], trial["costs"]) for trial in search.earlier if trial["costs"]]
        folder = Path(self._job["scratch"], f"earlier-{search.name}")
        read = _neighbour("build_records").read_traces
        for record in read(folder, search.workload, sound):
            self._database.commit_tuning_record(record)
            costs = [float(cost) for cost in record.run_secs]
            search.results.append((record.as_measure_candidate(), costs))
        search.earlier.clear()

    def _learn(self, search: _Search) -> None:
        """Show the cost model what was measured since it was asked last."""
        if not search.results:
            return
        candidates = [candidate for candidate, _costs in search.results]
        results = [
            self._ms.runner.RunnerResult(costs, None if costs else "failed")
            for _candidate, costs in search.results
        ]
        self._model.update(search.context, candidates, results)
        search.context.notify_runner_results(candidates, results)
        search.results.clear()

    def _take(self, number: int, costs: list[float] | None) -> None:
        search = next(each for each in self._searches.values() if number in each.open)
        candidate = search.open.pop(number)
        search.results.append((candidate, costs))
        if costs:
            record = self._ms.database.TuningRecord(
                candidate.sch.trace, search.workload, costs, self._target, candidate.args_info
            )
            self._database.commit_tuning_record(record)

    def _trace(self, search: _Search, candidate: MeasureCandidate) -> str:
        record = self._ms.database.TuningRecord(
            candidate.sch.trace, search.workload, None, self._target, candidate.args_info
        )
        return self._writer.text(search.function, record)

    def _build(self, index: int, candidate: MeasureCandidate) -> tuple[str | None, str]:
        """Return the library, or what went wrong in one line."""
        code, error = self._compilers.compile(candidate.sch.mod, self._target_text)
        if code is None:
            return None, error
        folder = Path(self._job["scratch"], f"{self._number}-{index}-{time.time_ns()}")
        folder.mkdir()
        library, linked = folder / "kernel.so", folder / "kernel.o"
        linked.write_bytes(code)
        try:
            self._compile(library, ["-shared", "-fPIC", "-s", str(linked)])
        except RuntimeError as failed:
            return None, str(failed)[:_MOST_CHARACTERS]
        linked.unlink()
        return str(library), ""

    def _session(self) -> Path:
        native = _neighbour("build_native")
        folder, sources = Path(self._job["scratch"]), Path(self._job["sources"])
        return Path(native.make(native.SESSION, folder, sources, self._compile))

    def _compile(self, output: Path, arguments: Sequence[str]) -> None:
        self._toolchains.compile_with(
            self._found, output, arguments, glibc=self._job["glibc"], run=_run
        )

    def _tell(self, line: Mapping[str, Any]) -> None:
        self._say.write(json.dumps(line) + "\n")
        self._say.flush()


def main() -> int:
    """Obey the lines of standard input until it ends."""
    # TVM and the compilers print: what they say goes to the log.
    say = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    try:
        with contextlib.closing(Worker(job, say)) as worker:
            worker.greet()
            for line in _lines():
                worker.obey(line)
    except BrokenPipeError:
        return 1  # nobody listens any more
    except Exception as error:
        said = str(error).strip() or type(error).__name__
        say.write(json.dumps({"error": said, "hint": getattr(error, "hint", None)}) + "\n")
        say.flush()
        raise
    return 0


def _lines() -> Iterator[Mapping[str, Any]]:
    for line in sys.stdin:
        yield json.loads(line)


def _argument(info: Sequence[Any]) -> list[Any]:
    """Return code, bits and shape of ``["TENSOR", "float32", [1, 3]]``."""
    _kind, dtype, shape = info
    name = str(dtype)
    letters = name.rstrip("0123456789")
    return [_CODES[letters], int(name[len(letters) :] or 8), [int(size) for size in shape]]


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if done.returncode != 0:
        last = done.stdout.decode(errors="replace").strip().splitlines()[-_LAST_LINES:]
        raise RuntimeError(f"{Path(command[0]).name} failed: {' | '.join(last)}")


def _neighbour(name: str) -> ModuleType:
    return _load(name, Path(__file__).with_name(f"{name}.py"))


def _load(name: str, path: Path) -> ModuleType:
    # As a package: ``from .build_int8 import`` finds its neighbours.
    spec = importlib.util.spec_from_file_location(
        f"edgekit_{name}", path, submodule_search_locations=[str(path.parent)]
    )
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"edgekit_{name}"] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
