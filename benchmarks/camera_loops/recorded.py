"""The pipeline by turns as it is and writing nothing down, all in one process.

Usage: python recorded.py RUNNER JOB TURNS

A line of JSON for each turn tells the frames a second of both, and the milliseconds of processor
time for each frame. Which of them comes first changes with each turn. Between processes memory,
clocks and neighbours differ by more than is looked for.
"""

import functools
import json
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, sys.argv[1])

from edgekit.engines.onnxruntime.runner import Session
from edgekit.onboard import harness
from edgekit.onboard.camera import ledger, run, stage

job = json.loads(Path(sys.argv[2]).read_text(encoding="utf-8"))
record = Path(job["output"], "camera.json")
# Counted still, as without counting no pipeline knows its end; neither timed nor kept.
BARE: list[tuple[Any, str, Any]] = [
    (stage, "cpu_ns", lambda: 0),
    (stage, "core", lambda: 0),
    (run, "Ledger", functools.partial(ledger.Ledger, kept_rows=0)),
    (run._Run, "tick", lambda _self: None),  # noqa: SLF001 - what nobody else is to change
]
AS_IT_IS = [(where, name, getattr(where, name)) for where, name, _ in BARE]
runner = harness._Run(Session, job)  # noqa: SLF001 - its main() ends with the first run


def one_run(*, recorded: bool) -> dict[str, float]:
    """Run once; return the frames a second, and what a frame took of the processor."""
    for where, name, value in AS_IT_IS if recorded else BARE:
        setattr(where, name, value)
    began = time.process_time()
    runner.result()
    spent = time.process_time() - began
    told = json.loads(record.read_text(encoding="utf-8"))
    first, last = told["span_ns"]
    frames = told["counts"]["delivered"]
    return {"fps": frames * 1e9 / (last - first), "cpu_ms": 1e3 * spent / frames}


one_run(recorded=True)
for turn in range(int(sys.argv[3])):
    found = {recorded: one_run(recorded=recorded) for recorded in (turn % 2 == 0, turn % 2 == 1)}
    print(json.dumps({"recorded": found[True], "bare": found[False]}), flush=True)
