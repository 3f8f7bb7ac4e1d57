"""A model built for an engine, once per model, precision, settings, lock and build script."""

import hashlib
import json
import signal
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from edgekit.catalog.cache import KeyedCache, cache_root, sha256_of
from edgekit.catalog.folders import builtin_folder
from edgekit.core.bundle import BundleFile
from edgekit.core.contracts import Engine
from edgekit.core.errors import BuildError
from edgekit.core.events import EventSink, Note, StepFinished, StepStarted
from edgekit.core.model import Model
from edgekit.core.names import Precision
from edgekit.core.quantisation import Int8
from edgekit.core.target import Target
from edgekit.toolbox.environments import environment, lock_sha256, own_python
from edgekit.toolbox.process import last_lines, new_log, run_logged

_RUN_BUILD: Final = Path(__file__).with_name("run_build.py")
_RUN_UNJUDGED: Final = Path(__file__).with_name("run_build_unjudged.py")
_RANGES: Final = Path(__file__).with_name("ranges.py")
_TOOLCHAINS: Final = Path(__file__).with_name("toolchains.py")
_TIMEOUT_S: Final = 3600.0


def build(  # noqa: PLR0913 - what is built, of what, for whom, how, and how strictly
    engine: Engine,
    model: Model,
    precision: Precision,
    target: Target,
    *,
    int8: Int8 | None = None,
    emit: EventSink,
    timeout_s: float = _TIMEOUT_S,
    judged: bool = True,
) -> tuple[BundleFile, ...]:
    """Return the engine's files for ``model``; build them if they are not there.

    A second call with nothing changed starts no process and imports nothing heavy. The
    engine's toolbox is made on first use.

    Args:
        engine: whose ``build.py`` runs.
        model: in normal form.
        precision: one of the engine's.
        target: for what board; it counts only through ``engine.build_settings``.
        int8: how int8 is made, and on what; required for int8, ``None`` for all else.
        emit: told of the steps.
        timeout_s: after which the build is killed.
        judged: whether a build fails that gives other values than ONNX Runtime; not where it is
            measured how far off they are.

    Raises:
        ToolboxError: the toolbox cannot be made.
        BuildError: the build failed, was killed, or took too long.
    """
    if (precision == "int8") != (int8 is not None):
        raise ValueError("int8 takes a quantisation and a calibration set, and nothing else does")
    settings = engine.build_settings(model, precision, target)
    key = json.dumps(
        {
            "engine": engine.name,
            "model": model.onnx.sha256,
            "inputs": [asdict(spec) for spec in model.inputs],
            "outputs": [asdict(spec) for spec in model.outputs],
            "precision": precision,
            "settings": settings,
            "toolbox": [engine.toolbox.python, lock_sha256(engine.toolbox)],
            "scripts": [_digest(path) for path in _scripts(engine)],
            **({} if judged else {"unjudged": _digest(_RUN_UNJUDGED)}),
            "quantisation": int8.quantisation.as_json() if int8 else None,
            "calibration": int8.calibration.identity if int8 else None,
        },
        sort_keys=True,
    )
    step = f"build:{engine.name}:{precision}"
    emit(StepStarted(step, f"Build {model.name} for {engine.name} {precision}"))
    cache = KeyedCache(cache_root() / "builds")
    held = cache.get(key)
    files = _read(held) if held is not None else None
    if held is not None and files is not None:
        emit(StepFinished(step, "cached"))
        _tell(held, emit)
        return files
    if held is not None:
        cache.discard(key)  # damaged: something outside edgekit changed it
    try:
        python = environment(engine.toolbox, emit=emit).python
        work = _Work(engine, model, precision, settings, int8)
        script = _RUN_BUILD if judged else _RUN_UNJUDGED
        worker = _Worker(work, [*own_python(python), str(script)], timeout_s)
        folder = cache.build(key, worker.fill, emit=emit, subject=f"{model.name} for {engine.name}")
        files = _read(folder)
        if files is None:
            raise BuildError(  # noqa: TRY301 - it ends the step like any other failure
                f"what {engine.name} built in {folder} cannot be read back"
            )
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    emit(StepFinished(step, f"{sum(file.size_bytes for file in files) / 1e6:.1f} MB"))
    _tell(folder, emit)
    return files


@dataclass(frozen=True)
class _Work:
    """What is to be built."""

    engine: Engine
    model: Model
    precision: Precision
    settings: str
    int8: Int8 | None

    def __str__(self) -> str:
        return f"{self.engine.name} {self.precision} could not be built from {self.model.name}"

    def job(self, output: Path, scratch: Path) -> Mapping[str, Any]:
        """Return the job for ``run_build.py``."""
        samples = self.int8.calibration.inputs if self.int8 else ()
        sources = _sources(self.engine)
        return {
            "script": str(self.engine.build_script),
            "model": str(self.model.onnx.path),
            "precision": self.precision,
            "settings": json.loads(self.settings),
            "quantisation": self.int8.quantisation.as_json() if self.int8 else None,
            "samples": {name: str(file.path) for name, file in samples},
            "sources": str(sources) if sources else None,
            "inputs": [asdict(spec) for spec in self.model.inputs],
            "outputs": [asdict(spec) for spec in self.model.outputs],
            "output": str(output),
            "scratch": str(scratch),
        }


class _Worker:
    """One run of an engine's ``build.py`` inside its toolbox."""

    def __init__(self, work: _Work, command: Sequence[str], timeout_s: float) -> None:
        self._work = work
        self._command = command
        self._timeout_s = timeout_s
        self._what = str(work)

    def fill(self, folder: Path) -> None:
        """Run the build; leave ``files/`` and ``result.json`` in ``folder``."""
        log = new_log(
            cache_root() / "logs", f"build-{self._work.engine.name}-{self._work.precision}"
        )
        output = folder / "files"
        output.mkdir()
        with tempfile.TemporaryDirectory(prefix="edgekit-build-") as scratch:
            job = folder / "job.json"
            job.write_text(json.dumps(self._work.job(output, Path(scratch))), encoding="utf-8")
            try:
                status = run_logged([*self._command, str(job)], log, timeout_s=self._timeout_s)
            except (TimeoutError, OSError) as error:
                raise BuildError(f"{self._what}: {error}", hint=f"log: {log}") from error
        job.unlink()
        self._judge(folder, status, log)

    def _judge(self, folder: Path, status: int, log: Path) -> None:
        result = _result(folder)
        if result is None:
            if status < 0:
                raise _killed(self._what, signal.Signals(-status).name, log)
            raise BuildError(
                f"{self._what}: the worker ended with {status}\n{last_lines(log)}\n  log: {log}"
            )
        if "error" in result:
            raise BuildError(
                f"{self._what}: {result['error']}",
                hint=f"try another engine (--engine); the whole log: {log}",
            )


def _killed(what: str, name: str, log: Path) -> BuildError:
    why = "most often out of memory" if name == "SIGKILL" else "a crash in the engine's own code"
    said = last_lines(log, 1).strip()
    last = f"; it last said: {said}" if said else ""
    return BuildError(
        f"{what}: the worker was killed by {name}, {why}{last}",
        hint=f"try another engine (--engine); the whole log: {log}",
    )


def _result(folder: Path) -> Mapping[str, Any] | None:
    try:
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def _read(folder: Path) -> tuple[BundleFile, ...] | None:
    """Return the files of a finished build, ``None`` if they are not what they were."""
    result = _result(folder)
    if result is None or not isinstance(result.get("files"), list):
        return None
    files = []
    for entry in result["files"]:
        path = folder / "files" / entry["path"]
        try:
            intact = sha256_of(path) == entry["sha256"]
        except OSError:
            return None
        if not intact:
            return None
        files.append(BundleFile(entry["path"], entry["sha256"], entry["size_bytes"], path))
    return tuple(files)


def _tell(folder: Path, emit: EventSink) -> None:
    """Pass on what the build had to say, cached or not."""
    for text in (_result(folder) or {}).get("notes", ()):
        emit(Note(text))


def _scripts(engine: Engine) -> tuple[Path, ...]:
    """Everything of ours that decides what comes out: an engine's build may have neighbours."""
    own = sorted(engine.build_script.parent.glob("build*.py"))
    sources = _sources(engine)
    compiled: tuple[Path, ...] = ()
    if sources is not None:
        frame = sorted(sources.parent.glob("frame/*"))
        compiled = (_TOOLCHAINS, *frame, *sorted(sources.iterdir()))
    return (*own, _RUN_BUILD, _RANGES, *compiled)


def _sources(engine: Engine) -> Path | None:
    """Return the folder with what the engine's build compiles for the board, if it has any."""
    folder = builtin_folder("cross") / "runners" / engine.name
    return folder if folder.is_dir() else None


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
