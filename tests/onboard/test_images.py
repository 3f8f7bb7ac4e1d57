import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.onboard.steps import PREPROCESS
from edgekit.onboard.steps.bilinear import bilinear
from edgekit.onboard.steps.geometry import Fit, place, to_frame

_EDGES = st.integers(1, 90)
_SHAPES = [
    (480, 640, 480, 640),
    (720, 1280, 360, 640),
    (427, 640, 213, 320),
    (375, 500, 480, 640),
    (1, 7, 5, 9),
    (500, 333, 640, 426),
]


def _frame(height, width, seed=0):
    return np.random.RandomState(seed).randint(0, 256, (height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("high", "wide", "height", "width"), _SHAPES)
def test_bilinear_equals_opencv_within_one_grey_level(high, wide, height, width):
    image = _frame(high, wide)[..., 0]
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    assert np.abs(bilinear(image, height, width) - expected).max() <= 1


@pytest.mark.parametrize("block", [1, 2, 4])
@pytest.mark.parametrize("shape", [(40, 30), (33, 91)])
def test_block_is_space_to_depth_of_the_whole_image(shape, block):
    frame = _frame(*shape)
    values = {"size": [16, 24], "std": [0.5, 1, 2]}
    whole = PREPROCESS["letterbox"](values)(frame)["images"][0]
    planes = PREPROCESS["letterbox"]({**values, "block": block})(frame)["images"]
    assert planes.shape == (1, 3 * block * block, 16 // block, 24 // block)
    for dy in range(block):
        for dx in range(block):
            for c in range(3):
                channel = planes[0, (dy * block + dx) * 3 + c]
                np.testing.assert_array_equal(channel, whole[c, dy::block, dx::block])
    pixels = PREPROCESS["letterbox"]({**values, "block": block, "layout": "NHWC"})(frame)["images"]
    np.testing.assert_array_equal(pixels, planes.transpose(0, 2, 3, 1))
    assert pixels.flags.c_contiguous
    assert planes.flags.c_contiguous


@pytest.mark.parametrize(("dtype", "zero_point"), [("int8", -128), ("uint8", 0), ("int8", 3)])
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_quantise_is_within_half_a_quantum_and_clips(dtype, zero_point, layout):
    frame = _frame(33, 91)
    values = {"size": [16, 24], "mean": 0.2, "std": [0.5, 1, 2], "layout": layout, "block": 2}
    real = PREPROCESS["resize"](values)(frame)["images"]
    quantise = {"dtype": dtype, "scale": 1 / 200, "zero_point": zero_point}
    whole = PREPROCESS["resize"]({**values, "quantise": quantise})(frame)["images"]
    limits = np.iinfo(dtype)
    exact = np.clip(real * 200 + zero_point, limits.min, limits.max)
    assert whole.dtype == dtype
    assert np.abs(whole - exact).max() <= 0.501
    assert {limits.min, limits.max} & set(np.unique(whole).tolist())


@settings(deadline=None, max_examples=60)
@given(_EDGES, _EDGES, _EDGES, _EDGES)
def test_bilinear_equals_opencv_for_any_sizes(high, wide, height, width):
    image = _frame(high, wide, high * 91 + wide)[..., 1]
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    assert np.abs(bilinear(image, height, width) - expected).max() <= 1


def _ultralytics_letterbox(frame, height, width):
    """YOLOv5 v7.0's letterbox, auto=False: the plain reference."""
    ratio = min(height / frame.shape[0], width / frame.shape[1])
    new = round(frame.shape[1] * ratio), round(frame.shape[0] * ratio)
    across, down = (width - new[0]) / 2, (height - new[1]) / 2
    if frame.shape[1::-1] != new:
        frame = cv2.resize(frame, new, interpolation=cv2.INTER_LINEAR)
    top, bottom = round(down - 0.1), round(down + 0.1)
    left, right = round(across - 0.1), round(across + 0.1)
    return cv2.copyMakeBorder(
        frame, top, bottom, left, right, cv2.BORDER_CONSTANT, value=(114, 114, 114)
    )


@pytest.mark.parametrize("shape", [(480, 640), (333, 500), (500, 333), (90, 91), (1080, 1920)])
@pytest.mark.parametrize("size", [(640, 640), (320, 320), (160, 288)])
def test_letterbox_equals_ultralytics(shape, size):
    frame = _frame(*shape)
    tensor = PREPROCESS["letterbox"]({"size": list(size)})(frame)["images"]
    expected = _ultralytics_letterbox(frame, *size)
    assert tensor.shape == (1, 3, *size)
    assert tensor.dtype == np.float32
    assert np.abs(tensor[0].transpose(1, 2, 0) * 255 - expected).max() <= 1.001


def test_letterbox_of_a_fitting_frame_is_the_frame_over_255():
    frame = _frame(64, 96)
    tensor = PREPROCESS["letterbox"]({"size": [64, 96]})(frame)["images"]
    np.testing.assert_allclose(tensor[0].transpose(1, 2, 0), frame / 255, atol=1e-7)


def test_letterbox_without_upscale_keeps_small_frames():
    frame = _frame(20, 30)
    step = PREPROCESS["letterbox"]({"size": [64, 64], "upscale": False})
    tensor = step(frame)["images"][0]
    np.testing.assert_allclose(tensor[:, 22:42, 17:47].transpose(1, 2, 0), frame / 255, atol=1e-7)
    assert np.allclose(tensor[:, :22], 114 / 255)


def test_mean_std_and_bgr_are_applied_in_the_order_fed():
    frame = np.zeros((8, 8, 3), np.uint8)
    frame[...] = (255, 51, 0)
    values = {"size": [8, 8], "channels": "BGR", "mean": [0.1, 0.2, 0.4], "std": [0.5, 1, 2]}
    tensor = PREPROCESS["resize"](values)(frame)["images"]
    np.testing.assert_allclose(tensor[0, :, 3, 3], [(0 - 0.1) / 0.5, 0.0, 0.3], atol=1e-6)


def test_nhwc_is_the_transposed_nchw_and_contiguous():
    frame = _frame(40, 30)
    planes = PREPROCESS["resize"]({"size": [16, 24]})(frame)["images"]
    pixels = PREPROCESS["resize"]({"size": [16, 24], "layout": "NHWC"})(frame)["images"]
    np.testing.assert_array_equal(pixels, planes.transpose(0, 2, 3, 1))
    assert pixels.flags.c_contiguous


def test_pad_keeps_the_aspect_and_fills_the_right_with_the_pad_value():
    frame = np.full((24, 48, 3), 255, np.uint8)
    values = {"size": [48, 320], "fit": "pad", "pad_value": 127.5, "mean": 0.5, "std": 0.5}
    tensor = PREPROCESS["resize"]({**values, "input": "x"})(frame)["x"][0]
    np.testing.assert_allclose(tensor[:, :, :96], 1, atol=1e-6)
    np.testing.assert_allclose(tensor[:, :, 96:], 0, atol=1e-6)


@pytest.mark.parametrize("shape", [(300, 400), (400, 300), (256, 256)])
def test_crop_is_the_centre_of_the_resized_frame(shape):
    frame = _frame(*shape)
    tensor = PREPROCESS["resize"]({"size": [224, 224], "fit": "crop"})(frame)["images"][0]
    ratio = 256 / min(shape)
    height, width = (round(edge * ratio) for edge in shape)
    resized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    top, left = (height - 224) // 2, round((width - 224) / 2)
    expected = resized[top : top + 224, left : left + 224]
    assert np.abs(tensor.transpose(1, 2, 0) * 255 - expected).max() <= 1.001


@given(
    st.sampled_from(["stretch", "letterbox", "pad", "crop"]),
    st.integers(8, 2000),
    st.integers(8, 2000),
    st.booleans(),
)
def test_boxes_return_through_the_placement(kind, high, wide, upscale):
    placement = place(Fit(kind, 160, 224, upscale, 0.875), (high, wide, 3))
    box = np.array([[wide * 0.25, high * 0.3, wide * 0.75, high * 0.9]], np.float32)
    gain = np.array([placement.gain_x, placement.gain_y] * 2, np.float32)
    on_input = box * gain + np.array([placement.left, placement.top] * 2, np.float32)
    back = to_frame(on_input, placement, (high, wide, 3))
    np.testing.assert_allclose(back, box, rtol=1e-3, atol=max(high, wide) * 1e-3)


@pytest.mark.parametrize("frame", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_a_frame_of_another_kind_is_refused(frame):
    with pytest.raises(ValueError, match="uint8"):
        PREPROCESS["letterbox"]({"size": [8, 8]})(frame)


def test_tensor_passes_named_arrays_unchanged():
    frame = {"a": np.arange(6, dtype=np.float32).reshape(2, 3).T}
    tensors = PREPROCESS["tensor"]({})(frame)
    assert list(tensors) == ["a"]
    np.testing.assert_array_equal(tensors["a"], frame["a"])
    assert tensors["a"].flags.c_contiguous
