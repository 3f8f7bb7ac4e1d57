"""Races on this machine: the chosen candidate against every engine's float32, and its drop.

One race for each model, size and number of threads; within a race all candidates are measured by
turns, so each ratio is of figures that were taken side by side. Nothing measured before counts
(``--fresh``). An engine's float32 row is at least as fast as that engine's own default: the race
lets it have rewrites and knobs too.

``EDGEKIT_BENCH_RACES`` names other races, such as ``yolov5@320:1,shapes:2`` (model, size,
threads).
"""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RACES = (
    "yolov5@640:1,yolov5@640:2,yolov5@320:1,yolov5@320:2,"
    "efficientnet-lite0:1,efficientnet-lite0:2,ppocr-det:1,ppocr-det:2"
)
EDGEKIT = str(Path(sys.executable).with_name("edgekit"))
# Of two candidates that the noise does not tell apart, the more accurate is chosen: it may be
# behind by what counts as no difference.
NO_DIFFERENCE = 0.99
LEAST_GAIN = 3.0
MOST_DROP = 0.01


def race(model: str, size: str, threads: str, device_root: str) -> dict[str, Any]:
    """Run one race; return its report."""
    command = [EDGEKIT, "race", model, "--target", "local", "--json", "--fresh"]
    command += ["--threads", threads, *(("--size", size) if size else ())]
    environment = {**os.environ, "EDGEKIT_DEVICE_ROOT": device_root}
    done = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    lines = done.stdout.splitlines()
    if done.returncode not in {0, 5} or not lines:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    report: dict[str, Any] = json.loads(lines[-1])
    return report


def figures(name: str, report: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the figures of one race."""
    rows = {(row["engine"], row["precision"]): row for row in report["candidates"]}
    best = report["best"]
    if best is None:
        return [{"figure": f"{name}: chosen", "value": None, "goal": "one", "ok": False}]
    chosen = rows[best["engine"], best["precision"]]
    floats = {
        engine: row["latency_ms"]["p50"]
        for (engine, precision), row in rows.items()
        if precision == "fp32" and row["latency_ms"]
    }
    own = chosen["latency_ms"]["p50"]
    rival = min(floats, key=lambda engine: floats[engine])
    accuracy = chosen["accuracy"]
    drop = accuracy["drop"]
    what = f"{best['engine']} {best['precision']}"
    note = f"{what} {own:.2f} ms; " + ", ".join(f"{e} {ms:.2f}" for e, ms in sorted(floats.items()))
    made = [
        {
            "figure": f"{name}: chosen against the fastest float32 ({rival})",
            "value": floats[rival] / own,
            "goal": ">= 1.0x",
            "ok": floats[rival] / own >= NO_DIFFERENCE,
            "note": note,
        },
        {
            "figure": f"{name}: drop of the chosen, {accuracy['metric']}",
            "value": drop,
            "goal": f"<= {MOST_DROP}",
            "ok": drop <= MOST_DROP,
            "note": f"{accuracy['images']} images, 95 % {accuracy['interval']}",
        },
    ]
    if name.startswith("yolov5@320") and "onnxruntime" in floats:
        gain = floats["onnxruntime"] / own
        made.append(
            {
                "figure": f"{name}: chosen against ONNX Runtime fp32",
                "value": gain,
                "goal": f">= {LEAST_GAIN}x at a drop <= {MOST_DROP}",
                "ok": gain >= LEAST_GAIN and drop <= MOST_DROP,
            }
        )
    int8 = [row for (_, p), row in rows.items() if p == "int8" and row["status"] == "ok"]
    if name.startswith("yolov5@640") and int8:
        fastest = min(int8, key=lambda row: row["latency_ms"]["p50"])
        made.append(
            {
                "figure": f"{name}: drop of the fastest int8 that passed ({fastest['engine']})",
                "value": fastest["accuracy"]["drop"],
                "goal": f"<= {MOST_DROP}",
                "ok": fastest["accuracy"]["drop"] <= MOST_DROP,
            }
        )
    return made


def main() -> None:
    """Run every race and print its figures."""
    asked = os.environ.get("EDGEKIT_BENCH_RACES", RACES)
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as device_root:
        for name in asked.split(","):
            what, _, threads = name.partition(":")
            model, _, size = what.partition("@")
            print(f"race {name} ...", file=sys.stderr, flush=True)
            report = race(model, size, threads or "1", device_root)
            threaded = f"{what} {threads or 1} thread{'s' if threads not in {'', '1'} else ''}"
            for figure in figures(threaded, report):
                print(json.dumps(figure), flush=True)


if __name__ == "__main__":
    main()
