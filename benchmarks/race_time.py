"""A full race of one recipe on this machine: wall time from empty caches, and again warm.

Cold means everything: toolboxes, the board's wheels, calibration, builds and measuring. The
model's file comes from the mirror or the network, whichever the user has.
"""

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

RECIPE = os.environ.get("EDGEKIT_BENCH_RECIPE", "yolov5")
EDGEKIT = str(Path(sys.executable).with_name("edgekit"))
GOAL_COLD_S = 600
GOAL_WARM_S = 60
GOAL_BUILD_S = 5


def race(folder: str) -> tuple[float, dict[str, Any]]:
    """Race once with caches, memory and device root in ``folder``.

    Returns:
        Wall seconds and the report.
    """
    environment = {
        **os.environ,
        "XDG_CACHE_HOME": f"{folder}/cache",
        "XDG_STATE_HOME": f"{folder}/state",
        "EDGEKIT_DEVICE_ROOT": f"{folder}/device",
    }
    command = [EDGEKIT, "race", RECIPE, "--target", "local", "--json"]
    began = time.perf_counter()
    done = subprocess.run(command, env=environment, check=False, stdout=subprocess.PIPE, text=True)
    wall_s = time.perf_counter() - began
    if done.returncode not in {0, 5}:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return wall_s, json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Race cold and warm; print the figures."""
    with tempfile.TemporaryDirectory(prefix="edgekit-bench-") as folder:
        cold_s, first = race(folder)
        warm_s, second = race(folder)
    rows = [row for row in first["candidates"] if row["latency_ms"]]
    for figure, value, goal_s, seconds in (
        ("full race, caches cold", cold_s, GOAL_COLD_S, first["seconds"]),
        ("full race, caches warm", warm_s, GOAL_WARM_S, second["seconds"]),
        ("building all candidates again", second["seconds"]["build"], GOAL_BUILD_S, {}),
    ):
        line = {
            "figure": f"{RECIPE} on local: {figure}, seconds",
            "value": value,
            "goal": f"under {goal_s}",
            "ok": value < goal_s,
            "note": f"{len(rows)} candidates ran",
            "seconds": seconds,
        }
        print(json.dumps(line))


if __name__ == "__main__":
    main()
