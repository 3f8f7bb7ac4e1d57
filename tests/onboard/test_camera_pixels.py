"""A camera's bytes to RGB: known colours, every layout, and C equal to NumPy."""

import sys

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgekit.onboard import native
from edgekit.onboard.camera.frames import Captured
from edgekit.onboard.camera.pixels import FORMATS, least_bytes, packed_stride, to_rgb
from edgekit.onboard.faults import RunFailedError

SHARED = settings(
    deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
RAW = [name for name in FORMATS if name not in {"MJPG", "JPEG"}]
# Of the standard's 75 % and 100 % bars: Y, U, V and what they are in RGB, within one step of it.
COLOURS = {
    (16, 128, 128): (0, 0, 0),
    (235, 128, 128): (255, 255, 255),
    (81, 90, 240): (255, 0, 0),
    (145, 54, 34): (0, 255, 0),
    (41, 240, 110): (0, 0, 255),
    (180, 128, 128): (191, 191, 191),
}


def frame(name, data, width, height, stride=0):
    return Captured(data, name, width, height, stride, 0, 0, 0, False, lambda: None)


def laid_out(name, yuv, rgb, width, height):
    """Bytes of a frame of one colour."""
    y, u, v = yuv
    pixels = width * height
    return bytes(
        {
            "YUYV": [y, u, y, v] * (pixels // 2),
            "UYVY": [u, y, v, y] * (pixels // 2),
            "NV12": [y] * pixels + [u, v] * (pixels // 4),
            "NV21": [y] * pixels + [v, u] * (pixels // 4),
            "YU12": [y] * pixels + [u] * (pixels // 4) + [v] * (pixels // 4),
            "RGB3": list(rgb) * pixels,
            "BGR3": list(rgb)[::-1] * pixels,
        }[name]
    )


@pytest.mark.parametrize("name", [name for name in RAW if name != "GREY"])
def test_colours_are_the_standards(means, name):
    for yuv, expected in COLOURS.items():
        rgb = to_rgb(frame(name, laid_out(name, yuv, expected, 6, 4), 6, 4))
        assert rgb.shape == (4, 6, 3)
        assert np.abs(rgb.astype(int) - expected).max() <= 1, (yuv, rgb[0, 0])


def test_every_pixel_finds_its_own_place(means):
    # Luma counts up, so that any exchange of pixels or lines shows; no chroma.
    luma = np.arange(16, 16 + 24, dtype=np.uint8).reshape(4, 6)
    grey = np.full(24, 128, np.uint8)
    packed = np.stack([luma.reshape(-1), grey], axis=1)
    layouts = {
        "YUYV": packed,
        "UYVY": packed[:, ::-1],
        **{
            name: np.concatenate([luma.reshape(-1), grey[:12]]) for name in ("NV12", "NV21", "YU12")
        },
    }
    expected = (298 * (luma.astype(int) - 16) + 128) >> 8
    for name, data in layouts.items():
        rgb = to_rgb(frame(name, data.tobytes(), 6, 4))
        for channel in range(3):
            np.testing.assert_array_equal(rgb[:, :, channel], expected, name)
    np.testing.assert_array_equal(to_rgb(frame("GREY", luma, 6, 4))[:, :, 1], luma)


@pytest.mark.parametrize("name", ["NV12", "NV21", "YU12", "YUYV", "UYVY"])
def test_chroma_belongs_to_its_own_pixels(means, name):
    red, blue = (81, 90, 240), (41, 240, 110)
    left, right = ([*value] for value in (red, blue))
    if name in {"YUYV", "UYVY"}:
        data = b"".join(laid_out(name, value, (), 2, 1) for value in (red, blue)) * 2
    else:
        u, v = ([left[i], right[i]] for i in (1, 2))
        luma = [left[0]] * 2 + [right[0]] * 2
        pairs = {"NV12": (u, v), "NV21": (v, u)}
        if name == "YU12":
            chroma = u + v
        else:
            chroma = [value for pair in zip(*pairs[name], strict=True) for value in pair]
        data = bytes(luma * 2 + chroma)
    rgb = to_rgb(frame(name, data, 4, 2)).astype(int)
    assert np.abs(rgb[:, :2] - (255, 0, 0)).max() <= 1
    assert np.abs(rgb[:, 2:] - (0, 0, 255)).max() <= 1


@SHARED
@given(
    name=st.sampled_from(RAW),
    size=st.tuples(st.integers(1, 150), st.integers(1, 12)),
    gap=st.integers(0, 9),
    spare=st.integers(0, 3),
    seed=st.integers(0, 1000),
)
def test_c_and_numpy_are_equal_or_refuse_alike(answers_of_both, name, size, gap, spare, seed):
    width, height = size
    stride = packed_stride(name, width) + gap
    bytes_of_it = max(1, least_bytes(name, width, height, stride) + spare)
    data = np.random.RandomState(seed).randint(0, 256, bytes_of_it, np.uint8)
    captured = frame(name, data, width, height, stride)
    answers = answers_of_both(lambda: to_rgb(captured))
    paired = width % 2 == 0 or name in {"GREY", "RGB3", "BGR3"}
    flat = height % 2 == 0 or name not in {"NV12", "NV21", "YU12"}
    if paired and flat and not (name == "YU12" and stride % 2):
        np.testing.assert_array_equal(*answers)
        assert answers[0].shape == (height, width, 3)
    else:
        assert answers[0] == answers[1]
        assert isinstance(answers[0], str)


@pytest.mark.parametrize("name", RAW)
def test_every_value_is_clipped_alike(steps_library, name):
    random = np.random.RandomState(7)
    data = random.choice(np.array([0, 1, 15, 16, 127, 128, 235, 240, 255], np.uint8), 64 * 64 * 3)
    native.put_down()
    expected = to_rgb(frame(name, data, 64, 64))
    assert native.take_up(steps_library) == ""
    np.testing.assert_array_equal(to_rgb(frame(name, data, 64, 64)), expected)
    native.put_down()


def test_it_writes_where_it_is_told_and_reads_any_buffer(means):
    data = laid_out("YUYV", (81, 90, 240), (), 4, 2)
    out = np.zeros((2, 4, 3), np.uint8)
    for each in (data, bytearray(data), memoryview(data), np.frombuffer(data, np.uint8)):
        out[...] = 0
        assert to_rgb(frame("YUYV", each, 4, 2), out) is out
        assert out[1, 3].tolist() == [255, 0, 0]
    for wrong in (
        np.zeros((2, 4), np.uint8),
        np.zeros((2, 4, 3)),
        np.zeros((4, 4, 3), np.uint8)[::2],
    ):
        with pytest.raises(ValueError, match=r"uint8\[2, 4, 3\]"):
            to_rgb(frame("YUYV", data, 4, 2), wrong)


def test_the_answer_outlives_the_cameras_buffer(means):
    for name in RAW:
        buffer = bytearray(bytes([200]) * 4 * 4 * 3)
        rgb = to_rgb(frame(name, buffer, 4, 4))
        before = rgb.copy()
        buffer[:] = bytes(len(buffer))
        np.testing.assert_array_equal(rgb, before)


@pytest.mark.parametrize(
    ("name", "size", "stride", "length", "words"),
    [
        ("YUYV", (4, 2), 0, 15, "15 bytes where 16"),
        ("NV12", (4, 2), 0, 11, "11 bytes where 12"),
        ("YUYV", (4, 2), 7, 100, "lines of 7 bytes"),
        ("YUYV", (3, 2), 0, 100, "cannot be 3 x 2"),
        ("YU12", (4, 3), 0, 100, "cannot be 4 x 3"),
        ("GREY", (0, 2), 0, 100, "0 x 2"),
        ("GREY", (4, 1 << 20), 0, 100, "pixels"),
    ],
)
def test_content_that_does_not_fit_is_refused_before_c_sees_it(
    means, name, size, stride, length, words
):
    with pytest.raises(ValueError, match=words):
        to_rgb(frame(name, bytes(length), *size, stride))


def test_format_that_nobody_reads_is_told_with_those_that_are():
    with pytest.raises(RunFailedError, match=r"SGBR.*YUYV, UYVY"):
        to_rgb(frame("SGBR", b"", 4, 4))


def jpeg():
    ramp = np.linspace(0, 255, 64, dtype=np.uint8)
    picture = np.stack([np.tile(ramp, (48, 1)), np.full((48, 64), 90, np.uint8)] * 2, 2)[..., :3]
    return picture, cv2.imencode(".jpg", picture[..., ::-1])[1].tobytes()


def test_jpegs_are_read_with_whatever_follows_them():
    picture, data = jpeg()
    rgb = to_rgb(frame("MJPG", data + bytes(999), 64, 48))
    assert np.abs(rgb.astype(int) - picture).mean() < 4
    again = to_rgb(frame("JPEG", data, 64, 48), np.zeros((48, 64, 3), np.uint8))
    np.testing.assert_array_equal(again, rgb)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: b"",
        lambda data: bytes(500),
        lambda data: data[: len(data) // 2],
        lambda data: data[:20] + b"\xff\xd9",
    ],
)
def test_jpeg_that_is_spoilt_is_a_value_error(spoil):
    with pytest.raises(ValueError, match="JPEG"):
        to_rgb(frame("MJPG", spoil(jpeg()[1]), 64, 48))


def test_jpeg_of_another_size_is_a_value_error():
    with pytest.raises(ValueError, match="64 x 48 pixels was to be 32x48"):
        to_rgb(frame("MJPG", jpeg()[1], 32, 48))


def test_jpegs_without_opencv_say_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(RunFailedError, match="pip install opencv-python-headless"):
        to_rgb(frame("MJPG", b"\xff\xd8\xff\xd9", 64, 48))
