"""FPS that edgekit reports against what each engine's own tool says of the same files.

edgekit deploys once for each engine; then ``edgekit bench`` measures what is active while the
engine's own tool measures the very files that stand on the device, with as many threads:
OpenVINO's ``benchmark_app`` (latency, synchronous) and LiteRT's ``litert-benchmark``; ONNX Runtime
and ncnn have none in their wheels, so that a loop stands for ``onnxruntime_perf_test`` and
``benchncnn``: one process, one input, one call after the other.

A machine whose cores are shared with others' changes its speed by a half within seconds: measured
one after the other, the same program differs from itself by more than what is asked here. So both
run on the same cores, and one is stopped whenever the other goes, a tenth of a second each. A call
that was stopped in its middle is one of a hundred, which no median sees.

The ratio is that of the medians of a turn; the figure is the median over the turns.
"""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, cast

from edgekit.core.events import ignore
from edgekit.core.names import EngineName
from edgekit.engines import load_engine
from edgekit.toolbox.environments import environment

RECIPE = os.environ.get("EDGEKIT_BENCH_RECIPE", "shapes")
THREADS = int(os.environ.get("EDGEKIT_BENCH_THREADS", "1"))
TURNS = 5
SECONDS = 12  # of both, by turns
SLICE_S = 0.1
GOAL = 0.03
EDGEKIT = str(Path(sys.executable).with_name("edgekit"))

ORT_LOOP = """
import json, os, sys, time
import numpy, onnxruntime
folder, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
path = next(os.path.join(folder, n) for n in os.listdir(folder) if n.endswith((".onnx", ".ort")))
session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
random = numpy.random.default_rng(0)
inputs = {each.name: random.random(each.shape, dtype="float32") for each in session.get_inputs()}
call = lambda: session.run(None, inputs)
"""
NCNN_LOOP = """
import json, os, sys, time
import ncnn, numpy
folder, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
blobs = json.load(open(os.path.join(folder, "blobs.json")))
net = ncnn.Net()
net.opt.num_threads = threads
# Both in float32: by itself ncnn takes up half precision wherever the CPU has it.
net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
net.opt.use_bf16_storage = False
net.load_param(os.path.join(folder, "model.ncnn.param"))
net.load_model(os.path.join(folder, "model.ncnn.bin"))
random = numpy.random.default_rng(0)
inputs = [(each["blob"], ncnn.Mat(random.random(each["shape"], dtype="float32")).clone())
          for each in blobs["inputs"]]

def call():
    extractor = net.create_extractor()
    for blob, mat in inputs:
        extractor.input(blob, mat)
    for each in blobs["outputs"]:
        extractor.extract(each["blob"])
"""
LOOP = """
end = time.perf_counter() + 1
while time.perf_counter() < end:
    call()
took, end = [], time.perf_counter() + seconds
while time.perf_counter() < end:
    began = time.perf_counter()
    call()
    took.append(time.perf_counter() - began)
print(json.dumps({"ms": sorted(took)[len(took) // 2] * 1e3}))
"""
CORES = sorted(os.sched_getaffinity(0))[-THREADS:]
OWN_TOOL = "EDGEKIT_BENCH_OWN_TOOL"  # in the environment of an engine's own tool
OPENVINO = "from openvino.tools.benchmark.main import main; main()"
LITERT = "from ai_edge_litert.tools.benchmark_litert_model import main; main()"


class Engine:
    """One engine, deployed to a device root of its own."""

    def __init__(self, name: EngineName, root: Path, own: Callable[["Engine"], float]) -> None:
        self.name = name
        self.root = root
        self._own = own
        self._environment = {**os.environ, "EDGEKIT_DEVICE_ROOT": str(root)}
        quick = ("--quick", "--runs", "10", "--seconds", "1", "--threads", str(THREADS))
        precision = ("--precision", "fp32")
        report = self.edgekit("deploy", RECIPE, "--engine", name, *precision, *quick)
        (row,) = report["candidates"]
        self.about_ms = float(row["latency_ms"]["p50"])
        self.bundle = root / "bundles" / row["bundle"]
        manifest = json.loads((self.bundle / "manifest.json").read_text(encoding="utf-8"))
        self.runtime = root / "runtimes" / manifest["runtime"]["id"]

    def edgekit(self, *words: str) -> dict[str, Any]:
        """Run edgekit on the device root; return its result."""
        command = [EDGEKIT, *words, "--target", "local", "--json"]
        done = subprocess.run(
            command, env=self._environment, check=False, stdout=subprocess.PIPE, text=True
        )
        if done.returncode:
            raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}")
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def ours_ms(self) -> float:
        """Return the median that edgekit tells."""
        report = self.edgekit(
            "bench", "--seconds", str(SECONDS), "--budget", "0", "--power-hz", "0"
        )
        return float(report["results"][0]["latency_ms"]["p50"])

    def theirs_ms(self) -> float:
        """Return the median that the engine's own tool tells."""
        return self._own(self)

    def python(self, *words: str) -> str:
        """Run Python with the packages that edgekit installed on the device."""
        return said([sys.executable, "-S", *words], PYTHONPATH=str(self.runtime), **{OWN_TOOL: "1"})

    def tool(self, *words: str) -> str:
        """Run Python in the engine's toolbox: what its tools need is more than a board has."""
        python = environment(load_engine(self.name).toolbox, emit=ignore).python
        return said([str(python), *words], **{OWN_TOOL: "1"})


def said(command: list[str], **more: str) -> str:
    """Run a command; return what it printed."""
    done = subprocess.run(
        command, env={**os.environ, **more}, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def measuring() -> list[int]:
    """Return the processes below this one that measure."""
    parents, found = {}, []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int(
                (folder / "stat").read_text().rpartition(")")[2].split()[1]
            )
            ours = any(
                word.endswith(b"runner.pyz")
                for word in (folder / "cmdline").read_bytes().split(b"\0")
            )
            if ours or OWN_TOOL.encode() in (folder / "environ").read_bytes():
                found.append(int(folder.name))
    return [pid for pid in found if os.getpid() in ancestors(pid, parents)]


def ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    """Go up from a process."""
    while pid := parents.get(pid, 0):
        yield pid


@contextmanager
def by_turns() -> Iterator[None]:
    """Let one process that measures go at a time, all of them on the same cores."""
    over = threading.Event()

    def alternate() -> None:
        seen: set[int] = set()
        turn = 0
        while not over.is_set():
            processes = measuring()
            for pid in set(processes) - seen:
                # Before it has threads: they go where it went.
                with suppress(ProcessLookupError):
                    os.sched_setaffinity(pid, CORES)
            seen |= set(processes)
            turn += 1
            for number, pid in enumerate(processes):
                goes = number == turn % len(processes)
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT if goes else signal.SIGSTOP)
            over.wait(SLICE_S)
        for pid in measuring():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    thread = threading.Thread(target=alternate)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def loop(program: str) -> Callable[[Engine], float]:
    """Return a tool that is a loop of ours."""

    def tool(engine: Engine) -> float:
        words = ("-c", program + LOOP, str(engine.bundle), str(THREADS), str(SECONDS))
        return float(json.loads(engine.python(*words))["ms"])

    return tool


def benchmark_app(engine: Engine) -> float:
    """Ask OpenVINO's own tool."""
    options = ("-m", str(engine.bundle / "model.xml"), "-api", "sync", "-hint", "none")
    options += ("-infer_precision", "f32")
    counts = ("-nstreams", "1", "-nthreads", str(THREADS), "-t", str(SECONDS))
    told = engine.tool("-c", OPENVINO, *options, *counts)
    median = re.search(r"Median:\s+([\d.]+) (\S+)", told)
    if median is None:
        raise SystemExit(f"benchmark_app told no median:\n{told[-2000:]}")
    return float(median[1]) / (1 if median[2] == "ms" else 1000)


def litert_benchmark(engine: Engine) -> float:
    """Ask LiteRT's own tool."""
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder) / "result.json"
        runs = str(max(int(SECONDS * 1000 / 2 / engine.about_ms), 30))
        counts = ("--num_threads", str(THREADS), "--num_runs", runs, "--warmup_runs", "30")
        model = ("--model", str(engine.bundle / "model.tflite"), "--result_json", str(result))
        engine.tool("-c", LITERT, *model, *counts)
        told = json.loads(result.read_text(encoding="utf-8"))
        return float(told["latency"]["median_ms"])


TOOLS: dict[EngineName, tuple[str, Callable[[Engine], float]]] = {
    "onnxruntime": ("a loop as onnxruntime_perf_test's", loop(ORT_LOOP)),
    "ncnn": ("a loop as benchncnn's", loop(NCNN_LOOP)),
    "tflite": ("litert-benchmark", litert_benchmark),
    "openvino": ("benchmark_app", benchmark_app),
}


def main() -> None:
    """Measure and print a figure for each engine."""
    from statistics import median

    chosen = os.environ.get("EDGEKIT_BENCH_ENGINES", ",".join(TOOLS)).split(",")
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        for name in cast("list[EngineName]", chosen):
            title, tool = TOOLS[name]
            engine = Engine(name, Path(folder) / name, tool)
            pairs = []
            for _turn in range(TURNS):
                with by_turns(), ThreadPoolExecutor(2) as pool:
                    both = pool.submit(engine.ours_ms), pool.submit(engine.theirs_ms)
                    pairs.append((both[0].result(), both[1].result()))
            ratios = sorted(theirs / ours for ours, theirs in pairs)
            figure = {
                "figure": f"FPS by edgekit over {title}, {name} fp32, {RECIPE}, {THREADS} threads",
                "value": median(ratios),
                "goal": f"from {1 - GOAL:.2f} to {1 + GOAL:.2f}",
                "ok": abs(median(ratios) - 1) <= GOAL,
                "note": f"{TURNS} turns, from {ratios[0]:.3f} to {ratios[-1]:.3f}; "
                f"{median(ours for ours, _ in pairs):.3f} ms",
                "samples_ms": pairs,
            }
            print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
