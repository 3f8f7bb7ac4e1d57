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
    {"do": "propose", "task", "count", "ahead"}                a line for each candidate, then
                                                               {"proposed": how many, "exhausted"}
    {"do": "measured", "results": [{"id", "costs"}]}           no answer; no costs: it failed

A candidate's line is ``{"candidate": {"id", "task", "trace", "library", "arguments", "error"}}``.
While candidates compile, others are thought of for the task that ``ahead`` names, or for none. One
seed and the same earlier trials give the same first proposals.
"""

import contextlib
import importlib
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any, TextIO

# TVM has no types where this is checked.
MeasureCandidate = Any
Search = Any

_PACKAGE = "edgekit_tvm"
_LAST_LINES = 4
_MOST_CHARACTERS = 400
# Type codes of DLDataType, by the first letters of TVM's names. Source: dlpack.h.
_CODES = {"int": 0, "uint": 1, "float": 2, "bool": 6}


class Worker:
    """All tasks of one model, with one cost model and one database for all of them."""

    def __init__(self, job: Mapping[str, Any], say: TextIO) -> None:
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
        self._search = _neighbour("tune_search")
        self._shared = self._search.Shared(job, self._target)
        self._searches: dict[str, Search] = {}
        self._open: dict[int, tuple[Search, MeasureCandidate]] = {}
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
            search = self._search.Search(self._shared, function, task.name)
            self._searches[task.key] = search
            tasks.append(
                {
                    "hash": task.key,
                    "name": task.name,
                    "weight": task.count,
                    "flops": task.flops,
                    "workload": json.dumps(search.workload.as_json()),
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
            self._propose(line["task"], line["count"], line["ahead"])
        elif line["do"] == "measured":
            for result in line["results"]:
                search, candidate = self._open.pop(result["id"])
                search.take(candidate, result["costs"])
        else:
            raise RuntimeError(f"no such request: {line['do']}")

    def _suggest(self, traces: Mapping[str, Sequence[str]]) -> None:
        """Take up schedules of other boards; what does not apply on this one is skipped."""
        found = [self._searches[task].suggest(texts) for task, texts in traces.items()]
        suggested, skipped = sum(each[0] for each in found), sum(each[1] for each in found)
        self._tell({"suggested": suggested, "skipped": skipped})

    def _propose(self, task: str, count: int, ahead: str | None) -> None:
        search = self._searches[task]
        chosen = search.choose(count)
        # A thread for each waits for what compiles, and links; one more thinks ahead.
        with ThreadPoolExecutor(self._job["batch"] + 1) as pool:
            built = pool.map(lambda pair: self._build(*pair), enumerate(c for c, _ in chosen))
            prepared = pool.submit(self._searches[ahead].prepare) if ahead else None
            for (candidate, trace), (library, error) in zip(chosen, built, strict=True):
                number, self._number = self._number, self._number + 1
                search.known.add(trace)
                self._open[number] = search, candidate
                arguments = [_argument(info.as_json()) for info in candidate.args_info]
                told = {"id": number, "task": task, "trace": trace, "arguments": arguments}
                self._tell({"candidate": {**told, "library": library, "error": error}})
            if prepared:
                prepared.result()
        self._tell({"proposed": len(chosen), "exhausted": not chosen})

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
    # In a package: ``from .build_int8 import`` finds its neighbours, and each is loaded once.
    package = sys.modules.setdefault(_PACKAGE, ModuleType(_PACKAGE))
    package.__path__ = [str(Path(__file__).parent)]
    return importlib.import_module(f"{_PACKAGE}.{name}")


def _load(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"edgekit_{name}", path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{path} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"edgekit_{name}"] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    sys.exit(main())
