"""What the real runner leaves is what the host reads, figures and traces."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edgekit.camera.record import read_record

ROOT = Path(__file__).resolve().parents[2]
RUNNER = """
import sys
from edgekit.onboard import harness

class Session:
    def __init__(self, folder, job, precision, knobs):
        self.fail_at, self.calls = knobs["fail_at"], 0

    def run(self, inputs):
        self.calls += 1
        if self.calls == self.fail_at:
            raise RuntimeError("out of luck")
        return {"y": inputs["images"].mean(axis=(2, 3))}

    def versions(self):
        return {}

sys.exit(harness.main(Session, sys.argv[1:]))
"""
SOURCE = {"kind": "drawn", "name": "", "width": 64, "height": 48, "format": "GREY", "fps": 0}


def left(folder, *, policy="block", fail_at=0):
    """Run the runner; return the record of what it left."""
    pipeline = {
        "source": SOURCE,
        "queue": {"depth": 2, "policy": policy},
        "queues": {},
        "sink": {"kind": "none", "path": ""},
        "preview": None,
        "adapt": None,
        "placement": {},
    }
    pipeline.update(seconds=0, frames=200, batch=1, memory_mb=64)
    size = {"size": [24, 32]}
    job = {
        "folder": str(folder),
        "output": str(folder),
        "kind": "camera",
        "precision": "fp32",
        "knobs": {"threads": 1, "fail_at": fail_at},
        "pipeline": pipeline,
        "job": {
            "inputs": [{"name": "images", "dtype": "float32", "shape": [1, 3, 24, 32]}],
            "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 3]}],
            "preprocess": {"name": "resize", "parameters": size},
            "postprocess": {"name": "classify", "parameters": {}},
        },
    }
    path = folder / "job.json"
    path.write_text(json.dumps(job))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", RUNNER, str(path)]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return read_record(folder)


@pytest.mark.parametrize(("policy", "fail_at"), [("block", 0), ("latest", 0), ("block", 50)])
def test_record_of_the_runner_is_read(tmp_path, policy, fail_at):
    record = left(tmp_path, policy=policy, fail_at=fail_at)
    assert record.is_whole
    assert bool(record.broken) == bool(fail_at)
    if policy == "block" and not fail_at:
        assert record.counts.delivered == record.frames == 200
    assert record.pid is not None
    assert dict(record.threads)["capture"] > record.pid
    assert (record.cpu_ns or 0) > 0
