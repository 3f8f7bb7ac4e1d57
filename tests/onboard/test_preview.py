"""Previews: what they show, how often, and that the agent takes them."""

import base64
import builtins
import json

import cv2
import numpy as np
import pytest

from device_agent import runner
from edgekit.onboard.camera import preview
from edgekit.onboard.camera.preview import Preview, png, scaled, shrunk

MS = 1_000_000
BOX = [30.0, 60.0, 330.0, 240.0, 0.87654, 1.0]


def _frame(height, width, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


def _smooth(height, width):
    y, x = np.mgrid[:height, :width]
    return np.stack([x * 255 // width, y * 255 // height, (x + y) % 256], -1).astype(np.uint8)


def _shown(event):
    """The event's picture, ``uint8[H, W, 3]`` in RGB."""
    packed = np.frombuffer(base64.b64decode(event["data"], validate=True), np.uint8)
    return cv2.imdecode(packed, cv2.IMREAD_COLOR)[:, :, ::-1]


@pytest.fixture
def without_cv2(monkeypatch):
    """A board that lacks OpenCV."""
    real = builtins.__import__

    def fail(name, *rest):
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", fail)


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1), (48, 64), (270, 481)])
def test_png_is_decoded_to_the_same_pixels(shape):
    for rgb in (_frame(*shape), _smooth(*shape), np.zeros((*shape, 3), np.uint8)):
        decoded = cv2.imdecode(np.frombuffer(png(rgb), np.uint8), cv2.IMREAD_COLOR)
        np.testing.assert_array_equal(decoded[:, :, ::-1], rgb)


def test_png_of_a_view_is_that_of_its_pixels():
    rgb = _frame(60, 80)
    assert png(rgb[::3, ::2]) == png(rgb[::3, ::2].copy())


def test_shrunk_by_two_is_the_mean_of_each_four_pixels():
    rgb = _frame(20, 30)
    blocks = rgb.reshape(10, 2, 15, 2, 3).astype(int).sum(axis=(1, 3))
    np.testing.assert_array_equal(shrunk(rgb, 2), (blocks + 2) // 4)


@pytest.mark.parametrize("step", [3, 4, 5])
def test_shrunk_lies_within_the_pixels_that_it_stands_for(step):
    rgb = _frame(47, 61)
    small = shrunk(rgb, step)
    assert small.shape == (47 // step, 61 // step, 3)
    blocks = rgb[: 47 // step * step, : 61 // step * step]
    blocks = blocks.reshape(47 // step, step, 61 // step, step, 3)
    assert (small >= blocks.min(axis=(1, 3))).all()
    assert (small <= blocks.max(axis=(1, 3))).all()
    assert (shrunk(np.full((47, 61, 3), 255, np.uint8), step) == 255).all()


def test_shrunk_keeps_a_pixel_of_a_frame_that_is_thinner_than_the_step():
    assert shrunk(_frame(2, 900), 5).shape == (1, 180, 3)


@pytest.mark.parametrize(
    ("wide", "width", "shown"),
    [(1280, 480, 480), (640, 480, 480), (480, 480, 480), (300, 480, 300)],
)
def test_event_is_as_wide_as_asked_and_keeps_the_aspect(wide, width, shown):
    event = Preview(5, width).event(7, _smooth(wide * 9 // 16, wide), [], 11)
    assert (event["width"], event["number"], event["at_ns"]) == (shown, 7, 11)
    assert abs(event["height"] / shown - 9 / 16) < 0.01
    assert _shown(event).shape == (event["height"], shown, 3)


@pytest.mark.parametrize(("wide", "width", "shown"), [(1280, 480, 426), (640, 480, 320)])
def test_event_without_opencv_is_no_wider_than_asked(without_cv2, wide, width, shown):
    event = Preview(5, width).event(7, _smooth(wide * 9 // 16, wide), [], 11)
    assert event["width"] == shown
    assert abs(event["height"] / shown - 9 / 16) < 0.01


@pytest.mark.parametrize("by", [1, 2])
def test_boxes_lie_where_the_frame_has_them_however_high_the_picture_is(by):
    event = Preview(5, 50).event(0, _frame(7, 100), [[10, 2, 90, 4, 0.5, 1]], 0, by=by)
    height = event["height"]  # 3 or 4 pixels of 7
    down = [round(edge * height / (7 * by), 1) for edge in (2, 4)]
    edges = [round(edge / 2 / by, 1) for edge in (10, 90)]
    assert event["answers"] == [[edges[0], down[0], edges[1], down[1], 0.5, 1]]


def test_event_shows_the_frame_and_its_boxes_where_they_are():
    rgb = np.full((720, 1280, 3), 40, np.uint8)
    rgb[60:240, 30:330] = (250, 30, 10)  # as BOX says
    event = Preview(5, 480).event(0, rgb, [BOX], 0)
    assert event["format"] == "jpeg"
    assert event["answers"] == [[11.2, 22.5, 123.8, 90.0, 0.877, 1.0]]
    shown = _shown(event)
    assert np.abs(shown[50, 60].astype(int) - (250, 30, 10)).max() < 12
    assert np.abs(shown[50, 140].astype(int) - 40).max() < 12


def test_event_without_opencv_is_a_png_within_four_levels_of_the_pixels(without_cv2):
    rgb = _frame(120, 200)
    event = Preview(5, 100).event(3, rgb, [BOX], 0)
    assert event["format"] == "png"
    assert np.abs(_shown(event).astype(int) - shrunk(rgb, 2)).max() == 4


def test_event_is_a_line_of_json_with_answers_of_any_kind():
    numpy_box = [np.float32(1.25), 2.0, 3.0, np.float32(4.0), np.float32(0.5), np.int64(2)]
    given = [numpy_box, [np.int64(3), np.float32(0.25)], ["text", 0.9]]
    event = json.loads(json.dumps(Preview(5, 64).event(0, _frame(64, 64), given, 0)))
    assert event["answers"] == [[1.2, 2.0, 3.0, 4.0, 0.5, 2], [3, 0.25], ["text", 0.9]]
    assert (event["event"], event["phase"]) == ("camera", "preview")


def test_answers_are_as_many_as_a_line_bears():
    assert len(scaled([BOX] * 5000, 1.0, 1.0)) == preview.MOST_ANSWERS


@pytest.mark.parametrize("with_cv2", [True, False])
def test_line_stays_below_what_the_agent_takes(with_cv2, request):
    if not with_cv2:
        request.getfixturevalue("without_cv2")
    rgb = _frame(1100, 1900)  # noise, which no format makes small
    maker = Preview(5, 1900)
    first, second = (maker.event(n, rgb, [BOX] * 300, n) for n in range(2))
    for event in (first, second):
        assert len(json.dumps(event)) < runner._MAX_LINE_BYTES
        step = 1900 / event["width"] if with_cv2 else 1900 // event["width"]
        assert event["answers"][0][2] == pytest.approx(BOX[2] / step, abs=0.2)
    assert first["width"] == second["width"] < 1900


@pytest.mark.parametrize(("camera_fps", "fps", "shown"), [(30, 5, 50), (30, 12, 120), (4, 5, 40)])
def test_rate_is_kept_and_not_exceeded(camera_fps, fps, shown):
    maker, rgb = Preview(fps, 16), _frame(9, 16)
    wobble = np.random.RandomState(1).randint(-8, 9, 10 * camera_fps) * MS
    times = [n * 1000 * MS // camera_fps + int(w) for n, w in enumerate(wobble)]
    made = [at for at in times if maker.wanted(at) and maker.event(0, rgb, [], at)]
    assert shown - 2 <= len(made) <= shown + 1


def test_pictures_that_were_missed_are_not_made_up_for():
    maker, rgb = Preview(10, 16), _frame(9, 16)
    maker.event(0, rgb, [], 0)
    maker.event(1, rgb, [], 5000 * MS)  # the camera was away
    assert not maker.wanted(5099 * MS)
    assert maker.wanted(5100 * MS)


def test_rate_of_nothing_wants_nothing():
    assert not Preview(0, 480).wanted(10**15)
    with pytest.raises(ValueError, match="-1"):
        Preview(-1, 480)
    with pytest.raises(ValueError, match="0 pixels"):
        Preview(5, 0)


def test_frame_is_only_read():
    rgb = _frame(90, 160)
    rgb.setflags(write=False)
    before = rgb.copy()
    Preview(5, 40).event(0, rgb, [BOX], 0)
    np.testing.assert_array_equal(rgb, before)
