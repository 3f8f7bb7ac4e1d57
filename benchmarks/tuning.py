"""Tuning on this machine: how far it gets in ten minutes, how fast, and against ONNX Runtime.

Records are kept apart from the user's own. Each race measures its candidates by turns, so that a
ratio is of figures taken side by side. ``EDGEKIT_BENCH_TUNE`` sets another time, such as ``2m``
or ``60m``, for float32; int8 gets half of it.
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

EDGEKIT = str(Path(sys.executable).with_name("edgekit"))
MODEL = ("yolov5", "--target", "local", "--size", "320")
MINUTES = float(os.environ.get("EDGEKIT_BENCH_TUNE", "10m").removesuffix("m"))
RUNTIME = ("libtvm_ffi.so", "libtvm_runtime.so", "libsession.so", "tvm-run")
LEAST_GAIN = 20.0
MOST_BEHIND = 1.5
LEAST_TRIALS = 2.0
MOST_PAYLOAD_MB = 6.0


def edgekit(folder: str, records: str, *arguments: str) -> dict[str, Any]:
    """Run edgekit; return its result."""
    environment = {
        **os.environ,
        "EDGEKIT_DEVICE_ROOT": f"{folder}/device",
        "EDGEKIT_RECORDS_DIR": f"{folder}/{records}",
    }
    command = [EDGEKIT, arguments[0], *MODEL, "--json", *arguments[1:]]
    done = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    if done.returncode not in {0, 5} or not lines:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def race(folder: str, records: str, engines: str, precisions: str) -> dict[tuple[str, str], float]:
    """Race with one thread; return each candidate's median in milliseconds."""
    asked = ("--engine", engines, "--precision", precisions, "--threads", "1", "--fresh")
    report = edgekit(folder, records, "race", *asked)
    return {
        (row["engine"], row["precision"]): row["latency_ms"]["p50"]
        for row in report["candidates"]
        if row["latency_ms"]
    }


def show(figure: str, value: float, goal: str, ok: bool | None, note: str) -> None:
    """Print one figure."""
    row = {"figure": f"yolov5@320: {figure}", "value": value, "goal": goal, "ok": ok, "note": note}
    print(json.dumps(row), flush=True)


def main() -> None:
    """Tune, race, and print the figures."""
    tvm, ort = ("tvm", "fp32"), ("onnxruntime", "fp32")
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        untuned = race(folder, "none", "tvm", "fp32")[tvm]
        report = edgekit(folder, "records", "tune", "--time", f"{MINUTES:g}m")
        trials, seconds = report["trials"], report["seconds"]
        found = race(folder, "records", "tvm,onnxruntime", "fp32")
        took = f"{trials} trials in {seconds:.0f} s"
        what = f"{untuned:.1f} to {found[tvm]:.1f} ms, 1 thread, {took}"
        gain = untuned / found[tvm]
        show(f"tuned for {MINUTES:g} min against untuned", gain, ">= 20x", gain >= LEAST_GAIN, what)
        behind = found[tvm] / found[ort]
        what = f"{found[tvm]:.1f} and {found[ort]:.1f} ms, 1 thread"
        show(
            "tuned TVM's time against ONNX Runtime's",
            behind,
            "<= 1.5x",
            behind <= MOST_BEHIND,
            what,
        )
        rate = trials / seconds
        show("trials a second, with build", rate, ">= 2", rate >= LEAST_TRIALS, took)
        held = [path for name in RUNTIME for path in Path(folder, "device").rglob(name)]
        once = {path.name: path.stat().st_size for path in held}
        payload = sum(once.values()) / 1e6
        what = ", ".join(f"{name} {size / 1e6:.2f}" for name, size in sorted(once.items()))
        ok = len(once) == len(RUNTIME) and payload <= MOST_PAYLOAD_MB
        show("payload on the board besides the model, MB", payload, "<= 6, no Python", ok, what)
        report = edgekit(folder, "records", "tune", "-p", "int8", "--time", f"{MINUTES / 2:g}m")
        took = f"{report['trials']} trials in {report['seconds']:.0f} s"
        found = race(folder, "records", "tvm,onnxruntime", "fp32,int8")
        ours, theirs = found["tvm", "int8"], found["onnxruntime", "int8"]
        what = f"{found[tvm]:.1f} to {ours:.1f} ms, 1 thread, {took}"
        show("TVM's int8 against its float32, both tuned", found[tvm] / ours, ">= 1.0x", None, what)
        what = f"{ours:.1f} and {theirs:.1f} ms, 1 thread"
        show("TVM's int8 time against ONNX Runtime's int8", ours / theirs, "none set", None, what)


if __name__ == "__main__":
    main()
