"""Times kernels that TVM built, or counts what they execute: each in a process of its own.

A kernel that crashes, hangs or writes where it must not ends its own process and is a result.
What is on this process's standard output is one JSON line for each kernel, as soon as it is done.

Python 3.6 and newer, standard library.
"""

import ctypes
import json
import os
import platform
import select
import shutil
import signal
import sys
import time
import traceback
from typing import Any, Dict, List, Mapping, Optional, Sequence

from edgekit.engines.tvm.runner_native import libraries, open_native

_FUNCTION = b"main"  # what MetaSchedule calls the function of a task
_LAST_BYTES = 400
_FLOAT = 2  # kDLFloat of dlpack.h
_FILLING = 0x3C  # of every byte: 1.06 in half precision, 0.0115 in single


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Run the job named on the command line; each of its frames is one kernel.

    Parameters of the run: ``arguments``, for each kernel a list of code, bits and shape;
    ``min_seconds`` of a sample, ``samples``, and ``limit_s``, after which a kernel is ended.
    With ``counts``, the file into which the emulator writes that this runs in, nothing is timed:
    what one run of a kernel executes is counted.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1:
        sys.stderr.write("usage: runner.pyz JOB.json\n")
        return 2
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with open(arguments[0], encoding="utf-8") as stream:
        job = json.load(stream)
    plan = job["postprocess_parameters"]
    try:
        # Here, so that no kernel pays for it; no thread is started before one runs.
        native = open_native(
            os.path.join(job["folder"], "libsession.so"), libraries(), job["knobs"]["threads"]
        )
        answers = []
        for number, frame in enumerate(job["frames"]):
            # TVM goes by what a file is called, and follows links before.
            library = os.path.join(job["output"], "kernel-%d.so" % number)
            shutil.copyfile(frame, library)
            answer = _apart(native, library, plan["arguments"][number], plan)
            os.unlink(library)
            answers.append(answer)
            _say(number, len(job["frames"]), answer)
        _write_result(job["output"], answers)
    except Exception as error:  # noqa: BLE001 - the process border: a fault becomes one clear line
        traceback.print_exc()
        sys.stderr.write("timing kernels failed: %s\n" % error)
        return 1
    return 0


def _say(number: int, count: int, answer: Mapping[str, Any]) -> None:
    # A phase of its own for each: the agent thins out events of one phase.
    event = {"event": "kernel", "phase": "kernel %d" % number, "done": number + 1, "total": count}
    event.update(answer, number=number)
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _apart(
    native: Any, library: str, arguments: Sequence[Any], plan: Mapping[str, Any]
) -> Dict[str, Any]:
    """Time a kernel, or count what it executes, in a process of its own."""
    theirs, ours = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(theirs)
        try:
            answer = _measured(native, library, arguments, plan)
        except Exception as error:  # noqa: BLE001 - a process border
            answer = {"failure": "run_error", "detail": str(error)[:_LAST_BYTES]}
        # At once: nothing of what this process shares with its parent is to be flushed twice.
        os.write(ours, json.dumps(answer).encode())
        os._exit(0)
    os.close(ours)
    try:
        said = _heard(theirs, plan["limit_s"])
        if said is None:
            os.kill(child, signal.SIGKILL)
    finally:
        os.close(theirs)
        _pid, status = os.waitpid(child, 0)
    if said is None:
        return {"failure": "timeout", "detail": "it took longer than %g s" % plan["limit_s"]}
    if said:
        return dict(json.loads(said.decode()))
    ended = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    how = signal.Signals(ended).name if ended else "status %d" % os.WEXITSTATUS(status)
    return {"failure": "run_error", "detail": "the kernel ended its process with %s" % how}


def _heard(source: int, limit_s: float) -> Optional[bytes]:
    """Return all that is written until the other end closes; ``None`` if that takes too long."""
    said, deadline = b"", time.monotonic() + limit_s
    while True:
        left = deadline - time.monotonic()
        ready = select.select([source], [], [], max(left, 0))[0]
        if not ready:
            return None
        piece = os.read(source, 1 << 16)
        if not piece:
            return said
        said += piece


def _measured(
    native: Any, library: str, arguments: Sequence[Any], plan: Mapping[str, Any]
) -> Dict[str, Any]:
    kernel = _loaded(native, library, arguments)
    # The first run warms caches, starts threads and binds what is bound on its first use.
    _check(native, native.tvm_session_run(kernel))
    if plan.get("counts"):
        return {"instructions": _counted(native, kernel, plan["counts"])}
    return {"seconds": _timed(native, kernel, plan)}


def _check(native: Any, status: int) -> None:
    if status != 0:
        raise RuntimeError(native.tvm_session_error().decode(errors="replace"))


def _loaded(native: Any, library: str, arguments: Sequence[Any]) -> Any:
    kernel = native.tvm_session_load(library.encode(), _FUNCTION)
    if not kernel:
        raise RuntimeError(native.tvm_session_error().decode(errors="replace"))
    for code, bits, shape in arguments:
        sizes = (ctypes.c_int64 * len(shape))(*shape)
        memory = native.tvm_session_argument(kernel, code, bits, len(shape), sizes)
        if not memory:
            raise RuntimeError(native.tvm_session_error().decode(errors="replace"))
        if code == _FLOAT:
            size = bits // 8
            for axis in shape:
                size *= axis
            # Small numbers of one exponent: arithmetic on zeros or denormals may take other times.
            ctypes.memset(memory, _FILLING, size)
    return kernel


def _counted(native: Any, kernel: Any, counts: str) -> int:
    """Return what one run executes: what the emulator counted between two marks."""
    with open(counts, encoding="ascii") as stream:
        stream.seek(0, os.SEEK_END)
        _check(native, native.tvm_session_run_marked(kernel))
        lines = [json.loads(line) for line in stream.read().splitlines()]
    if [line["end"] for line in lines] != ["mark", "mark"]:
        raise RuntimeError("the emulator that this runs in counts nothing")
    return int(lines[1]["instructions"])


def _timed(native: Any, kernel: Any, plan: Mapping[str, Any]) -> List[float]:
    run, clock = native.tvm_session_run, time.perf_counter
    started = clock()
    run(kernel)
    once = max(clock() - started, 1e-7)
    # A slow candidate loses anyway: it gets no more than its one sample.
    samples = plan["samples"] if once < plan["min_seconds"] else 1
    count = max(1, int(plan["min_seconds"] / once))
    found = []
    for _sample in range(samples):
        started = clock()
        for _run in range(count):
            run(kernel)
        found.append((clock() - started) / count)
    return found


def _write_result(folder: str, answers: Sequence[Mapping[str, Any]]) -> None:
    result = {
        "model_ns": [],
        "end_to_end_ns": [],
        "versions": {"python": platform.python_version()},
        "outputs": [],
        "answers": list(answers),
    }
    with open(os.path.join(folder, "result.json"), "w", encoding="utf-8") as stream:
        json.dump(result, stream)
