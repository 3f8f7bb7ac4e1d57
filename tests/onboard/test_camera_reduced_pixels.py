"""Frames at a part of their size: known means, every layout, C equal to NumPy, and JPEGs."""

import sys

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.onboard.camera import jpeg
from edgekit.onboard.camera.frames import Captured
from edgekit.onboard.camera.pixels import (
    FORMATS,
    REDUCIBLE,
    REDUCTIONS,
    least_bytes,
    packed_stride,
    to_rgb,
)
from edgekit.onboard.faults import RunFailedError

SHARED = settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
YUV = [name for name in REDUCIBLE if name not in {"MJPG", "JPEG"}]


def frame(name, data, width, height, stride=0):
    return Captured(data, name, width, height, stride, 0, 0, 0, False, lambda: None)


def laid_out(name, y, u, v):
    """Bytes of a frame; u and v: one sample for each pair of pixels, or each four."""
    if name in {"YUYV", "UYVY"}:
        chroma = np.stack([u, v], -1).reshape(y.shape)
        order = [y, chroma] if name == "YUYV" else [chroma, y]
        return np.stack(order, -1).tobytes()
    if name == "YU12":
        return y.tobytes() + u.tobytes() + v.tobytes()
    pair = [u, v] if name == "NV12" else [v, u]
    return y.tobytes() + np.stack(pair, -1).tobytes()


def in_words_of_the_standard(y, u, v):
    """The documented formula for one pixel, in Python's own integers."""
    c, d, e = y - 16, u - 128, v - 128
    values = (298 * c + 409 * e, 298 * c - 100 * d - 208 * e, 298 * c + 516 * d)
    return [min(max((value + 128) >> 8, 0), 255) for value in values]


@pytest.mark.parametrize("by", REDUCTIONS)
@pytest.mark.parametrize("name", YUV)
def test_small_pixel_has_the_colour_of_the_mean_of_its_samples(means, name, by):
    random = np.random.RandomState(by)
    height, width = 3 * by, 5 * by
    width += width % 2
    y = random.randint(0, 256, (height, width)).astype(np.uint8)
    down = 1 if name in {"YUYV", "UYVY"} else 2
    u, v = random.randint(0, 256, (2, height // down, width // 2)).astype(np.uint8)
    rgb = to_rgb(frame(name, laid_out(name, y, u, v), width, height), by=by)
    assert rgb.shape == (height // by, width // by, 3)

    def mean(plane, row, column, tall, wide):
        samples = plane[row * tall : (row + 1) * tall, column * wide : (column + 1) * wide]
        return int(np.floor(samples.mean() + 0.5))

    for row in range(height // by):
        for column in range(width // by):
            luma = mean(y, row, column, by, by)
            chroma = [mean(each, row, column, by // down, by // 2) for each in (u, v)]
            assert rgb[row, column].tolist() == in_words_of_the_standard(luma, *chroma)


@SHARED
@given(
    name=st.sampled_from(FORMATS[: FORMATS.index("MJPG")]),
    by=st.sampled_from([0, 1, 2, 3, 4, 8, 16]),
    size=st.tuples(*[st.integers(*edge) for edge in ((1, 90), (1, 4), (0, 1), (0, 1))]),
    gap=st.integers(0, 9),
    levels=st.sampled_from([(0, 1, 255), tuple(range(256))]),
    seed=st.integers(0, 1000),
)
def test_c_and_numpy_are_equal_or_refuse_alike(answers_of_both, name, by, size, gap, levels, seed):
    width, height = (edge * max(by, 1) + odd for edge, odd in zip(size[:2], size[2:], strict=True))
    stride = packed_stride(name, width) + gap
    # Not a byte more than there must be: what is read beyond would be anybody's.
    most = max(1, least_bytes(name, width, height, stride))
    data = np.random.RandomState(seed).choice(np.array(levels, np.uint8), most)
    captured = frame(name, data, width, height, stride)
    answers = answers_of_both(lambda: to_rgb(captured, by=by))
    if isinstance(answers[0], str):
        assert answers[0] == answers[1]
        paired = name in {"RGB3", "BGR3", "GREY"} or width % 2 == 0
        divided = by == 1 or (by in REDUCTIONS and not width % by and not height % by)
        flat = name not in {"NV12", "NV21", "YU12"} or (height % 2 == 0)
        even = name != "YU12" or stride % 2 == 0
        reducible = by == 1 or name in REDUCIBLE
        assert not (paired and divided and flat and even and reducible)
    else:
        np.testing.assert_array_equal(*answers)
        assert answers[0].shape == (height // by, width // by, 3)


def test_it_writes_where_it_is_told(means):
    out = np.zeros((90, 160, 3), np.uint8)
    data = np.full(640 * 360 * 2, 128, np.uint8)
    assert to_rgb(frame("YUYV", data, 640, 360), out, 4) is out
    assert (out == (298 * 112 + 128) >> 8).all()
    with pytest.raises(ValueError, match=r"uint8\[180, 320, 3\]"):
        to_rgb(frame("YUYV", data, 640, 360), out, 2)


@pytest.mark.parametrize(("name", "by"), [("RGB3", 2), ("GREY", 4), ("YUYV", 3), ("MJPG", 8)])
def test_what_cannot_be_made_smaller_is_refused(name, by):
    with pytest.raises(ValueError, match=f"{name}, 36 x 36 pixels, cannot be made {by} times"):
        to_rgb(frame(name, bytes(9999), 36, 36), by=by)


def picture():
    across = np.tile(np.linspace(0, 255, 64, dtype=np.uint8), (48, 1))
    grey = np.full((48, 64), 90, np.uint8)
    return np.stack([across, grey, across // 2], 2)


def packed(rgb, *how):
    return cv2.imencode(".jpg", rgb[..., ::-1], list(how))[1].tobytes()


@pytest.mark.parametrize("by", REDUCTIONS)
def test_jpeg_is_made_at_a_part_of_its_size(by):
    rgb = picture()
    small = to_rgb(frame("MJPG", packed(rgb) + bytes(99), 64, 48), by=by)
    assert small.shape == (48 // by, 64 // by, 3)
    expected = cv2.resize(rgb, (64 // by, 48 // by), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - expected).mean() < 4
    out = np.zeros_like(small)
    assert to_rgb(frame("MJPG", packed(rgb), 64, 48), out, by) is out
    np.testing.assert_array_equal(out, small)


@pytest.mark.parametrize("by", REDUCTIONS)
def test_jpeg_of_another_size_is_refused_though_its_part_is_of_the_right_one(by):
    # Of 63 x 47 pixels the decoder rounds up, to what it makes of 64 x 48.
    with pytest.raises(ValueError, match="63 x 47 pixels was to be 64x48"):
        to_rgb(frame("MJPG", packed(picture()[:47, :63]), 64, 48), by=by)


def test_size_is_found_behind_other_segments_and_in_progressive_ones():
    data = packed(picture(), cv2.IMWRITE_JPEG_PROGRESSIVE, 1)
    comment = b"\xff\xfe\x00\x06\xff\xc0\x00\x00"  # looks like a frame header within
    data = data[:2] + comment + b"\xff\xff\xff" + data[3:]
    assert to_rgb(frame("MJPG", data, 64, 48), by=2).shape == (24, 32, 3)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: data[: len(data) // 2],
        lambda data: data[:20] + b"\xff\xd9",
        lambda data: data[:2] + b"\x00" + data[2:],
        lambda data: data[:2] + b"\xff\xe0\x00\x00" + data[2:],
        lambda data: b"\xff\xd8\xff\xd9",
        lambda data: b"\xff\xd8" + b"\xff" * 50 + b"\xff\xd9",
        lambda data: b"\xff\xd8\xff\xe0\xff\xff\xff\xd9",
    ],
)
def test_spoilt_jpeg_is_a_value_error(spoil):
    with pytest.raises(ValueError, match="JPEG"):
        to_rgb(frame("MJPG", spoil(packed(picture())), 64, 48), by=2)


@settings(deadline=None)
@given(st.binary(max_size=60))
def test_no_bytes_keep_the_search_for_a_size_from_its_end(rest):
    content = b"\xff\xd8" + rest + b"\xff\xd9"
    with pytest.raises(ValueError, match="JPEG"):
        jpeg.decoded("MJPG", np.frombuffer(content, np.uint8), (64, 48), 2)


def test_jpegs_without_opencv_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(RunFailedError, match="pip install opencv-python-headless"):
        to_rgb(frame("MJPG", packed(picture()), 64, 48), by=2)
