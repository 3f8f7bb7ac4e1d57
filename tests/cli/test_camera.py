"""``edgekit camera``: what is refused before a device is asked, and what is shown of a run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from camera_bundles import camera_bundle, runner_in

from edgekit.app.camera_list import DeviceCameras, SeenCamera
from edgekit.app.camera_outcome import can_trace
from edgekit.cli.interrupts import stop_on_interrupt
from edgekit.cli.main import run
from edgekit.cli.views.camera import cameras_shown
from edgekit.device import LocalAddress, connect


@pytest.fixture(autouse=True)
def own_state(tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_DEVICE_ROOT", str(tmp_path / "device"))
    monkeypatch.setenv("EDGEKIT_RUNS_DIR", str(tmp_path / "runs"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def active(tmp_path):
    bundle = camera_bundle(tmp_path / "made")
    with connect(LocalAddress(root=tmp_path / "device")) as device:
        device.push(bundle.content)
        device.install(bundle)
        device.activate(bundle.identity)
    return bundle


LOCAL = ("camera", "profile", "--device", "local")


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (("--source", "http://cam/1.mjpg"), "http is not served"),
        (("--source", "gst:"), "names nothing"),
        (("--source", "none.mp4"), "there is no video none.mp4"),
        (("--source", "none"), "there is no file or folder none"),
        (("--source", "drawn:big"), "'big' is no size of frames"),
        (("--source", "drawn", "--size", "720p"), "'720p' is no size of frames"),
        (("--source", "drawn", "--format", "YUV"), "'YUV' is no pixel format"),
        (("--source", "drawn", "--queue", "newest:2"), "'newest:2' is no queue"),
        (("--source", "drawn", "--queue", "inferense=block"), "did you mean inference"),
        (("--source", "drawn", "--queue", "latest:0"), "a depth lies between 1 and 1000"),
        (("--source", "drawn", "--place", "inference"), "'inference' places nothing"),
        (("--source", "drawn", "--place", "inference=big"), "no list of cores"),
        (("--source", "drawn", "--place", "gpu=1"), "'gpu' is no stage"),
        (("--source", "drawn", "--sink", "line:a"), "did you mean lines"),
        (("--source", "drawn", "--sink", "lines:none/a.jsonl"), "there is no folder"),
        (("--source", "drawn", "--sink", "images:pictures"), "cannot be brought home"),
        (("--source", "drawn", "--decode", "small"), "'small' is no way to decode"),
        (("--source", "drawn", "--fps", "0"), "not in the range"),
        (("--source", "drawn", "--fps", "nan"), "is not a number"),
        (("--source", "drawn", "--batch", "0"), "not in the range"),
        (("--source", "drawn", "--memory", "1"), "not in the range"),
        (("--source", "drawn", "--frames", "0"), "not in the range"),
        (("--source", "drawn", "--seconds", "soon"), "'soon' is no time"),
        (("--source", "drawn", "--trace", "none/t"), "no folder"),
        (("--source", "drawn", "--engine", "onnx"), "onnx"),
        (("--source", "drawn", "--precision", "int4"), "int4"),
    ],
)
def test_what_cannot_be_meant_is_one_line_with_a_hint(capsys, asked, words):
    assert run([*LOCAL, *asked]) == 2
    said = capsys.readouterr().err.splitlines()
    [error] = [line for line in said if line.startswith("error: ")]
    assert words in error
    assert [line for line in said if line.startswith("hint: ")]


def test_timeline_does_not_take_the_place_of_what_is_no_file(capsys):
    os.mkfifo("pipe")
    assert run([*LOCAL, "--source", "drawn", "--trace", "pipe"]) == 2
    assert "pipe is no plain file" in capsys.readouterr().err


def test_unknown_model_is_guessed(capsys):
    assert run([*LOCAL, "yolo5", "--source", "drawn"]) == 2
    assert "did you mean yolov5" in capsys.readouterr().err


def test_model_without_a_source_asks_for_one(capsys):
    assert run([*LOCAL, "yolov5"]) == 2
    assert "no source was given" in capsys.readouterr().err


def test_nothing_active_asks_for_a_model(capsys):
    assert run([*LOCAL, "--source", "drawn"]) == 3
    assert "edgekit camera profile MODEL" in capsys.readouterr().err


def test_profile_tells_stages_counts_and_places(active, capsys):
    drawn = ("--source", "drawn:64x48", "--frames", "60", "--queue", "block")
    assert run([*LOCAL, *drawn, "--queue", "inference=block:4", "--sink", "lines:a.jsonl"]) == 0
    shown = capsys.readouterr().out
    assert "YUYV 64x48 through tiny on ncnn fp32, local" in shown
    assert "frames: 60 captured = 60 delivered + 0 dropped" in shown
    for stage in ("camera", "decode", "preprocess", "inference", "postprocess", "sink"):
        assert f"\n{stage} " in shown
    assert "answers: a.jsonl" in shown
    lines = Path("a.jsonl").read_text().splitlines()
    assert len([line for line in lines if '"answers"' in line]) == 60


def test_batch_that_the_active_model_does_not_take_is_refused_before_it_runs(
    active, tmp_path, capsys
):
    assert run([*LOCAL, "--source", "drawn", "--batch", "4"]) == 2
    said = capsys.readouterr().err
    assert "error: tiny takes 1 frame at once: 4 cannot be inferred together" in said
    assert "hint: --batch 1, and in the recipe's [pipeline] too" in said
    assert not list((tmp_path / "device").glob("jobs/*"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("asked", "decoded"), [((), ", decoded at 1/4 (320x180)"), (("--decode", "whole"), "")]
)
def test_profile_tells_at_what_size_frames_were_decoded(active, capsys, asked, decoded):
    assert run([*LOCAL, "--source", "drawn:1280x720", "--frames", "10", *asked]) == 0
    assert f"YUYV 1280x720{decoded} through tiny" in capsys.readouterr().out


@pytest.mark.skipif(not can_trace(), reason="the package perfetto is not installed")
def test_timeline_that_cannot_be_written_takes_no_figures_along(active, capsys):
    name = "t" * 255  # the file's, but none before it is whole
    asked = ("--source", "drawn:64x48", "--frames", "20", "--queue", "block", "--trace", name)
    assert run([*LOCAL, *asked]) == 2
    said = capsys.readouterr().out
    assert "20 captured = 20 delivered" in said
    assert f"not written: cannot write the timeline {name}: File name" in said


def test_profile_in_json_ends_with_all_that_is_known(active, capsys):
    assert run([*LOCAL, "--source", "drawn:64x48", "--frames", "30", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["device"] == "local"
    assert told["bundles"] == [{"bundle": active.identity, "runs": "ncnn fp32"}]
    figures = told["figures"]
    dropped = sum(count for _stage, _cause, count in figures["dropped"])
    assert figures["captured"] == figures["delivered"] + dropped == 30
    assert told["source"]["kind"] == "drawn"
    assert told["spec"]["frames"] == 30
    assert told["decoded"] == {"by": 1, "width": 64, "height": 48}
    assert (Path(told["folder"]) / "camera.json").is_file()


def test_camera_that_is_not_there_ends_with_three(active, capsys):
    assert run([*LOCAL, "--source", "/dev/video97"]) == 3
    said = capsys.readouterr().err
    assert "error: local: there is no camera /dev/video97" in said
    assert "hint: edgekit camera list --device local" in said


def test_interrupted_profile_still_reports(active):
    command = [sys.executable, "-m", "edgekit", *LOCAL, "--source", "drawn:64x48", "--fps", "20"]
    process = subprocess.Popen(
        [*command, "--seconds", "10m", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if '"step_progress"' in line and '"camera"' in line:
            process.send_signal(signal.SIGINT)
            break
    rest, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    told = json.loads(rest.splitlines()[-1])
    assert told["stopped"] is True
    assert told["figures"]["delivered"] > 0


def test_interrupted_twice_gives_up(active, tmp_path):
    command = [sys.executable, "-m", "edgekit", *LOCAL, "--source", "drawn:64x48", "--fps", "20"]
    process = subprocess.Popen(
        [*command, "--seconds", "10m", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if '"step_progress"' in line and '"camera"' in line:
            # Stopped, the runner cannot end by itself.
            os.kill(runner_in(tmp_path / "device"), signal.SIGSTOP)
            process.send_signal(signal.SIGINT)
            break
    said = process.stderr.readline() + process.stderr.readline()
    assert "Ctrl-C once more" in said
    time.sleep(0.5)  # nobody presses it twice so soon
    process.send_signal(signal.SIGINT)
    rest, said = process.communicate(timeout=60)
    assert process.returncode == 130
    told = "given up; nothing of the run was brought home; the same command begins anew"
    assert said.splitlines()[-1].startswith(told)
    assert json.loads(rest.splitlines()[-1])["error"]["message"].startswith(told)


def test_signal_that_is_passed_on_twice_is_one_interrupt(monkeypatch):
    times = iter([100.0, 100.1, 101.0])
    monkeypatch.setattr("edgekit.cli.interrupts.monotonic", lambda: next(times))
    with stop_on_interrupt() as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_watch_prints_its_address_and_opens_no_browser(active):
    command = [sys.executable, "-m", "edgekit", "camera", "watch", "--device", "local", "--json"]
    process = subprocess.Popen(
        [*command, "--source", "drawn:64x48", "--fps", "20", "--no-browser"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for line in process.stdout:
        if '"step_progress"' in line and '"camera"' in line:
            process.send_signal(signal.SIGINT)
            break
    shown, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "watching at http://127.0.0.1:" in said
    told = json.loads(shown.splitlines()[-1])
    assert told["spec"]["preview"] == {"fps": 5.0, "width": 480}
    assert told["stopped"] is True


def test_cameras_of_this_machine_are_listed(capsys):
    assert run(["camera", "list", "--device", "local", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["device"] == "local"
    here = {str(path) for path in Path("/dev").glob("video*")}
    listed = {each["path"] for each in told["cameras"]} | {path for path, _why in told["refused"]}
    assert listed <= here
    assert run(["camera", "list", "--device", "local"]) == 0
    assert ("no camera is on local" in capsys.readouterr().out) == (not told["cameras"])


def test_formats_that_are_not_read_take_one_row():
    unread = tuple(f"RAW{number} (not read here)" for number in range(12))
    offers = ("YUYV 640x480 30 fps", unread[0], unread[0], "GREY 640x480 30 fps", *unread[1:])
    seen = SeenCamera("/dev/video0", "uvcvideo", "C920", offers)
    other = SeenCamera("/dev/video1", "unicam", "imx219", (unread[0],))
    [table] = cameras_shown(DeviceCameras("pi", (seen, other), ()))
    few = ", ".join(f"RAW{number}" for number in range(10))
    assert table.rows == (
        ("/dev/video0", "C920 (uvcvideo)", "YUYV 640x480 30 fps"),
        ("", "", "GREY 640x480 30 fps"),
        ("", "", f"{few} and 2 more (not read here)"),
        ("/dev/video1", "imx219 (unicam)", "RAW0 (not read here)"),
    )
