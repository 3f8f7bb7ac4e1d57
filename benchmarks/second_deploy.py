"""A second deploy to this machine with nothing changed: wall time without measuring, and bytes.

The device's root is a folder of its own, so that the first deploy is a first one for the device.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RECIPE = os.environ.get("EDGEKIT_BENCH_RECIPE", "shapes")
ROUNDS = 5
GOAL_S = 1.0

COMMAND = [
    str(Path(sys.executable).with_name("edgekit")),
    *("deploy", RECIPE, "--target", "local", "--json"),
    # What is measured is left out of the figure; so it may be short.
    *("--seconds", "0.2", "--runs", "5"),
]


def deploy(device_root: str) -> tuple[float, dict[str, Any]]:
    """Deploy once; return the wall seconds and the report."""
    environment = {**os.environ, "EDGEKIT_DEVICE_ROOT": device_root}
    began = time.perf_counter()
    done = subprocess.run(COMMAND, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    wall_s = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{COMMAND} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return wall_s, json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure and print both figures."""
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as device_root:
        deploy(device_root)
        runs = [deploy(device_root) for _ in range(ROUNDS)]
    without_measuring = [wall_s - report["seconds"].get("measure", 0.0) for wall_s, report in runs]
    median_s = statistics.median(without_measuring)
    figure = {
        "figure": "second deploy to local, wall seconds without measuring",
        "value": median_s,
        "goal": f"under {GOAL_S}",
        "ok": median_s < GOAL_S,
        "note": f"median of {ROUNDS}, from {min(without_measuring):.2f} to "
        f"{max(without_measuring):.2f}",
        "samples_s": without_measuring,
        "seconds": [report["seconds"] for _, report in runs],
    }
    print(json.dumps(figure))
    sent = max(report["transfer"]["bytes_sent"] for _, report in runs)
    figure = {
        "figure": "second deploy to local, content bytes sent",
        "value": sent,
        "goal": "0",
        "ok": sent == 0,
    }
    print(json.dumps(figure))


if __name__ == "__main__":
    main()
