"""Frames for a camera pipeline's sinks, and what was left of them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import edgekit
from edgekit.onboard.camera.frames import Captured, Frame

TESTS = Path(__file__).parent
REPOSITORY = Path(edgekit.__file__).parents[1]
FACTS = {"width": 64, "height": 48, "fps": 25.0}
BOX = [8.2, 4.0, 40.0, 30.0, 0.9, 2]
needs_gstreamer = pytest.mark.skipif(
    shutil.which("gst-launch-1.0") is None,
    reason="gst-launch-1.0 is not installed (scripts/system-packages.sh camera)",
)


def frame_of(number, rgb=None, answers=None, captured_ns=None):
    """A frame as it comes to the sink."""
    at_ns = 1_000_000_000 + number * 40_000_000 if captured_ns is None else captured_ns
    captured = Captured(b"", "RGB3", 0, 0, 0, at_ns, at_ns, number, False, lambda: None)
    frame = Frame(number, captured, 5)
    frame.rgb = flat(number) if rgb is None else rgb
    frame.answers = [BOX] if answers is None else answers
    return frame


def flat(number, height=48, width=64):
    """A picture of one grey level, which tells the number."""
    return np.full((height, width, 3), number * 5 % 256, np.uint8)


def run_through(sink, frames, facts=None):
    """Give frames to a sink, and close it; return what it tells."""
    sink.open(facts or FACTS)
    try:
        for frame in frames:
            sink.take(frame)
    finally:
        sink.close()
    return sink.facts


def names_in(folder):
    """What lies in a folder."""
    return sorted(path.name for path in folder.iterdir())


def python(code, *arguments, **options):
    """Another process of this Python, on the code under test."""
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True, **options)


# A process that may write files of so many bytes only.
LIMITED = """
import resource, sys
sys.path.insert(0, sys.argv[3])
from camera_sinks import FACTS, frame_of
from edgekit.onboard.camera.sinks import make_sink
limit = int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sink = make_sink({"kind": sys.argv[4], "path": sys.argv[1]})
sink.open(FACTS)
try:
    for number in range(int(sys.argv[5])):
        sink.take(frame_of(number))
    sink.close()
except Exception as error:
    print(type(error).__name__, sink.facts["frames"], error)
    sink.close()
"""


def without(monkeypatch, *names):
    """Let modules be missing."""
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)
