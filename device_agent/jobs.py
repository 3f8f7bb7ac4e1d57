"""Runs an engine's runner as a process of its own, so that its crash is a result."""

import json
import os
import time

from device_agent import durable
from device_agent.bundles import read_manifest
from device_agent.bytecode import bytecode_flags
from device_agent.layout import check_name, check_sha256
from device_agent.lock import DeviceLock
from device_agent.protocol import VerbError
from device_agent.runner import Runner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from device_agent.layout import Layout
    from device_agent.server import Answer, Call

RUNNER = "runner.pyz"
SAMPLER = "libsampler.so"
"""The power sampler's loop in C; a bundle may be without it."""

_KEPT_JOBS = 1  # what they wrote may be large, and a board's disk is small
_KINDS = ("camera", "evaluate", "infer", "profile", "time")
_MOST_GRACE_S = 600


def run(call: "Call") -> "Answer":
    """Run a bundle's runner on frames that are in the store, or on what a camera sees.

    The runner's death is part of the answer; the request fails only where the runner could not
    be started, or the host cancelled. With ``grace_s`` a runner that is cancelled or timed out may
    end by itself within that time, and what it left is the answer.
    """
    layout = call.layout
    identity = check_sha256(call.arg("bundle", str))
    layout.make()
    with DeviceLock(layout.lock, "camera" if call.arg("kind", str) == "camera" else "run"):
        manifest = read_manifest(layout, identity)
        command = _command(call, _python(manifest["runtime"].get("python")))
        job, folder = _make_job_folder(layout)
        table = _job_table(call, manifest, folder)
        # A camera's address in it may hold a password.
        text = json.dumps(table, sort_keys=True)
        durable.write_file(os.path.join(folder, "job.json"), text, 0o600)
        runner_file = os.path.join(layout.bundle(identity), RUNNER)
        if not os.path.exists(runner_file):
            raise VerbError("not_found", f"bundle {identity} holds no {RUNNER}")
        command += [runner_file, os.path.join(folder, "job.json")]
        environment = _environment(_runtimes(call, manifest))
        ended = _run(call, command, folder, environment, _sampler(layout, identity, manifest))
    ended["job"] = job
    ended["files"] = _files(folder)
    return ended


def _run(
    call: "Call",
    command: "List[str]",
    folder: str,
    environment: "Dict[str, str]",
    sampler: "Optional[Tuple[str, str]]",
) -> "Answer":
    timeout_s = float(call.arg("timeout_s", (int, float)))
    grace_s = _grace_s(call)
    if "watch" not in call.args:
        return Runner(command, folder, environment, grace_s).watch(call, timeout_s)
    from device_agent.watch import Watch

    wanted = call.arg("watch", dict)
    tell = call.event if wanted.get("tell") is True else None
    with Watch(wanted, call.roots, tell, sampler) as watch:
        watch.before()
        runner = Runner(command, folder, environment, grace_s)
        watch.during(runner.group)
        ended = runner.watch(call, timeout_s, watch.tick)
        watch.after()
        watch.write(folder)
    return ended


def _sampler(
    layout: "Layout", identity: str, manifest: "Dict[str, Any]"
) -> "Optional[Tuple[str, str]]":
    """Return path and sha256 of the bundle's loop in C, if it has one."""
    for entry in manifest["files"]:
        if entry["path"] == SAMPLER:
            return os.path.join(layout.bundle(identity), SAMPLER), entry["sha256"]
    return None


def _grace_s(call: "Call") -> float:
    if "grace_s" not in call.args:
        return 0.0
    grace_s = float(call.arg("grace_s", (int, float)))
    if not 0 < grace_s <= _MOST_GRACE_S:
        raise VerbError("bad_request", f"run: grace_s must lie between 0 and {_MOST_GRACE_S}")
    return grace_s


def _runtimes(call: "Call", manifest: "Dict[str, Any]") -> "List[str]":
    """Return the folders that the runner imports from: the bundle's first, then what it is lent."""
    lent = call.arg("runtimes", list) if "runtimes" in call.args else []
    folders = [call.layout.runtime(each) for each in lent]
    absent = [each for each, folder in zip(lent, folders) if not os.path.isdir(folder)]
    if absent:
        raise VerbError("not_found", f"no runtime {absent[0]} is installed", {"absent": absent})
    return [call.layout.runtime(manifest["runtime"]["id"]), *folders]


def _command(call: "Call", python: str) -> "List[str]":
    """Return the command that starts a Python, by what the host wants it started by, if anything.

    Then no bytecode is taken up: whatever ran before, as many instructions are to be counted.
    """
    launcher = _launcher(call)
    flags = ["-B"] if launcher else bytecode_flags(call.layout, call.roots.proc, python)
    return [*launcher, python, *flags, "-s"]


def _launcher(call: "Call") -> "List[str]":
    """Return the command that starts the runner in the host's stead, such as one that counts."""
    words = call.arg("launcher", list) if "launcher" in call.args else []
    if not all(isinstance(word, str) for word in words):
        raise VerbError("bad_request", "run: launcher must be a list of words")
    return list(words)


def _make_job_folder(layout: "Layout") -> "List[str]":
    for old in sorted(os.listdir(layout.jobs))[:-_KEPT_JOBS]:
        durable.discard(os.path.join(layout.jobs, old))
    job = f"{int(time.time() * 1e6)}-{os.getpid()}"
    folder = layout.job(job)
    durable.make_folder(folder)
    return [job, folder]


def _job_table(call: "Call", manifest: "Dict[str, Any]", folder: str) -> "Dict[str, Any]":
    kind = call.arg("kind", str)
    if kind not in _KINDS:
        raise VerbError("bad_request", f"run: {kind!r} is no kind of job")
    knobs = dict(manifest["knobs"])
    knobs.update(call.arg("knobs", dict) if "knobs" in call.args else {})
    table = {
        "bundle": call.arg("bundle", str),
        "folder": call.layout.bundle(call.arg("bundle", str)),
        "job": manifest["job"],
        "engine": manifest["engine"],
        "precision": manifest["precision"],
        "knobs": knobs,
        "kind": kind,
        "frames": _link_frames(call, folder),
        "plan": call.arg("plan", dict),
        "postprocess_parameters": call.args.get("postprocess_parameters") or {},
        "output": folder,
    }
    if kind == "camera":
        table["pipeline"] = call.arg("pipeline", dict)
        table["lighter"] = _lighter(call, manifest)
        _link_inputs(call, folder)
    return table


def _lighter(call: "Call", manifest: "Dict[str, Any]") -> "List[Dict[str, Any]]":
    """Describe the bundles that may take over in the same process, the lightest last."""
    described = []
    for each in call.arg("lighter", list) if "lighter" in call.args else []:
        identity = check_sha256(each.get("bundle"))
        other = read_manifest(call.layout, identity)
        if any(other[name] != manifest[name] for name in ("engine", "runtime")):
            text = f"run: {other['engine']} {other['precision']} cannot take over: another runtime"
            raise VerbError("bad_request", text)
        described.append({name: other[name] for name in ("job", "engine", "precision")})
        knobs = {**other["knobs"], **(each.get("knobs") or {})}
        described[-1].update(bundle=identity, folder=call.layout.bundle(identity), knobs=knobs)
    return described


def _link_inputs(call: "Call", folder: str) -> None:
    """Put what the pipeline reads from the store into the folder ``inputs``, by its names."""
    place = os.path.join(folder, "inputs")
    durable.make_folder(place)
    for each in call.arg("inputs", list) if "inputs" in call.args else []:
        sha256, name = check_sha256(each.get("sha256")), check_name(each.get("name"))
        content = call.layout.content(sha256)
        if not os.path.exists(content):
            raise VerbError("not_found", f"{name} is not in the store", {"absent": [name]})
        os.symlink(content, os.path.join(place, name))


def _link_frames(call: "Call", folder: str) -> "List[str]":
    """Give each frame a name with its suffix, which content in the store does not have."""
    frames = call.arg("frames", list) if "frames" in call.args else []
    linked = []
    place = os.path.join(folder, "frames")
    durable.make_folder(place)
    for index, frame in enumerate(frames):
        sha256, name = check_sha256(frame.get("sha256")), check_name(frame.get("name"))
        content = call.layout.content(sha256)
        if not os.path.exists(content):
            raise VerbError("not_found", f"frame {name} is not in the store", {"absent": [name]})
        path = os.path.join(place, f"{index:04d}-{name}")
        if not name.endswith((".npy", ".npz")):
            path += _suffix(content)
        os.symlink(content, path)
        linked.append(path)
    return linked


def _suffix(content: str) -> str:
    with open(content, "rb") as file:
        return ".npz" if file.read(2) == b"PK" else ".npy"  # an .npz is a zip archive


def _python(wanted: object) -> str:
    if isinstance(wanted, str) and os.path.isabs(wanted):
        if os.access(wanted, os.X_OK):
            return wanted
        raise VerbError("no_python", f"the bundle runs on {wanted}, which is not here")
    from device_agent.pythons import find_pythons

    pythons = find_pythons()
    for python in pythons:
        if f"{python['version']}.".startswith(f"{wanted}."):
            return str(python["executable"])
    found = ", ".join(str(python["version"]) for python in pythons)
    raise VerbError("no_python", f"the bundle runs on Python {wanted}; here is {found or 'none'}")


def _environment(runtimes: "List[str]") -> "Dict[str, str]":
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    kept.update(
        PYTHONPATH=os.pathsep.join(runtimes), PYTHONIOENCODING="utf-8", PYTHONUNBUFFERED="1"
    )
    return kept


def _files(folder: str) -> "List[List[Any]]":
    """Return path and size of everything the runner wrote."""
    files = []
    for name in sorted(os.listdir(folder)):
        path = os.path.join(folder, name)
        if os.path.isfile(path) and not os.path.islink(path) and name != "job.json":
            files.append([name, os.path.getsize(path)])
    return files
