"""FPS that edgekit reports against what each engine's own tool says of the same files.

edgekit deploys once for each engine; then, by turns, ``edgekit bench`` measures what is active and
the engine's own tool measures the very files that stand on the device, with as many threads:
OpenVINO's ``benchmark_app`` (latency, synchronous) and LiteRT's ``litert-benchmark``; ONNX Runtime
and ncnn have none in their wheels, so that a loop stands for ``onnxruntime_perf_test`` and
``benchncnn``: one process, one input, one call after the other.

The ratio is that of the medians of a turn; the figure is the median over the turns.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from edgekit.core.events import ignore
from edgekit.core.names import EngineName
from edgekit.engines import load_engine
from edgekit.toolbox.environments import environment

RECIPE = os.environ.get("EDGEKIT_BENCH_RECIPE", "shapes")
THREADS = int(os.environ.get("EDGEKIT_BENCH_THREADS", "1"))
TURNS = 7
SECONDS = 3
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
inputs = [(each["blob"], ncnn.Mat(random.random(each["shape"][1:], dtype="float32")).clone())
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
OPENVINO = "from openvino.tools.benchmark.main import main; main()"
LITERT = "from ai_edge_litert.tools.benchmark_litert_model import main; main()"


class Engine:
    """One engine, deployed to a device root of its own."""

    def __init__(self, name: EngineName, root: Path, own: Callable[["Engine"], float]) -> None:
        self.name = name
        self.root = root
        self._own = own
        self._environment = {**os.environ, "EDGEKIT_DEVICE_ROOT": str(root)}
        quick = ("--quick", "--runs", "3", "--seconds", "0", "--threads", str(THREADS))
        precision = ("--precision", "fp32")
        report = self.edgekit("deploy", RECIPE, "--engine", name, *precision, *quick)
        (row,) = report["candidates"]
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
        return said([sys.executable, "-S", *words], PYTHONPATH=str(self.runtime))

    def tool(self, *words: str) -> str:
        """Run Python in the engine's toolbox: what its tools need is more than a board has."""
        python = environment(load_engine(self.name).toolbox, emit=ignore).python
        return said([str(python), *words])


def said(command: list[str], **more: str) -> str:
    """Run a command; return what it printed."""
    done = subprocess.run(
        command, env={**os.environ, **more}, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


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
        runs = str(max(int(SECONDS * 1000 / engine.ours_ms()), 30))
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
            for turn in range(TURNS):
                if turn % 2:
                    theirs, ours = engine.theirs_ms(), engine.ours_ms()
                else:
                    ours, theirs = engine.ours_ms(), engine.theirs_ms()
                pairs.append((ours, theirs))
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
