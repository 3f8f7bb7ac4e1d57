"""JetPack's ``trtexec``: what it is told, and what it says.

Python 3.6, standard library only.
"""

import os
import re
import shutil
import subprocess
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

# Where JetPack's package libnvinfer-bin puts it.
PLACES = ("/usr/src/tensorrt/bin/trtexec", "/usr/local/tensorrt/bin/trtexec")
_MISSING = "trtexec is missing on this Jetson: sudo apt install libnvinfer-bin"
# Until 8.4 TensorRT took 16 MB for its kernels unless told otherwise.
_WORKSPACE_SINCE = (8, 4)
_WORKSPACE_MB = 1024
_LAST_WORDS = 3

_VERDICT = re.compile(r"^&&&& (RUNNING|PASSED|FAILED) TensorRT\.trtexec(?: \[TensorRT v(\d+)\])?")
_MESSAGE = re.compile(r"^\[\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\] \[([VIWEF])\] (?:\[TRT\] )?(.*)$")
_BUILT = re.compile(r"Engine built in ([0-9.]+) sec")
_THROUGHPUT = re.compile(r"^Throughput: ([0-9.]+) qps")
_TIMES = re.compile(
    r"^(Latency|Enqueue Time|H2D Latency|GPU Compute Time|D2H Latency): (min = .*)$"
)
_TIME = re.compile(r"(min|max|mean|median|percentile\(\d+%\)) = ([0-9.eE+-]+) ms")
_NO_IMPORTER = re.compile(r"No importer registered for op: ([A-Za-z0-9_]+)")


class Transcript(NamedTuple):
    """What one run of trtexec said.

    Attributes:
        passed: its own verdict; ``None`` where it never came to one.
        version: TensorRT's, such as ``8.5.3``; ``None`` where it said none.
        build_s: seconds that the engine took to build; ``None`` where none was built.
        throughput_qps: inferences per second.
        times_ms: ``Latency``, ``GPU Compute Time`` ... each with ``min``, ``max``, ``mean``,
            ``median`` and the percentiles that this version prints, such as ``percentile(99%)``.
        errors: its messages of that kind, in order.
        unsupported: operators that its ONNX parser does not know.
    """

    passed: Optional[bool]
    version: Optional[str]
    build_s: Optional[float]
    throughput_qps: Optional[float]
    times_ms: Dict[str, Dict[str, float]]
    errors: Tuple[str, ...]
    unsupported: Tuple[str, ...]


def find(places: Sequence[str] = PLACES) -> str:
    """Return trtexec's path.

    Raises:
        RuntimeError: it is not installed.
    """
    found = shutil.which("trtexec") or next((p for p in places if os.access(p, os.X_OK)), None)
    if found is None:
        raise RuntimeError(_MISSING)
    return found


def command(
    program: str, onnx: str, engine: str, timing: str, precision: str, version: Tuple[int, ...]
) -> List[str]:
    """Return the command that builds ``engine`` and times it for a moment.

    Args:
        program: trtexec.
        onnx: file to build from.
        engine: file to write.
        timing: file of kernel timings, which later builds reuse and extend.
        precision: ``fp32``, ``fp16`` or ``int8``, which may fall back on fp16.
        version: TensorRT's, such as ``(8, 5)``.
    """
    words = [program, "--onnx=" + onnx, "--saveEngine=" + engine, "--timingCacheFile=" + timing]
    if precision in ("fp16", "int8"):
        words.append("--fp16")
    if precision == "int8":
        words.append("--int8")
    if precision == "fp32":
        # It would compute in TF32, ten bits of mantissa, where the GPU has it.
        words.append("--noTF32")
    if version < _WORKSPACE_SINCE:
        words.append("--workspace=%d" % _WORKSPACE_MB)
    # Every version since 8 knows these; whether it may leave the timing out differs.
    return [*words, "--iterations=10", "--duration=1", "--warmUp=200"]


def run(words: Sequence[str], timeout_s: float) -> Transcript:
    """Run trtexec to its end; return what it said.

    Raises:
        RuntimeError: it failed, in its own words, or took too long.
    """
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise RuntimeError("trtexec did not end within %d s" % timeout_s) from error
    except OSError as error:
        raise RuntimeError("%s cannot be run: %s" % (words[0], error)) from error
    text = done.stdout.decode("utf-8", "replace")
    said = parse(text)
    if done.returncode != 0 or said.passed is not True:
        raise RuntimeError(why(said, done.returncode, text))
    return said


def parse(text: str) -> Transcript:
    """Read what trtexec printed; versions 8 to 10."""
    passed = version = build_s = throughput = None
    times = {}  # type: Dict[str, Dict[str, float]]
    errors, unsupported = [], []  # type: Tuple[List[str], List[str]]
    for line in text.splitlines():
        verdict = _VERDICT.match(line)
        if verdict is not None:
            passed = {"PASSED": True, "FAILED": False}.get(verdict.group(1))
            version = _dotted(verdict.group(2)) or version
            continue
        unsupported += [n for n in _NO_IMPORTER.findall(line) if n not in unsupported]
        message = _MESSAGE.match(line)
        if message is None:
            continue
        level, words = message.groups()
        if level in ("E", "F"):
            errors.append(words.strip())
        built = _BUILT.search(words)
        build_s = float(built.group(1)) if built is not None else build_s
        rate = _THROUGHPUT.match(words)
        throughput = float(rate.group(1)) if rate is not None else throughput
        timed = _TIMES.match(words)
        if timed is not None:
            times[timed.group(1)] = {n: float(v) for n, v in _TIME.findall(timed.group(2))}
    return Transcript(
        passed, version, build_s, throughput, times, tuple(errors), tuple(unsupported)
    )


def why(said: Transcript, status: int, text: str) -> str:
    """Say in one line why trtexec failed."""
    if said.unsupported:
        return "TensorRT has no operator %s" % ", ".join(said.unsupported)
    if said.errors:
        # The first is the cause; what follows is the fall of the rest.
        return "trtexec failed: %s" % said.errors[0]
    if status < 0:
        return "trtexec was killed by signal %d, most often out of memory" % -status
    last = " | ".join(text.strip().splitlines()[-_LAST_WORDS:])
    return "trtexec ended with %d: %s" % (status, last)


def _dotted(text: Optional[str]) -> Optional[str]:
    """Turn ``8503`` into ``8.5.3`` and ``100300`` into ``10.3.0``: two digits each from 10 on."""
    if not text:
        return None
    if len(text) <= 4:  # noqa: PLR2004 - 8503 is 8, 5, 03
        return "%d.%d.%d" % (int(text[:-3]), int(text[-3]), int(text[-2:]))
    return "%d.%d.%d" % (int(text[:-4]), int(text[-4:-2]), int(text[-2:]))
