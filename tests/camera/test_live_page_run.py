"""The live page beside a real run: the runner's own events, as they come."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from browser import shows, text, until
from preview_pictures import drawn

from edgekit.camera.page import LivePage
from edgekit.core.camera import PipelineSpec, PreviewSpec, QueueSpec, SourceSpec

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
SIZE = [48, 64]
# In every frame it finds a box from a quarter to three quarters of the frame, of class 1.
RUNNER = """
import sys, time
import numpy as np
from edgekit.onboard import harness

class Session:
    def __init__(self, folder, job, precision, knobs):
        pass

    def run(self, inputs):
        time.sleep(0.05)
        return {"y": np.array([[[32, 24, 32, 24, 0.9, 0.0, 1.0]]], np.float32)}

    def versions(self):
        return {}

sys.exit(harness.main(Session, sys.argv[1:]))
"""


def job(folder):
    """A camera of 30 frames a second before an inference that does 20."""
    pipeline = PipelineSpec(
        source=SourceSpec("drawn", width=640, height=480, fps=30),
        queue=QueueSpec(1, "latest"),
        seconds=3.3,
        preview=PreviewSpec(fps=4, width=320),
    )
    table = {
        "folder": str(folder),
        "job": {
            "inputs": [{"name": "images", "dtype": "float32", "shape": [1, 3, *SIZE]}],
            "outputs": [{"name": "y", "dtype": "float32", "shape": [1, 1, 7]}],
            "preprocess": {"name": "letterbox", "parameters": {"size": SIZE}},
            "postprocess": {"name": "yolov5", "parameters": {"size": SIZE}},
        },
        "engine": "test",
        "precision": "fp32",
        "knobs": {"threads": 1},
        "kind": "camera",
        "bundle": "only",
        "pipeline": pipeline.as_json(),
        "output": str(folder),
    }
    path = folder / "job.json"
    path.write_text(json.dumps(table))
    return path


def test_page_shows_what_a_runner_tells(tab, tmp_path):
    with LivePage(title="drawn frames", classes=("none", "middle")) as page:
        tab.get(page.url)
        command = [sys.executable, "-c", RUNNER, str(job(tmp_path))]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as run:
            events = []
            for line in run.stdout:
                events.append(json.loads(line))
                page.take(events[-1])
        assert run.returncode == 0
        page.take({"phase": "ended", "why": "it was asked for 3.3 s"})
        seconds = [event for event in events if event["phase"] == "second"]
        previews = [event for event in events if event["phase"] == "preview"]
        assert len(seconds) >= 2
        assert 3 <= len(previews) <= 15
        shows(tab, "state", "Ended: it was asked for 3.3 s")
        last = seconds[-1]
        dropped = sum(sum(causes.values()) for causes in last["dropped"].values())
        assert last["dropped"]["inference"]["latest"] > 0
        shown = [
            text(tab, name) for name in ("captured", "delivered", "dropped", "lost", "fps-out")
        ]
        counts = [last["captured"], last["delivered"], dropped, last["lost"]]
        assert shown == [*map(str, counts), f"{last['fps']:.1f}"]
        number = previews[-1]["number"]
        until(tab, lambda: text(tab, "seen") == f"Frame {number}: middle")
        pixel = drawn(tab)
        edges = [pixel(80, 150), pixel(240, 150), pixel(200, 180)]
        assert all(max(edge) - min(edge) > 100 for edge in edges)
        assert max(pixel(160, 120)) - min(pixel(160, 120)) < 60  # drawn frames are grey
