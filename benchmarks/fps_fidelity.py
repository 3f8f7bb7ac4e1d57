"""FPS that edgekit reports for ONNX Runtime on this machine against a bare loop.

edgekit deploys once; then one process loads the session of the installed bundle, from the very
``runner.pyz`` that runs on a board, and lets edgekit's timed loop and a bare loop over the same
session take turns. What the ratio shows is what the harness adds to, or hides from, the engine's
own speed; whatever else happens on the machine hits both alike.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RECIPE = os.environ.get("EDGEKIT_BENCH_RECIPE", "shapes")
THREADS = (1, 2)
TURNS = 120
GOAL = 0.02

TAKING_TURNS = """
import contextlib, io, json, statistics, sys, time
bundle, turns = sys.argv[1], int(sys.argv[2])
sys.path.insert(0, bundle + "/runner.pyz")
import numpy
from edgekit.engines.onnxruntime.runner import Session
from edgekit.onboard import timing

with open(bundle + "/manifest.json") as stream:
    manifest = json.load(stream)
session = Session(bundle, manifest["job"], manifest["precision"], manifest["knobs"])
bare_run = session._session.run
random = numpy.random.default_rng(0)
inputs = {each["name"]: random.random(each["shape"], dtype="float32")
          for each in manifest["job"]["inputs"]}
SECONDS = 0.1
plan = {"min_runs": 1, "min_seconds": SECONDS, "max_seconds": 60}

def ours():
    with contextlib.redirect_stdout(io.StringIO()):
        samples = timing.timed(lambda: session.run(inputs), plan, "model")
    return len(samples) * 1e9 / sum(samples)

def bare():
    runs, began = 0, time.perf_counter()
    while time.perf_counter() - began < SECONDS:
        bare_run(None, inputs)
        runs += 1
    return runs / (time.perf_counter() - began)

ours(), bare()
pairs = []
for turn in range(turns):
    first, second = (ours, bare) if turn % 2 else (bare, ours)
    one, other = first(), second()
    pairs.append((one, other) if turn % 2 else (other, one))
print(json.dumps({"pairs": pairs, **session.versions()}))
"""


def deployed(root: Path, threads: int) -> Path:
    """Deploy through edgekit; return the folder of the installed bundle."""
    command = [
        str(Path(sys.executable).with_name("edgekit")),
        *("deploy", RECIPE, "--target", "local", "--engine", "onnxruntime"),
        *("--precision", "fp32", "--threads", str(threads), "--runs", "3", "--seconds", "0"),
        "--json",
    ]
    environment = {**os.environ, "EDGEKIT_DEVICE_ROOT": str(root)}
    done = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    (row,) = json.loads(done.stdout.splitlines()[-1])["candidates"]
    return root / "bundles" / row["bundle"]


def take_turns(root: Path, bundle: Path) -> dict[str, Any]:
    """Let both loops take turns over one session, with the packages edgekit installed."""
    manifest = json.loads((bundle / "manifest.json").read_text(encoding="utf-8"))
    runtime = root / "runtimes" / manifest["runtime"]["id"]
    command = [sys.executable, "-S", "-c", TAKING_TURNS, str(bundle), str(TURNS)]
    environment = {**os.environ, "PYTHONPATH": str(runtime)}
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def main() -> None:
    """Measure and print the figure, for one thread and for two."""
    from statistics import median, quantiles

    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        root = Path(folder)
        for threads in THREADS:
            took = take_turns(root, deployed(root, threads))
            ratios = [ours / bare for ours, bare in took["pairs"]]
            quarters = quantiles(ratios, n=4)
            figure = {
                "figure": f"FPS reported over a bare loop, same session, {RECIPE}, "
                f"{threads} thread{'s' * (threads > 1)}",
                "value": median(ratios),
                "goal": f"from {1 - GOAL} to {1 + GOAL}",
                "ok": abs(median(ratios) - 1) <= GOAL,
                "note": f"median of {TURNS} turns, half of them from {quarters[0]:.3f} to "
                f"{quarters[2]:.3f}; onnxruntime {took['onnxruntime']}",
                "samples_fps": took["pairs"],
            }
            print(json.dumps(figure))


if __name__ == "__main__":
    main()
