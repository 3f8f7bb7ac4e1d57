"""Passwords of streams are shown nowhere, whatever they are written in."""

import json

import pytest

from edgekit.onboard.camera.passwords import without_passwords
from edgekit.onboard.camera.sinks import make_sink
from edgekit.onboard.camera.sources.gstreamer import GStreamerSource
from edgekit.onboard.faults import RunFailedError

LAUNCH = "rtspsrc location=rtsp://u:word@cam/1 user-pw=word"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://user:word@cam/1", "rtsp://user:***@cam/1"),
        ("rtsp://user:p@w:rd@cam/1", "rtsp://user:***@cam/1"),
        ("rtsp://:word@cam/1", "rtsp://:***@cam/1"),
        ("rtsp://user@cam/1", "rtsp://user@cam/1"),
        ("rtsp://cam:8554/a@b", "rtsp://cam:8554/a@b"),
        ("rtsp://cam/user=me&password=word&stream=0", "rtsp://cam/user=me&password=***&stream=0"),
        ("a location=rtsp://u:w@cam ! b", "a location=rtsp://u:***@cam ! b"),
        ("a user-id=me user-pw=word ! b", "a user-id=me user-pw=*** ! b"),
        ('a proxy-pw = "my word" ! b', "a proxy-pw = *** ! b"),
        ("a user-pw='my word' ! b", "a user-pw=*** ! b"),
        ("a password-file=/etc/x ! b", "a password-file=/etc/x ! b"),
    ],
)
def test_passwords_are_left_out(text, shown):
    assert without_passwords(text) == shown
    assert json.loads(without_passwords(json.dumps({"name": text}))) == {"name": shown}


def test_launch_string_is_told_without_its_password():
    with pytest.raises(RunFailedError) as told:
        GStreamerSource({"kind": "gstreamer", "name": f"{LAUNCH} ! nosuchelement"}).open()
    assert "word" not in str(told.value)
    with pytest.raises(RunFailedError) as told:
        make_sink({"kind": "video", "path": f"gst:{LAUNCH} ! x"})
    assert "u:***@cam/1" in str(told.value)
    assert "word" not in str(told.value)


def test_sink_tells_its_launch_string_without_its_password():
    sink = make_sink({"kind": "video", "path": f"gst:appsrc ! {LAUNCH}"})
    assert sink.facts["path"] == "gst:appsrc ! rtspsrc location=rtsp://u:***@cam/1 user-pw=***"
