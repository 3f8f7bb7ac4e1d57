"""Streams: a network camera over a real connection, and GStreamer's pipelines."""

import ctypes
import os
import time

import cv2
import numpy as np
import pytest
from rtsp_camera import Camera, serving

from edgekit.onboard.camera.frames import SourceEnded, SourceLostError
from edgekit.onboard.camera.pixels import FORMATS, to_rgb
from edgekit.onboard.camera.sources import gst_library, make_source
from edgekit.onboard.camera.sources.drawn import number_of
from edgekit.onboard.camera.sources.gstreamer import GStreamerSource
from edgekit.onboard.camera.sources.rtsp import RtspSource
from edgekit.onboard.faults import RunFailedError

OPEN_S, SILENT_S = 20.0, 3.0
SIZE = {"width": 160, "height": 128}


@pytest.fixture(scope="module")
def picture():
    """Make the picture ``uint8[H, W, 3]`` (BGR) of a number below 64."""
    source = make_source({"kind": "drawn", "format": "BGR3", **SIZE})
    source.open()
    pictures = [np.asarray(source.read(1).data).reshape(128, 160, 3) for _ in range(64)]
    return pictures.__getitem__


def network_camera(url, open_s=OPEN_S, **values):
    return RtspSource({"kind": "rtsp", "name": url, **values}, open_s, SILENT_S)


def numbers_until_lost(source):
    numbers = []
    while True:
        try:
            frame = source.read(1)
        except SourceLostError as lost:
            return numbers, str(lost)
        if frame is not None:
            numbers.append(number_of(to_rgb(frame)))
            frame.release()


def test_stream_gives_its_frames_in_order_and_is_lost_when_it_stalls(picture):
    camera = Camera(20, told_fps=120, fps=20)
    with serving(camera, picture) as url:
        source = network_camera(url)
        source.open()
        facts = source.facts
        numbers, words = numbers_until_lost(source)
        source.close()
        assert (facts["format"], facts["width"], facts["height"]) == ("BGR3", 160, 128)
        assert facts["fps"] == 120  # told, and wrong: nothing is reckoned by it
        assert facts["timestamps"] == "arrival"
        assert numbers == list(range(numbers[0], 20))
        assert numbers[0] <= 3  # what FFmpeg looked at
        assert "3 s" in words
        source.open()  # it comes back
        again, _ = numbers_until_lost(source)
        assert again[-1] == 19
        source.close()


def test_stream_is_open_after_its_first_frames(picture):
    # Left to itself FFmpeg takes in frames for seconds to learn the rate, and they come out stale.
    camera = Camera(20, waits_after=4)
    with serving(camera, picture) as url:
        source = network_camera(url)
        before = time.monotonic()
        source.open()
        assert time.monotonic() - before < OPEN_S - 5
        camera.go_on.set()
        frames = [source.read(1) for _ in range(8)]
        source.close()
    numbers = [number_of(to_rgb(frame)) for frame in frames]
    assert numbers == list(range(numbers[0], numbers[0] + 8))
    gaps = np.diff([[frame.captured_ns, frame.arrived_ns] for frame in frames]).ravel()
    assert (gaps > 0).all()


class SlowStream:
    """A stream that takes long to make a picture of what it decoded."""

    took_ns = 200_000_000

    def __init__(self, stream):
        self.grab, self.release, self._retrieve = stream.grab, stream.release, stream.retrieve

    def retrieve(self, place):
        time.sleep(self.took_ns / 1e9)
        return self._retrieve(place)


def test_making_a_picture_of_what_came_is_the_sources_time(picture):
    with serving(Camera(8), picture) as url:
        source = network_camera(url)
        source.open()
        source._stream = SlowStream(source._stream)
        frame = source.read(1)
        source.close()
    assert frame.arrived_ns - frame.captured_ns >= SlowStream.took_ns


def test_stream_that_hangs_up_is_lost_and_then_not_there(picture):
    with serving(Camera(4, hang_up=True), picture) as url:
        source = network_camera(url)
        source.open()
        numbers_until_lost(source)
        source.close()
    with pytest.raises(SourceLostError, match="does not answer"):
        source.open()


def test_stream_that_never_was_there_cannot_be_meant():
    for url in ("rtsp://user:secret@127.0.0.1:1/camera", "camera"):
        source = network_camera(url, 2.0)
        with pytest.raises(RunFailedError) as told:
            source.open()
        assert "secret" not in str(told.value)
    assert "no URL" in str(told.value)


def test_server_that_says_nothing_is_waited_for_no_longer_than_agreed(picture):
    with serving(Camera(1, silent=True), picture) as url:
        source = network_camera(url, 1.0)
        before = time.monotonic()
        with pytest.raises(RunFailedError, match="does not answer"):
            source.open()
        assert time.monotonic() - before < 15  # the server itself would wait 20


def test_stream_of_another_size_is_refused_and_settings_are_left_alone(picture, monkeypatch):
    monkeypatch.delenv("OPENCV_FFMPEG_CAPTURE_OPTIONS", raising=False)
    refused = pytest.raises(RunFailedError, match="160x128 pixels, not 640x480")
    with serving(Camera(64), picture) as url, refused:
        network_camera(url, width=640, height=480).open()
    assert "OPENCV_FFMPEG_CAPTURE_OPTIONS" not in os.environ


@pytest.fixture
def gstreamer():
    """Make a source of a launch string; what was opened is closed."""
    try:
        library = gst_library.Library()
    except RunFailedError as error:
        pytest.skip(str(error))
    for plugin in ("videotestsrc", "avidemux", "jpegdec"):
        pipeline, wrong = library.parsed(f"{plugin} ! fakesink")
        if pipeline is None:
            pytest.skip(f"GStreamer here: {wrong}")
        library.gst_object_unref(pipeline)
    made = []

    def make(launch, **values):
        source = GStreamerSource({"kind": "gstreamer", "name": launch, **values}, 20.0, 1.0)
        made.append(source)
        return source

    yield make
    for source in made:
        source.close()


@pytest.fixture
def numbered(tmp_path, picture):
    path = tmp_path / "numbered.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 12, (160, 128))
    for number in range(12):
        writer.write(picture(number))
    writer.release()
    return f"filesrc location={path} ! avidemux"


def frames_of(source):
    frames = []
    while True:
        try:
            frame = source.read(5)
        except SourceEnded:
            return frames
        frames.append(frame)


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "JPEG"])
def test_pipeline_gives_every_format_in_order(gstreamer, numbered, name):
    convert = "" if name == "MJPG" else " ! jpegdec ! videoconvert"
    source = gstreamer(numbered + convert, format=name)
    source.open()
    assert (source.facts["format"], source.facts["width"]) == (name, 160)
    assert source.facts["timestamps"] == "arrival"
    frames = frames_of(source)
    source.close()
    assert [number_of(to_rgb(frame)) for frame in frames] == list(range(12))
    for frame in frames:
        frame.release()
        frame.release()


def test_jpegs_of_which_the_pipeline_knows_no_size_are_asked_for_it(gstreamer, picture, tmp_path):
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), picture(number))
    launch = f'multifilesrc location="{tmp_path}/%d.jpg" stop-index=2 caps=image/jpeg'
    source = gstreamer(launch)
    source.open()
    assert (source.facts["format"], source.facts["width"]) == ("MJPG", 160)
    assert [number_of(to_rgb(frame)) for frame in frames_of(source)] == [0, 1, 2]


@pytest.mark.parametrize("name", ["YUYV", "NV12", "YU12", "GREY", "RGB3"])
def test_lines_and_planes_with_gaps_are_read_right(gstreamer, name):
    # 18 pixels: GStreamer's lines end at multiples of four bytes, those of chroma apart.
    launch = "videotestsrc num-buffers=1 pattern=smpte ! videoconvert"
    source = gstreamer(launch, format=name, width=18, height=10)
    source.open()
    seen = to_rgb(source.read(5)).astype(int)
    source.close()
    reference = gstreamer(launch, format="BGR3", width=18, height=10)
    reference.open()
    expected = to_rgb(reference.read(5)).astype(int)
    if name == "GREY":
        expected = (expected @ [0.299, 0.587, 0.114])[..., None]
    error = np.abs(seen - expected)[:, [1, 9, 16]]  # within bars: at their edges chroma is shared
    assert np.median(error) < 12


def test_live_pipeline_stamps_when_frames_were_taken(gstreamer):
    source = gstreamer("videotestsrc is-live=true ! identity sleep-time=30000", fps=10, **SIZE)
    source.open()
    assert source.facts["timestamps"] == "capture"
    assert source.facts["fps"] == 10
    frames = [source.read(5) for _ in range(6)]
    ages = [frame.arrived_ns - frame.captured_ns for frame in frames]
    assert min(ages) >= 29_000_000  # what the pipeline itself took
    gaps = np.diff([frame.captured_ns for frame in frames])
    assert gaps.tolist() == [100_000_000] * 5  # by the camera's beat, not by arrival
    source.close()
    source.open()  # and again
    assert source.read(5) is not None


def test_putting_a_frame_together_is_the_pipelines_time(gstreamer, monkeypatch):
    source = gstreamer("videotestsrc num-buffers=2", format="RGB3", **SIZE)
    source.open()
    lying = source._lying

    def slow(*frame):
        time.sleep(0.2)
        return lying(*frame)

    monkeypatch.setattr(source, "_lying", slow)
    source.read(5).release()  # was there when it opened
    frame = source.read(5)
    assert frame.arrived_ns - frame.captured_ns >= 200_000_000
    source.close()


def test_pipeline_that_falls_silent_is_waited_for_and_then_lost(gstreamer):
    source = gstreamer("videotestsrc is-live=true ! video/x-raw,framerate=1/60")
    source.open()
    assert source.read(1) is not None
    assert source.read(0.01) is None
    assert numbers_until_lost(source) == ([], "the pipeline gave no frame for 1 s")


@pytest.mark.parametrize(
    ("launch", "values", "words"),
    [
        ("nosuchelement ! x", {}, 'no element "nosuchelement"'),
        ("v4l2src device=/dev/nonexistent", {}, "/dev/nonexistent"),
        ("filesrc location=/nonexistent ! decodebin", {}, "/nonexistent"),
        ("videotestsrc ! fakesink", {}, "could not link"),
        (
            "rtspsrc location=rtsp://127.0.0.1:1/x ! rtpjpegdepay ! jpegdec ! videoconvert",
            {},
            "Failed to connect",
        ),
        ("videotestsrc", {"format": "SGBR"}, "SGBR cannot be asked of GStreamer"),
        ("  !", {}, "needs a pipeline"),
    ],
)
def test_pipeline_that_cannot_be_meant_is_told(gstreamer, launch, values, words):
    with pytest.raises(RunFailedError, match=words):
        gstreamer(launch, **values).open()


def test_words_of_an_error_that_come_late_are_waited_for(gstreamer):
    library = gst_library.Library()
    launch = "fakesrc num-buffers=5 ! identity sleep-time=200000 error-after=2 ! fakesink"
    pipeline, _ = library.parsed(launch)
    bus = library.gst_element_get_bus(pipeline)
    library.gst_element_set_state(pipeline, gst_library.STATE_PLAYING)
    words = library.fault(bus, 20_000_000_000)
    library.gst_element_set_state(pipeline, gst_library.STATE_NULL)
    for each in (bus, pipeline):
        library.gst_object_unref(each)
    assert "Failed after iterations" in words


def test_own_appsink_is_used(gstreamer, numbered):
    source = gstreamer(f"{numbered} ! jpegdec ! videoconvert ! appsink name=mine")
    source.open()
    assert len(frames_of(source)) == 12


def test_board_without_gstreamer_is_told_what_to_install(monkeypatch):
    def absent(name):
        raise OSError(f"{name}: cannot open shared object file")

    monkeypatch.setattr(ctypes, "CDLL", absent)
    with pytest.raises(RunFailedError, match=r"apt-get install gstreamer1\.0-plugins-base"):
        make_source({"kind": "gstreamer", "name": "videotestsrc"}).open()
