"""One run of a bundle's runner on the device, and its result brought home."""

import hashlib
import json
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from edgekit.core.errors import AgentError, RunnerError
from edgekit.core.events import EventSink, StepProgress
from edgekit.core.health import HealthSnapshot
from edgekit.device.client import AgentClient
from edgekit.device.stopping import stopped_by
from edgekit.device.values import RunRequest, RunResult

RESULT: Final = "result.json"
_MADE: Final = "made"
# What the agent leaves beside it, where it watched.
_HEALTH: Final = "health.json"
_POWER: Final = "power.json"
# What a pipeline's runner leaves: its record, and what it counted frame by frame.
CAMERA: Final = ("camera.json", "frames.npy")
# What is a plain file name to the agent too.
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}")
_LAST_LINES: Final = 12
_AHEAD: Final = 16
_HINTS: Final = {
    "SIGKILL": "the board may have run out of memory: see dmesg there; try a smaller --size",
    "SIGILL": "the engine was built for another processor than this board's",
    "SIGSEGV": "try another engine, and report this with the model",
}


Hearer = Callable[[Mapping[str, Any]], None]


def run(
    client: AgentClient,
    bundle_id: str,
    request: RunRequest,
    outputs: Path,
    hear: Hearer,
    stop: threading.Event | None = None,
) -> RunResult:
    """Run a bundle and fetch what it left behind into ``outputs``; end it once ``stop`` is set.

    Raises:
        RunnerError: the runner crashed, timed out, or left no result.
        DeviceError: it could not be started, or the link broke.
    """
    answers: list[Mapping[str, Any]] = []
    asked = _asked(bundle_id, request)
    client.submit("run", asked, on_event=hear, on_result=answers.append)
    # Not before it was asked for: what is stopped too early is not stopped at all.
    with stopped_by(client, stop):
        client.settle()
    [ended] = answers
    _check_end(ended, request)
    written = {str(name) for name, _size_bytes in ended["files"]}
    if RESULT not in written:
        raise RunnerError(f"the runner left no {RESULT}{_last_words(ended)}")
    outputs.mkdir(parents=True, exist_ok=True)
    job = str(ended["job"])
    _fetch(client, job, [RESULT], outputs)
    try:
        result = json.loads((outputs / RESULT).read_text(encoding="utf-8"))
        names = [str(entry["path"]) for entry in result["outputs"]]
        _fetch(client, job, names, outputs)
        made = [str(name) for name in result.get(_MADE, ())] if request.made else []
        _fetch(client, job, made, outputs / _MADE)
        found = _result(result, request, outputs, int(ended["duration_ns"]))
        if request.kind == "camera":
            kept = [name for name in request.kept if name in written]
            _fetch(client, job, [*CAMERA, *kept], outputs)
            found = replace(found, camera=outputs, cancelled=_was_ended(ended))
        return replace(found, **_seen(client, job, request, outputs))
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise RunnerError(f"the runner's {RESULT} cannot be read: {error!r}") from error


def _asked(bundle_id: str, request: RunRequest) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "bundle": bundle_id,
        "kind": request.kind,
        "frames": [
            {"sha256": sha256, "name": f"frame{index}"}
            for index, sha256 in enumerate(request.frames)
        ],
        "plan": asdict(request.plan),
        "knobs": dict(request.knobs),
        "postprocess_parameters": json.loads(request.postprocess_json),
        "timeout_s": request.timeout_s,
        "launcher": list(request.launcher),
        "runtimes": list(request.runtimes),
    }
    if request.watch is not None:
        asked["watch"] = request.watch.as_json()
    if request.grace_s:
        asked["grace_s"] = request.grace_s
    if request.pipeline_json is not None:
        asked["pipeline"] = json.loads(request.pipeline_json)
        asked["inputs"] = [{"sha256": sha256, "name": name} for sha256, name in request.inputs]
        asked["lighter"] = [
            {"bundle": identity, "knobs": dict(knobs)} for identity, knobs in request.lighter
        ]
    return asked


def hearer(request: RunRequest, emit: EventSink, listen: Hearer | None) -> Hearer:
    """Return what takes a runner's events: as progress of the step, and whoever listens."""
    step = request.step

    def on_event(event: Mapping[str, Any]) -> None:
        if listen is not None:
            listen(event)
        done, total = event.get("done"), event.get("total")
        if isinstance(done, int):
            known = total if isinstance(total, int) else None
            emit(StepProgress(step, done, known, str(event.get("phase", ""))))

    return on_event


def _was_ended(ended: Mapping[str, Any]) -> bool:
    return bool(ended["cancelled"] or ended["timed_out"])


def _check_end(ended: Mapping[str, Any], request: RunRequest) -> None:
    words = _last_words(ended)
    if request.grace_s and ended["exit_status"] == 0 and _was_ended(ended):
        return  # it had time to end well, and did
    if ended["cancelled"]:
        raise RunnerError(f"the run was stopped before there was anything to tell{words}")
    if ended["timed_out"]:
        raise RunnerError(
            f"the runner did not end within {request.timeout_s:g} s{words}",
            hint="allow it more time, or try a smaller --size",
        )
    if ended["signal"] is not None:
        name = str(ended["signal"])
        raise RunnerError(f"the runner was ended by {name}{words}", hint=_HINTS.get(name))
    if ended["exit_status"] != 0:
        raise RunnerError(f"the runner failed with status {ended['exit_status']}{words}")


def _last_words(ended: Mapping[str, Any]) -> str:
    lines = str(ended["last_words"]).strip().splitlines()
    # The runner says in its last line what went wrong; where in its code helps nobody here.
    kept = 1 if any(line.startswith("Traceback (") for line in lines) else _LAST_LINES
    return ":\n" + "\n".join(lines[-kept:]) if lines else ""


def _fetch(client: AgentClient, job: str, names: list[str], folder: Path) -> None:
    """Fetch files of a job; they are asked for ahead and come one after the other."""
    for name in names:
        if not _NAME.fullmatch(name):
            raise RunnerError(f"the runner named a file {name!r}, which is no plain name")
        folder.mkdir(exist_ok=True)
        _Download(client, job, name, folder / name)
        # Asking on and on while the answers pile up would fill both directions of the link.
        client.settle(leave=_AHEAD)
    client.settle()


def _seen(client: AgentClient, job: str, request: RunRequest, outputs: Path) -> Mapping[str, Any]:
    """Fetch what the agent itself saw; its faults are the agent's, not the runner's."""
    if request.watch is None:
        return {}
    names = [_HEALTH, _POWER] if request.watch.power_hz else [_HEALTH]
    _fetch(client, job, names, outputs)
    health = json.loads((outputs / _HEALTH).read_text(encoding="ascii"))
    power = None
    if request.watch.power_hz:
        power = json.loads((outputs / _POWER).read_text(encoding="ascii"))
    return {
        "health": tuple(HealthSnapshot.from_json(each) for each in health["snapshots"]),
        "power": power,
    }


class _Download:
    """One file on its way: written as it comes, checked when it has come."""

    def __init__(self, client: AgentClient, job: str, name: str, path: Path) -> None:
        self._path = path
        self._digest = hashlib.sha256()
        path.unlink(missing_ok=True)
        client.submit(
            "get",
            {"job": job, "path": name},
            on_content=self._take,
            on_result=self._check,
        )

    def _take(self, piece: bytes) -> None:
        self._digest.update(piece)
        with self._path.open("ab") as file:
            file.write(piece)

    def _check(self, answer: Mapping[str, Any]) -> None:
        if answer["sha256"] != self._digest.hexdigest():
            raise AgentError(f"{self._path.name} arrived damaged", code="hash_mismatch")


def _result(
    result: Mapping[str, Any], request: RunRequest, folder: Path, duration_ns: int
) -> RunResult:
    outputs: list[dict[str, Path]] = [{} for _frame in request.frames]
    made = result.get(_MADE, ()) if request.made else ()
    for entry in result["outputs"]:
        outputs[int(entry["frame"])][str(entry["name"])] = folder / str(entry["path"])
    return RunResult(
        model_ns=tuple(map(int, result["model_ns"])),
        end_to_end_ns=tuple(map(int, result["end_to_end_ns"])),
        load_ns=result.get("load_ns"),
        memory_peak_bytes=result.get("memory_peak_bytes"),
        versions={str(name): str(text) for name, text in result.get("versions", {}).items()},
        outputs=tuple(outputs),
        answers=tuple(result["answers"]),
        duration_ns=duration_ns,
        made=tuple((str(name), folder / _MADE / str(name)) for name in made),
        spans_ns={
            str(name): (int(began), int(ended))
            for name, (began, ended) in result.get("spans_ns", {}).items()
        },
    )
