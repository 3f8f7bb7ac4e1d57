"""Frames that go into GStreamer's launch strings."""

import io
import os
import signal
import socket
import threading

import cv2
import numpy as np
import pytest
from camera_sinks import FACTS, flat, frame_of, needs_gstreamer, run_through

from edgekit.onboard.camera.sinks import make_sink
from edgekit.onboard.camera.sinks.launch import Launched
from edgekit.onboard.faults import RunFailedError


def _launch(text):
    return make_sink({"kind": "video", "path": f"gst:appsrc ! {text}"})


@pytest.mark.parametrize(
    "path", ["gst:", "gst:appsrc", "gst:filesrc ! fakesink", "gst:appsrc x=1 ! a"]
)
def test_a_launch_string_without_a_place_for_frames_is_refused(path):
    with pytest.raises(RunFailedError, match="does not begin with 'appsrc ! '"):
        make_sink({"kind": "video", "path": path})


def test_a_launch_string_with_an_open_quote_is_refused():
    with pytest.raises(RunFailedError, match="cannot read the launch string"):
        _launch("filesink location='x")


def test_without_gstreamer_the_package_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(RunFailedError, match=r"no gst-launch-1\.0.*gstreamer1\.0-tools"):
        _launch("fakesink").open(FACTS)


@needs_gstreamer
@pytest.mark.parametrize("width", [64, 63, 62, 61])
def test_gstreamer_is_given_the_very_pixels(width, tmp_path):
    rgb = np.random.RandomState(2).randint(0, 256, (48, width, 3)).astype(np.uint8)
    sink = _launch(f"pngenc snapshot=false ! multifilesink location={tmp_path}/%d.png")
    run_through(sink, [frame_of(n, np.roll(rgb, n, 0), []) for n in range(3)])
    for n in range(3):
        read = cv2.imread(str(tmp_path / f"{n}.png"))[..., ::-1]
        np.testing.assert_array_equal(read, np.roll(rgb, n, 0))


@needs_gstreamer
def test_gstreamer_serves_motion_jpeg_to_who_connects():
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    sink = _launch(
        "videoconvert ! jpegenc ! multipartmux boundary=frame ! "
        f"tcpserversink host=127.0.0.1 port={port}"
    )
    sink.open(FACTS)
    got, stop = io.BytesIO(), threading.Event()

    def look():
        while not stop.is_set():
            try:
                with socket.create_connection(("127.0.0.1", port), timeout=5) as stream:
                    while got.getvalue().count(b"--frame") < 3:
                        data = stream.recv(65536)
                        if not data:
                            return
                        got.write(data)
                    return
            except ConnectionRefusedError:
                stop.wait(0.02)

    viewer = threading.Thread(target=look)
    viewer.start()
    try:
        for number in range(3000):
            sink.take(frame_of(number, flat(20), []))
            if not viewer.is_alive():
                break
            stop.wait(0.01)
    finally:
        stop.set()
        sink.close()
        viewer.join()
    head, _, body = got.getvalue().split(b"--frame")[1].partition(b"\r\n\r\n")
    assert b"image/jpeg" in head
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (48, 64, 3)
    assert np.abs(picture.astype(int) - 100).max() <= 2


def _take_and_close(sink):
    """Whether a fault shows with the last frame or behind it is the pipeline's to choose."""
    try:
        for number in range(3):
            sink.take(frame_of(number))
    finally:
        sink.close()


def _take_until_it_fails(sink):
    for number in range(2000):
        sink.take(frame_of(number))


@needs_gstreamer
@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("nosuchelement ! fakesink", 'ended with exit status 1: .*no element "nosuchelement"'),
        (
            "filesink location=/nowhere/video",
            "ended with exit status .*: ERROR: .*Could not open.*No such file",
        ),
        # On a busy machine it was seen to tell its error and to hang.
        (
            "video/x-raw,format=I420 ! fakesink",
            "(ended with exit status 1|failed and had to be ended): ERROR: .*not-linked",
        ),
    ],
)
def test_a_pipeline_that_dies_is_told_with_its_last_words(text, words):
    sink = _launch(text)
    sink.open(FACTS)
    try:
        with pytest.raises(RunFailedError, match=rf"gst-launch-1\.0 {words}"):
            _take_until_it_fails(sink)
        with pytest.raises(RunFailedError, match="is not open"):
            sink.take(frame_of(0))
    finally:
        sink.close()


@needs_gstreamer
def test_a_pipeline_that_was_given_no_frame_ends_without_a_word():
    sink = _launch("fakesink")
    sink.open(FACTS)
    process = sink._launched._process
    sink.close()
    assert process.returncode is not None


@needs_gstreamer
def test_a_pipeline_that_is_killed_is_told():
    sink = _launch("fakesink")
    sink.open(FACTS)
    sink.take(frame_of(0))
    os.kill(sink._launched._process.pid, signal.SIGKILL)
    with pytest.raises(RunFailedError, match=r"gst-launch-1\.0 ended by signal 9"):
        _take_until_it_fails(sink)
    sink.close()


@needs_gstreamer
def test_a_pipeline_that_fails_at_its_end_is_told_on_closing():
    sink = _launch("identity error-after=3 ! fakesink")
    sink.open(FACTS)
    with pytest.raises(RunFailedError, match=r"gst-launch-1\.0 ended with exit status 1: ERROR: "):
        _take_and_close(sink)


_STALLED = "identity sleep-time=600000000 ! fakesink"


@needs_gstreamer
def test_a_pipeline_that_takes_nothing_is_told_and_ended(monkeypatch):
    monkeypatch.setattr(Launched, "stall_s", 0.5)
    sink = _launch(_STALLED)
    sink.open(FACTS)
    process = sink._launched._process
    with pytest.raises(RunFailedError, match=r"gst-launch-1\.0 has taken no data for 0\.5 s"):
        _take_until_it_fails(sink)
    sink.close()
    assert process.returncode == -signal.SIGKILL


@needs_gstreamer
def test_a_pipeline_that_does_not_end_is_ended_on_closing(monkeypatch):
    monkeypatch.setattr(Launched, "end_s", 0.5)
    sink = _launch(_STALLED)
    sink.open(FACTS)
    process = sink._launched._process
    sink.take(frame_of(0))
    with pytest.raises(RunFailedError, match=r"did not end within 0\.5 s of the last frame"):
        sink.close()
    assert process.returncode == -signal.SIGKILL
    sink.close()


@pytest.fixture
def plays(tmp_path, monkeypatch):
    """Have a script of the test's own run in the place of gst-launch-1.0, patient for a minute."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(Launched, "stall_s", 60.0)
    monkeypatch.setattr(Launched, "end_s", 60.0)
    monkeypatch.setattr(Launched, "error_s", 0.2)

    def place(script):
        program = folder / "gst-launch-1.0"
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        sink = _launch("fakesink")
        sink.open(FACTS)
        return sink

    return place


_TELLS = "printf 'ERROR: from element x: stopped\\nAdditional:\\nx.c(1): y:\\nnot-linked\\n' >&2"
_HUNG = "failed and had to be ended: ERROR: from element x: stopped not-linked"


def test_a_pipeline_that_tells_an_error_and_hangs_is_ended_with_its_words(plays):
    sink = plays(f"{_TELLS}\nexec sleep 600")
    process = sink._launched._process
    with pytest.raises(RunFailedError, match=_HUNG):
        _take_until_it_fails(sink)
    sink.close()
    assert process.returncode == -signal.SIGKILL


def test_a_pipeline_that_tells_an_error_and_does_not_end_is_ended_with_its_words(plays):
    sink = plays(f"{_TELLS}\ncat >/dev/null\nexec sleep 600")
    process = sink._launched._process
    with pytest.raises(RunFailedError, match=_HUNG):
        _take_and_close(sink)
    assert process.returncode == -signal.SIGKILL


def test_a_pipeline_that_tells_an_error_and_goes_on_is_let_go_on(plays, monkeypatch):
    monkeypatch.setattr(Launched, "error_s", 60.0)  # a busy machine may stop it for a while
    sink = plays(f"{_TELLS}\nexec cat >/dev/null")
    sink.take(frame_of(0))
    assert sink._launched._erred.wait(60)
    for number in range(1, 500):  # more than the pipe holds
        sink.take(frame_of(number))
    sink.close()
    assert sink.facts["frames"] == 500
