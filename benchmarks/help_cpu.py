"""CPU time of ``edgekit --help`` against ``python -c 'import click, rich'``, interleaved."""

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

ROUNDS = 25
GOAL = 1.5
FORBIDDEN = ("numpy", "paramiko", "onnx", "onnxruntime", "cv2")

EDGEKIT = [str(Path(sys.executable).with_name("edgekit")), "--help"]
REFERENCE = [sys.executable, "-c", "import click, rich"]


def cpu_seconds(command: list[str]) -> float:
    """Run a command with its output thrown away; return its user plus system time."""
    quiet = [(os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)]
    process = os.posix_spawn(command[0], command, os.environ, file_actions=quiet)
    _, status, usage = os.wait4(process, 0)
    if status:
        raise SystemExit(f"{command} ended with {os.waitstatus_to_exitcode(status)}")
    return usage.ru_utime + usage.ru_stime


def imported() -> set[str]:
    """Return the top-level modules that ``edgekit --help`` imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "edgekit", "--help"],
        check=True,
        capture_output=True,
        text=True,
    )
    lines = [line for line in done.stderr.splitlines() if line.startswith("import time:")]
    return {line.rpartition("|")[2].strip().partition(".")[0] for line in lines}


def main() -> None:
    """Measure and print both figures."""
    # Once each beforehand: byte code and page cache are warm for both alike.
    for command in (EDGEKIT, REFERENCE):
        cpu_seconds(command)
    pairs = [(cpu_seconds(EDGEKIT), cpu_seconds(REFERENCE)) for _ in range(ROUNDS)]
    ours, theirs = (statistics.median(side) for side in zip(*pairs, strict=True))
    figure = {
        "figure": "edgekit --help, CPU time over 'import click, rich'",
        "value": ours / theirs,
        "goal": f"at most {GOAL}",
        "ok": ours / theirs <= GOAL,
        "note": f"{ours * 1e3:.0f} ms over {theirs * 1e3:.0f} ms, medians of {ROUNDS}",
        "samples_s": pairs,
    }
    print(json.dumps(figure))
    loaded = sorted(imported() & set(FORBIDDEN))
    figure = {
        "figure": "edgekit --help, heavy modules loaded",
        "value": len(loaded),
        "goal": f"none of {', '.join(FORBIDDEN)}",
        "ok": not loaded,
        "note": ", ".join(loaded),
    }
    print(json.dumps(figure))


if __name__ == "__main__":
    main()
