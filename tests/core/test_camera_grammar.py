"""What is written of a pipeline, read; what cannot be meant is told with what can."""

import pytest

from edgekit.core import camera_grammar as grammar
from edgekit.core.camera import QueueSpec, SinkSpec, SourceSpec
from edgekit.core.errors import UsageError


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("/dev/video0", SourceSpec("v4l2", "/dev/video0")),
        ("/dev/v4l/by-id/usb-cam", SourceSpec("v4l2", "/dev/v4l/by-id/usb-cam")),
        ("rtsp://user:word@cam/1", SourceSpec("rtsp", "rtsp://user:word@cam/1")),
        ("RTSPS://cam", SourceSpec("rtsp", "RTSPS://cam")),
        ("./clip.MP4", SourceSpec("video", "./clip.MP4")),
        ("street.v2", SourceSpec("folder", "street.v2")),
        ("images", SourceSpec("folder", "images")),
        ("gst:videotestsrc ! identity", SourceSpec("gstreamer", "videotestsrc ! identity")),
        ("libcamera", SourceSpec("gstreamer", "libcamerasrc")),
        ("libcamera:/base/i2c@1/imx219@10",
         SourceSpec("gstreamer", 'libcamerasrc camera-name="/base/i2c@1/imx219@10"')),
        ("drawn", SourceSpec("drawn")),
        ("drawn:640x480", SourceSpec("drawn", "", 640, 480)),
    ],
)  # fmt: skip
def test_source_is_what_it_looks_like(text, source):
    assert grammar.parse_source(text) == source


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names nothing"),
        ("gst:", "gst:LAUNCH names nothing"),
        ("http://cam/video.mjpg", "http is not served"),
        ("file:///clip.mp4", "file is not served"),
        ('libcamera:a" ! filesink location="x', "no camera is named so"),
        ("drawn:640", "no size of frames"),
        ("drawn:0x480", "no size of frames"),
    ],
)
def test_source_that_cannot_be_meant_says_what_can(text, words):
    with pytest.raises(UsageError, match=words) as caught:
        grammar.parse_source(text)
    assert caught.value.hint


def test_source_of_no_known_scheme_is_refused_without_its_password():
    with pytest.raises(UsageError, match="https is not served") as caught:
        grammar.parse_source("https://me:s3cret@cam/video.mjpg")
    assert "s3cret" not in str(caught.value)
    assert grammar.parse_source(caught.value.hint.partition(": ")[2]).kind == "gstreamer"


@pytest.mark.parametrize(
    ("text", "queue"),
    [
        ("latest", QueueSpec(2, "latest")),
        ("block:4", QueueSpec(4, "block")),
        ("drop-oldest:1", QueueSpec(1, "drop-oldest")),
    ],
)
def test_queue_is_a_policy_and_a_depth(text, queue):
    assert grammar.parse_queue(text) == queue


@pytest.mark.parametrize("text", ["", "newest:2", "latest:", "latest:0", "block:-1", "block:1001"])
def test_queue_that_cannot_be_meant_says_what_can(text):
    with pytest.raises(UsageError, match="is no queue") as caught:
        grammar.parse_queue(text)
    assert "policies: block, drop-oldest, latest" in str(caught.value.hint)


def test_names_that_are_nearly_right_are_guessed():
    with pytest.raises(UsageError, match="did you mean inference"):
        grammar.parse_stage("inferense")
    with pytest.raises(UsageError, match="did you mean drop-oldest"):
        grammar.parse_queue("drop_oldest:2")
    with pytest.raises(UsageError, match="did you mean lines"):
        grammar.parse_sink("line:a.jsonl")


@pytest.mark.parametrize("text", ["0", "4-5", "0,2", "0-1,3"])
def test_cores_are_a_list_as_linux_has_it(text):
    assert grammar.parse_cores(text) == text


@pytest.mark.parametrize("text", ["", "big", "5-4", "1-", "-1", "1,,2", "1;2"])
def test_cores_that_cannot_be_meant_are_refused(text):
    with pytest.raises(UsageError, match="no list of cores"):
        grammar.parse_cores(text)


@pytest.mark.parametrize(
    ("text", "sink"),
    [
        ("none", SinkSpec("none")),
        ("lines:answers.jsonl", SinkSpec("lines", "answers.jsonl")),
        ("video:/data/a:b.mp4", SinkSpec("video", "/data/a:b.mp4")),
        ("memory", SinkSpec("memory")),
        ("memory:/frames", SinkSpec("memory", "/frames")),
    ],
)
def test_sink_is_a_kind_and_a_path(text, sink):
    assert grammar.parse_sink(text) == sink


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("lines", "needs the path of a file"),
        ("images:", "needs the path of a folder"),
        ("none:x", "takes no path"),
        ("preview", "is no sink"),
        ("", "is no sink"),
    ],
)
def test_sink_that_cannot_be_meant_is_refused(text, words):
    with pytest.raises(UsageError, match=words):
        grammar.parse_sink(text)


@pytest.mark.parametrize("text", ["YUYV", "NV12", "MJPG", "Y10 "])
def test_format_is_four_characters(text):
    assert grammar.parse_format(text) == text


@pytest.mark.parametrize("text", ["", "YUV", "YUYV2", "YU\nV", "ÄÄÄÄ"])
def test_format_that_cannot_be_is_refused(text):
    with pytest.raises(UsageError, match="no pixel format"):
        grammar.parse_format(text)


def test_size_of_frames_is_width_by_height():
    assert grammar.parse_frame_size("1280X720") == (1280, 720)
    for wrong in ("1280", "1280x", "x720", "0x0", "1280x720x3", "-1x2", "123456x1"):
        with pytest.raises(UsageError, match="no size of frames"):
            grammar.parse_frame_size(wrong)


def test_decoding_is_reduced_or_whole():
    assert [grammar.parse_decode(text) for text in grammar.DECODES] == ["reduced", "whole"]
    with pytest.raises(UsageError, match="did you mean reduced") as caught:
        grammar.parse_decode("reduce")
    assert "whole: as the camera has it" in caught.value.hint
