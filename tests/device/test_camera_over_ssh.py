"""A pipeline on a device behind a real sshd: profiled, stopped, and lost in its midst."""

import dataclasses
import signal
import threading
from contextlib import contextmanager
from pathlib import Path

import cv2
import numpy as np
import pytest
from camera_bundles import camera_bundle, runner_in
from device_life import ends

from edgekit.app import camera
from edgekit.app.camera_options import CameraOptions
from edgekit.app.camera_progress import STEP
from edgekit.app.devices import Located
from edgekit.app.options import DeployOptions
from edgekit.core.camera import QueueSpec, SinkSpec, SourceSpec
from edgekit.core.contracts import RuntimeSpec
from edgekit.core.errors import ConnectionLostError
from edgekit.core.events import StepProgress, StepStarted, ignore
from edgekit.device import connect
from edgekit.engines import load_engine
from edgekit.toolbox.wheels import resolve

pytestmark = pytest.mark.usefixtures("own_home")

BLOCK = QueueSpec(2, "block")
DRAWN = SourceSpec("drawn", "", 64, 48, fps=20.0)
BOARD = DeployOptions(model="", device="board")


@pytest.fixture
def board(sshd, tmp_path, monkeypatch):
    """Put a bundle on the device behind SSH, and have edgekit find it as `board`."""
    monkeypatch.setenv("EDGEKIT_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.chdir(tmp_path)
    bundle = camera_bundle(tmp_path / "made")
    with connect(sshd.address) as device:
        device.push(bundle.content)
        device.install(bundle)
        device.activate(bundle.identity)
    found = Located("board", "local", sshd.address)
    for module in ("camera", "camera_subject"):
        monkeypatch.setattr(f"edgekit.app.{module}.locate", lambda *_: found)
    return sshd


def after_a_second(act):
    """Return who acts once the pipeline has told of a second."""

    def emit(event):
        if isinstance(event, StepProgress) and event.step == STEP:
            act()

    return emit


def test_stopped_pipeline_brings_its_record_over_the_link(board):
    stop = threading.Event()

    @contextmanager
    def stopping():
        yield stop

    asked = CameraOptions(source=DRAWN, seconds=600.0, queue=BLOCK)
    outcome = camera.profile(BOARD, asked, stopping=stopping, emit=after_a_second(stop.set))
    assert outcome.stopped
    assert outcome.figures.captured == outcome.figures.delivered > 0


@pytest.fixture
def clip(tmp_path):
    """Make a video of 24 frames; return its source."""
    size = (64, 48)
    writer = cv2.VideoWriter(
        str(tmp_path / "my clip.avi"), cv2.VideoWriter.fourcc(*"MJPG"), 25, size
    )
    for level in range(0, 240, 10):
        writer.write(np.full((48, 64, 3), level, np.uint8))
    writer.release()
    return SourceSpec("video", "my clip.avi")


def test_video_of_this_host_is_sent_and_answers_come_home(board, clip):
    sink = SinkSpec("lines", "answers.jsonl")
    asked = CameraOptions(source=clip, seconds=0.0, queue=BLOCK, sink=sink)
    outcome = camera.profile(BOARD, asked)
    assert outcome.figures.delivered == outcome.figures.captured == 24
    assert outcome.source["name"] == "inputs/my_clip.avi"
    lines = Path("answers.jsonl").read_text().splitlines()
    assert len([line for line in lines if '"number"' in line]) == 24


@pytest.mark.network
@pytest.mark.slow
def test_board_without_opencv_is_lent_it_for_a_video(board, clip, tmp_path):
    with connect(board.address) as device:
        plain = [each for each in device.facts.pythons if not each.opencv]
        if not plain:
            pytest.skip("every Python here has OpenCV")
        lock = load_engine("onnxruntime").build_script.with_name("board.txt")
        numpy = resolve(RuntimeSpec(plain[0], lock, ("numpy",)), device.facts, emit=ignore)
        bundle = dataclasses.replace(camera_bundle(tmp_path / "made"), runtime=numpy)
        device.push(bundle.content)
        device.install(bundle)
        device.activate(bundle.identity)
    steps = []
    asked = CameraOptions(source=clip, seconds=0.0, queue=BLOCK)
    outcome = camera.profile(BOARD, asked, emit=steps.append)
    assert outcome.figures.delivered == 24
    titles = [each.title for each in steps if isinstance(each, StepStarted)]
    assert [title for title in titles if title.startswith("Install opencv_python_headless-")]


def test_lost_link_ends_the_pipeline_at_once(board):
    runners = []

    def cut():
        runners.append(runner_in(board.home))
        board.signal_sessions(signal.SIGKILL)

    with pytest.raises(ConnectionLostError):
        camera.profile(BOARD, CameraOptions(source=DRAWN, seconds=600.0), emit=after_a_second(cut))
    assert ends(runners[0])
