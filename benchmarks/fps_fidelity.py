"""FPS that edgekit reports for ONNX Runtime on this machine against a bare loop, interleaved.

The bare loop is a process of its own, with the interpreter and packages that edgekit's runner
used, over the very file edgekit installed: load, warm up, call, divide. What the ratio shows is
what edgekit's harness adds to, or hides from, the engine's own speed.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RECIPE = os.environ.get("EDGEKIT_BENCH_RECIPE", "shapes")
ROUNDS = 7
SECONDS = 3
THREADS = 2
GOAL = 0.02

BARE_LOOP = """
import json, sys, time
import numpy, onnxruntime

model, threads, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = threads
options.inter_op_num_threads = 1
session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
random = numpy.random.default_rng(0)
inputs = {each.name: random.random(each.shape, dtype="float32") for each in session.get_inputs()}

def loop(seconds):
    runs, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        session.run(None, inputs)
        runs += 1
    return runs / (time.perf_counter() - began)

loop(0.3)
print(json.dumps({"fps": loop(seconds), "onnxruntime": onnxruntime.__version__}))
"""


def reported(device_root: Path) -> dict[str, Any]:
    """Deploy through edgekit; return the row of ONNX Runtime."""
    command = [
        str(Path(sys.executable).with_name("edgekit")),
        *("deploy", RECIPE, "--target", "local", "--engine", "onnxruntime"),
        *("--precision", "fp32", "--threads", str(THREADS), "--seconds", str(SECONDS), "--json"),
    ]
    environment = {**os.environ, "EDGEKIT_DEVICE_ROOT": str(device_root)}
    done = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    (row,) = json.loads(done.stdout.splitlines()[-1])["candidates"]
    return dict(row)


def bare(device_root: Path, bundle: str) -> dict[str, Any]:
    """Run the bare loop over what edgekit installed."""
    folder = device_root / "bundles" / bundle
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    (model,) = folder.rglob("*.onnx")
    runtime = device_root / "runtimes" / manifest["runtime"]["id"]
    command = [sys.executable, "-c", BARE_LOOP, str(model), str(THREADS), str(SECONDS)]
    environment = {**os.environ, "PYTHONPATH": str(runtime)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Measure and print the figure."""
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        root = Path(folder)
        bundle = reported(root)["bundle"]
        bare(root, bundle)
        pairs = []
        version = ""
        for _ in range(ROUNDS):
            ours = reported(root)["fps"]
            loop = bare(root, bundle)
            pairs.append((ours, loop["fps"]))
            version = loop["onnxruntime"]
    ratio = statistics.median(ours / theirs for ours, theirs in pairs)
    figure = {
        "figure": f"FPS reported over a bare loop, onnxruntime {version}, {RECIPE}",
        "value": ratio,
        "goal": f"from {1 - GOAL} to {1 + GOAL}",
        "ok": abs(ratio - 1) <= GOAL,
        "note": f"median of {ROUNDS} pairs, from {min(a / b for a, b in pairs):.3f} to "
        f"{max(a / b for a, b in pairs):.3f}; {THREADS} threads",
        "samples_fps": pairs,
    }
    print(json.dumps(figure))


if __name__ == "__main__":
    main()
