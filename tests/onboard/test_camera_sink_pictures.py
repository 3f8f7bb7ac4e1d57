"""Pictures that a camera pipeline leaves, with their boxes, read back."""

import errno
import importlib.util
import os
import re

import cv2
import numpy as np
import pytest
from camera_sinks import (
    FACTS,
    LIMITED,
    TESTS,
    flat,
    frame_of,
    names_in,
    python,
    run_through,
    without,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.onboard.camera.sinks import images, make_sink, pictures
from edgekit.onboard.camera.sinks.boxes import with_boxes


def test_a_box_is_the_outline_that_opencv_draws():
    rgb = np.zeros((48, 64, 3), np.uint8)
    drawn = with_boxes(rgb, [[8, 4, 40, 30, 0.9, 0]])
    assert not rgb.any()
    expected = cv2.rectangle(rgb.copy(), (8, 4), (39, 29), (255, 64, 64), 1)
    np.testing.assert_array_equal(drawn, expected)


@pytest.mark.parametrize(
    "answers", [None, [], [[3, 0.9]], [["text", 0.5]], [[0, 0, float("nan"), 9, 1, 0]], [[]]]
)
def test_answers_that_are_no_boxes_leave_the_frame_itself(answers):
    rgb = flat(3)
    assert with_boxes(rgb, answers) is rgb


@settings(deadline=None, max_examples=100)
@given(st.lists(st.floats(-1e12, 1e12), min_size=4, max_size=4), st.integers(-5, 100))
def test_any_box_is_drawn_within_itself_and_the_frame(corners, name):
    rgb = np.zeros((48, 64, 3), np.uint8)
    drawn = with_boxes(rgb, [[*corners, 0.5, name]])
    touched = np.argwhere(drawn.any(axis=2))
    x0, x1 = sorted((corners[0], corners[2]))
    y0, y1 = sorted((corners[1], corners[3]))
    for y, x in touched:
        assert x0 - 1 < x < x1 + 1
        assert y0 - 1 < y < y1 + 1


def test_a_line_is_thicker_on_a_larger_frame():
    drawn = with_boxes(np.zeros((1200, 1600, 3), np.uint8), [[100, 100, 900, 900, 1, 1]])
    assert np.flatnonzero(drawn[500].any(axis=1)).tolist() == [
        *range(100, 104),
        *range(896, 900),
    ]


def test_without_libraries_pictures_are_png(monkeypatch, tmp_path):
    with monkeypatch.context() as context:
        without(context, "cv2", "PIL", "PIL.Image")
        run_through(make_sink({"kind": "images", "path": str(tmp_path)}), [frame_of(4, answers=[])])
    assert names_in(tmp_path) == ["frame-000000004.png"]
    picture = cv2.imread(str(tmp_path / "frame-000000004.png"))
    np.testing.assert_array_equal(picture[..., ::-1], flat(4))


@pytest.mark.skipif(importlib.util.find_spec("PIL") is None, reason="Pillow is not installed")
def test_pillow_makes_jpeg_where_opencv_is_missing(monkeypatch):
    with monkeypatch.context() as context:
        without(context, "cv2")
        encoder = pictures.find_encoder()
        data = encoder.encode(flat(9))
    assert encoder.format == "jpeg"
    assert np.abs(cv2.imdecode(np.frombuffer(data, np.uint8), 1).astype(int) - 45).max() <= 2


def test_images_hold_the_frames_with_their_boxes(tmp_path):
    folder = tmp_path / "pictures"
    rgb = np.zeros((48, 64, 3), np.uint8)
    rgb[..., 0] = 200
    facts = run_through(
        make_sink({"kind": "images", "path": str(folder)}),
        [frame_of(number, rgb, [[16, 16, 48, 40, 1, 1]]) for number in (0, 12)],
    )
    assert names_in(folder) == ["frame-000000000.jpg", "frame-000000012.jpg"]
    assert facts["bytes"] == sum(path.stat().st_size for path in folder.iterdir())
    read = cv2.imread(str(folder / "frame-000000012.jpg"))[..., ::-1].astype(int)
    assert np.abs(read[4, 4] - [200, 0, 0]).max() < 12
    # A line of one pixel is blurred by JPEG's halved colours; its green is still plain.
    assert read[16, 24, 1] > 150
    assert read[4, 24, 1] < 60


def test_the_newest_images_are_kept_and_those_of_earlier_runs_go_first(tmp_path, monkeypatch):
    monkeypatch.setattr(images.ImagesSink, "most", 4)
    for age, name in enumerate(
        ["frame-000000002.jpg", "frame-000000900.jpg", "frame-000000901.png"]
    ):
        (tmp_path / name).write_bytes(b"earlier")
        os.utime(tmp_path / name, (1000 + age, 1000 + age))
    (tmp_path / "holiday.jpg").write_bytes(b"mine")
    sink = make_sink({"kind": "images", "path": str(tmp_path)})
    sink.open(FACTS)
    listings = []
    for number in range(5):
        sink.take(frame_of(number))
        listings.append(
            sorted(re.findall(r"frame-0*(\d+)\.", " ".join(names_in(tmp_path))), key=int)
        )
    sink.close()
    assert listings == [
        ["0", "2", "900", "901"],
        ["0", "1", "900", "901"],
        ["0", "1", "2", "901"],
        ["0", "1", "2", "3"],
        ["1", "2", "3", "4"],
    ]
    assert (tmp_path / "holiday.jpg").read_bytes() == b"mine"
    assert (tmp_path / "frame-000000002.jpg").read_bytes() != b"earlier"


def test_a_picture_that_no_longer_fits_leaves_no_half_of_it(tmp_path):
    process = python(LIMITED, tmp_path / "p", 100, TESTS, "images", 3)
    said, _ = process.communicate(timeout=60)
    assert said == f"RunFailedError 0 cannot write to {tmp_path}/p: {os.strerror(errno.EFBIG)}\n"
    assert not list((tmp_path / "p").glob("frame-*"))
