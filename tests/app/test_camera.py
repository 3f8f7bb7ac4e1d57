"""Pipelines on this machine, through the real agent and the real runner, from drawn frames."""

import errno
import json
import os
import re
import shutil
import signal
import threading
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest
from camera_bundles import SESSION, camera_bundle, runner_in
from processes import assert_nothing_runs_below

from edgekit.app import camera
from edgekit.app.camera_options import CameraOptions
from edgekit.app.camera_outcome import can_trace
from edgekit.app.camera_progress import STEP
from edgekit.app.options import DeployOptions
from edgekit.core.camera import PipelineSpec, QueueSpec, SinkSpec, SourceSpec
from edgekit.core.errors import ConnectionLostError, DeviceError, RunnerError, UsageError
from edgekit.core.events import StepFinished, StepProgress, StepStarted
from edgekit.device import LocalAddress, connect

LOCAL = DeployOptions(model="", device="local")
DRAWN = SourceSpec("drawn", "", 64, 48)
BLOCK = QueueSpec(2, "block")


@pytest.fixture
def activated(tmp_path, monkeypatch):
    """Return what makes a bundle the active one of a device of this test's own."""
    root = tmp_path / "device"
    monkeypatch.setenv("EDGEKIT_DEVICE_ROOT", str(root))
    monkeypatch.setenv("EDGEKIT_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)

    def activate(**changes):
        bundle = camera_bundle(tmp_path / "made", **changes)
        with connect(LocalAddress(root=root)) as device:
            device.push(bundle.content)
            device.install(bundle)
            device.activate(bundle.identity)
        return bundle

    return activate


def stop_after(seconds_told, events):
    """Return who stops a run after so many of its seconds, and who hears its events."""
    stop = threading.Event()

    def emit(event):
        events.append(event)
        told = [each for each in events if isinstance(each, StepProgress) and each.step == STEP]
        if len(told) >= seconds_told:
            stop.set()

    @contextmanager
    def stopping():
        yield stop

    return stopping, emit


def test_profile_accounts_for_every_frame_and_keeps_the_record(activated, tmp_path):
    bundle = activated()
    asked = CameraOptions(source=DRAWN, frames=200, queue=BLOCK)
    outcome = camera.profile(LOCAL, asked)
    assert (outcome.device, outcome.model) == ("local", "tiny")
    assert outcome.bundles == ((bundle.identity, "ncnn fp32"),)
    assert outcome.figures.captured == outcome.figures.delivered == 200
    assert outcome.source["card"] == "drawn frames"
    assert (outcome.stopped, outcome.broken, outcome.answers) == (False, "", None)
    assert outcome.folder.parent == tmp_path / "runs"
    files = {path.name for path in outcome.folder.iterdir()}
    assert {"asked.json", "camera.json", "frames.npy", "health.json", "report.json"} <= files
    told = json.loads((outcome.folder / "report.json").read_text())
    assert told["figures"]["delivered"] == 200
    assert json.loads((outcome.folder / "asked.json").read_text())["pipeline"]["frames"] == 200
    outcome_again = PipelineSpec(DRAWN, queue=BLOCK, seconds=0.0, frames=200)
    assert outcome.spec == outcome_again


def test_figures_are_told_where_something_else_cannot_be_written(activated, tmp_path):
    activated()
    (tmp_path / "file").touch()
    home = tmp_path / "home"
    home.mkdir()

    def emit(event):
        if isinstance(event, StepStarted) and event.step == STEP:
            home.rmdir()

    asked = CameraOptions(
        source=DRAWN,
        frames=20,
        queue=BLOCK,
        sink=SinkSpec("lines", "home/answers.jsonl"),
        trace=tmp_path / "file" / "timeline",
    )
    outcome = camera.profile(LOCAL, asked, emit=emit)
    assert outcome.figures.delivered == 20
    assert (outcome.trace, outcome.answers) == (None, None)
    answers = f"cannot write home/answers.jsonl: .*; .* is in {outcome.folder}/answers.jsonl"
    assert re.search(answers, "\n".join(outcome.unwritten))
    if can_trace():
        assert "file/timeline: Not a directory" in outcome.unwritten[0]
    assert len((outcome.folder / "answers.jsonl").read_text().splitlines()) == 20
    told = json.loads((outcome.folder / "report.json").read_text())
    assert told["unwritten"] == list(outcome.unwritten)


def test_answers_on_another_disk_are_whole_or_not_there(activated, tmp_path, monkeypatch):
    activated()
    replace = Path.replace

    def apart(path, target):
        if path.name == "answers.jsonl":
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        return replace(path, target)

    monkeypatch.setattr(Path, "replace", apart)
    asked = CameraOptions(source=DRAWN, frames=20, queue=BLOCK, sink=SinkSpec("lines", "a.jsonl"))
    outcome = camera.profile(LOCAL, asked)
    assert len(Path("a.jsonl").read_text().splitlines()) == 20
    assert not (outcome.folder / "answers.jsonl").exists()

    def full(_path, growing):
        Path(growing).write_bytes(b"some of it")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "copyfile", full)
    Path("a.jsonl").unlink()
    outcome = camera.profile(LOCAL, asked)
    assert "No space left" in outcome.unwritten[0]
    assert not [path for path in tmp_path.iterdir() if "jsonl" in path.name]
    assert (outcome.folder / "answers.jsonl").exists()


def test_stopped_profile_tells_what_was_seen_until_then(activated):
    activated(nap_s=0.01)
    events = []
    stopping, emit = stop_after(2, events)
    asked = CameraOptions(source=DRAWN, seconds=600.0, queue=BLOCK)
    outcome = camera.profile(LOCAL, asked, stopping=stopping, emit=emit)
    assert outcome.stopped
    assert outcome.figures.delivered == outcome.figures.captured > 0
    seconds = [each for each in events if isinstance(each, StepProgress) and each.step == STEP]
    assert seconds[0].unit.startswith("frames, ")
    assert "fps" in seconds[0].unit
    assert [each.ok for each in events if isinstance(each, StepFinished)][-1]


def test_profile_that_is_stopped_before_it_began_is_interrupted(activated):
    activated()
    stop = threading.Event()
    stop.set()

    @contextmanager
    def stopping():
        yield stop

    with pytest.raises(KeyboardInterrupt, match="before there was anything to tell"):
        camera.profile(LOCAL, CameraOptions(source=DRAWN, seconds=600.0), stopping=stopping)


def test_profile_that_is_given_up_once_its_record_is_home_says_where_it_is(
    activated, tmp_path, monkeypatch
):
    def interrupt(*_: object):
        raise KeyboardInterrupt

    activated()
    monkeypatch.setattr(camera, "outcome_of", interrupt)
    with pytest.raises(KeyboardInterrupt, match="as far as it came home, is in ") as caught:
        camera.profile(LOCAL, CameraOptions(source=DRAWN, frames=20))
    [record] = (tmp_path / "runs").glob("*/camera.json")
    assert str(caught.value).endswith(str(record.parent))


def test_profile_whose_device_is_lost_does_not_claim_to_go_on(activated, tmp_path):
    activated(nap_s=0.01)

    def cut(event):
        if isinstance(event, StepProgress) and event.step == STEP:
            runner = Path(f"/proc/{runner_in(tmp_path / 'device')}/stat").read_text()
            os.kill(int(runner.rpartition(")")[2].split()[1]), signal.SIGKILL)  # the agent

    asked = CameraOptions(source=DRAWN, seconds=600.0)
    with pytest.raises(ConnectionLostError, match="in mid-work") as caught:
        camera.profile(LOCAL, asked, emit=cut)
    assert "nothing of the run was brought home" in caught.value.hint
    assert_nothing_runs_below(tmp_path / "device")


def test_pipeline_that_breaks_tells_why_and_keeps_its_record(activated):
    activated(fail_at=20)
    asked = CameraOptions(source=DRAWN, frames=100, queue=BLOCK)
    outcome = camera.profile(LOCAL, asked)
    assert "out of luck" in outcome.broken
    figures = outcome.figures
    assert figures.captured == figures.delivered + sum(count for *_, count in figures.dropped)
    assert figures.delivered < 100


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (SourceSpec("v4l2", "/dev/video97"), "there is no camera /dev/video97"),
        (SourceSpec("drawn", "", 64, 48, "ABCD"), "ABCD cannot be drawn"),
    ],
)
def test_source_that_refuses_is_told_in_its_words(activated, source, words):
    activated()
    with pytest.raises(DeviceError, match=words) as caught:
        camera.profile(LOCAL, CameraOptions(source=source, seconds=1.0))
    assert "\n" not in caught.value.message
    assert not isinstance(caught.value, RunnerError)


def test_camera_that_is_busy_is_not_sought_in_the_list_of_cameras(activated):
    words = "camera /dev/video0 is busy: it is held by sleep (process 7)"
    activated(session=f"import sys; sys.stderr.write('{words}\\n'); sys.exit(1)")
    asked = CameraOptions(source=SourceSpec("v4l2", "/dev/video0"), seconds=1.0)
    with pytest.raises(DeviceError) as caught:
        camera.profile(LOCAL, asked)
    assert caught.value.message == f"local: {words}"
    assert "end that one" in caught.value.hint


def test_password_of_a_stream_is_shown_and_kept_nowhere(activated, tmp_path):
    activated()
    events = []
    source = SourceSpec("rtsp", "rtsp://user:secret@127.0.0.1:9/none")
    with pytest.raises(DeviceError) as caught:
        camera.profile(LOCAL, CameraOptions(source=source, seconds=1.0), emit=events.append)
    [asked] = (tmp_path / "runs").glob("*/asked.json")
    assert "user:***@127.0.0.1" in asked.read_text()
    assert "secret" not in f"{asked.read_text()} {events} {caught.value.message}"


def test_password_of_a_launch_string_is_in_nothing_that_a_run_leaves(activated, tmp_path):
    activated()
    launch = "gst:appsrc ! nosuchsink location=rtsp://user:secret@127.0.0.1:9/none"
    asked = CameraOptions(source=DRAWN, frames=20, queue=BLOCK, sink=SinkSpec("video", launch))
    outcome = camera.profile(LOCAL, asked)
    assert outcome.broken  # there is no such element, or no GStreamer
    left = [path.read_bytes() for path in (tmp_path / "runs").rglob("*") if path.is_file()]
    assert sum(b"user:***@127.0.0.1" in each for each in left) >= 3
    assert not any(b"secret" in each for each in left)
    assert "secret" not in str(outcome)


def test_engine_that_fails_to_load_stays_the_runners_fault(activated):
    activated(
        session=SESSION.replace(
            "self.nap_s, self.fail_at, self.calls =", "raise OSError('no engine here'); "
        )
    )
    with pytest.raises(RunnerError, match=r"loading the ncnn fp32 model failed.*no engine"):
        camera.profile(LOCAL, CameraOptions(source=DRAWN, seconds=1.0))


def test_runner_of_an_edgekit_without_pipelines_says_so(activated):
    old = "import sys; sys.stderr.write('the job names no frames\\n'); sys.exit(1)"
    activated(session=old)
    with pytest.raises(RunnerError, match="had no pipelines") as caught:
        camera.profile(LOCAL, CameraOptions(source=DRAWN, seconds=1.0))
    assert "deploy" in caught.value.hint


def test_nothing_active_and_no_model_says_what_to_do(activated):
    with pytest.raises(DeviceError, match="nothing is active on local") as caught:
        camera.profile(LOCAL, CameraOptions(source=DRAWN))
    assert "edgekit camera profile MODEL" in caught.value.hint


def test_what_cannot_be_meant_is_told_before_a_device_is_asked(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    nowhere = DeployOptions(model="", device="edge@nowhere.invalid")
    with pytest.raises(UsageError, match="there is no video"):
        camera.profile(nowhere, CameraOptions(source=SourceSpec("video", "clip.mp4")))
    relative = CameraOptions(source=DRAWN, sink=SinkSpec("images", "pictures"))
    with pytest.raises(UsageError, match="cannot be brought home"):
        camera.profile(nowhere, relative)


def test_models_that_take_tensors_are_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "mine.onnx").write_bytes(b"not looked at")
    where = DeployOptions(model=str(tmp_path / "mine.onnx"), device="local")
    with pytest.raises(UsageError, match="takes tensors, not pictures"):
        camera.profile(where, CameraOptions(source=DRAWN))


def test_images_of_this_host_are_read_in_their_order(activated, tmp_path):
    import numpy as np

    activated()
    (tmp_path / "images").mkdir()
    for number in range(7):
        np.save(tmp_path / "images" / f"{number}.npy", np.full((48, 64, 3), number, np.uint8))
    asked = CameraOptions(source=SourceSpec("folder", "images"), seconds=0.0, queue=BLOCK)
    outcome = camera.profile(LOCAL, asked)
    assert (outcome.figures.captured, outcome.figures.delivered) == (7, 7)


def test_watched_pipeline_is_on_the_page_while_it_runs(activated):
    activated(nap_s=0.01)
    seen, events = {}, []
    stopping, emit = stop_after(3, events)

    def opened(url):
        seen["page"] = urlopen(url, timeout=30).read()
        seen["url"] = url

    asked = CameraOptions(source=DRAWN, fps=20.0)
    outcome = camera.watch(LOCAL, asked, opened=opened, stopping=stopping, emit=emit)
    assert b"<html" in seen["page"]
    assert outcome.stopped
    assert outcome.spec.seconds == 0
    assert outcome.spec.preview is not None
    with pytest.raises(OSError, match=r"refused|reset"):
        urlopen(seen["url"], timeout=30)


def test_emulated_device_claims_no_times(activated, monkeypatch):
    from edgekit.core.target import DeviceFacts

    activated()
    real = DeviceFacts.__init__

    def emulated(self, **known):
        real(self, **{**known, "emulated": True})

    monkeypatch.setattr(DeviceFacts, "__init__", emulated)
    events = []
    asked = CameraOptions(source=DRAWN, frames=50, queue=BLOCK)
    outcome = camera.profile(LOCAL, asked, emit=events.append)
    assert outcome.emulated
    assert outcome.figures.delivered == 50
    assert outcome.figures.delivered_fps is None
    assert outcome.figures.latency is None
    assert not [each for each in events if isinstance(each, StepProgress) and "fps" in each.unit]


def test_power_and_heat_are_told_each_second_and_kept(activated, tmp_path, monkeypatch):
    chip = tmp_path / "sys/class/hwmon/hwmon3"
    (chip / "device").mkdir(parents=True)
    (chip / "name").write_text("ina226\n")
    (chip / "power1_input").write_text("2500000\n")
    zone = tmp_path / "sys/class/thermal/thermal_zone0"
    zone.mkdir(parents=True)
    (zone / "type").write_text("soc-thermal\n")
    (zone / "temp").write_text("61000\n")
    monkeypatch.setenv("EDGEKIT_DEVICE_SYS", str(tmp_path / "sys"))
    activated(nap_s=0.01)
    outcome = camera.profile(LOCAL, CameraOptions(source=DRAWN, seconds=3.0, power_hz=50.0))
    assert outcome.watts == 2.5
    assert outcome.hottest_c == 61
    power = json.loads((outcome.folder / "power.json").read_text())
    assert set(power["series"][0]["values"]) == {2500000}
