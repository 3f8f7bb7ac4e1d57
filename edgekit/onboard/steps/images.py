"""Frames to input tensors: resize, pad, normalise."""

from collections import namedtuple
from typing import Any, List, Mapping, Optional, Tuple

import numpy as np

from edgekit.onboard.arrays import LAYOUTS, QUANTISED_DTYPES, Array, Preprocess, Tensors, quantised
from edgekit.onboard.steps.geometry import Fit, Placement, place, read_fit
from edgekit.onboard.steps.parameters import Parameters

IMAGE_INPUT = "images"  # what the tensor is called unless ``input`` names it


def letterbox(values: Mapping[str, Any]) -> Preprocess:
    """Make the step that fits a frame into the input, centred, its aspect kept."""
    if "fit" in values:
        raise ValueError("step 'letterbox' has no parameter 'fit'; step 'resize' has")
    return _image_step("letterbox", values, "letterbox")


def resize(values: Mapping[str, Any]) -> Preprocess:
    """Make the step that resizes a frame to the input, with the ``fit`` of one's choice."""
    return _image_step("resize", values, "stretch")


class _Image(namedtuple("_Image", "fit bgr pad_value gains offsets nhwc block dtype")):
    """How frames become one tensor: value = grey level * gain + offset, for each channel as fed.

    Where the tensor is quantised, the gains and offsets lead to its integers, not yet rounded.
    """

    __slots__ = ()


def _image_step(name: str, values: Mapping[str, Any], fit_default: str) -> Preprocess:
    parameters = Parameters(name, values)
    tensor = str(parameters.word("input", IMAGE_INPUT))
    image = _read_image(parameters, fit_default)
    parameters.finish()

    def run(frame: Array) -> Tensors:
        _check_frame(frame)
        return {tensor: _arrange(_planes(frame, image), image)}

    return run


def _read_image(parameters: Parameters, fit_default: str) -> _Image:
    fit = read_fit(parameters, fit_default)
    block = parameters.count("block", 1)
    if fit.height % block or fit.width % block:
        raise ValueError(f"block {block} does not divide {fit.height} x {fit.width} pixels")
    gains, offsets = _normalisation(parameters)
    dtype = None
    quantise = parameters.mapping("quantise")
    if quantise is not None:
        dtype, scale, zero_point = _read_quantise(quantise)
        gains = [gain / scale for gain in gains]
        offsets = [offset / scale + zero_point for offset in offsets]
    return _Image(
        fit=fit,
        bgr=parameters.word("channels", "RGB", ("RGB", "BGR")) == "BGR",
        pad_value=parameters.number("pad_value", 114),
        gains=gains,
        offsets=offsets,
        nhwc=parameters.word("layout", "NCHW", LAYOUTS) == "NHWC",
        block=block,
        dtype=dtype,
    )


def _read_quantise(values: Mapping[str, Any]) -> Tuple[Optional[str], float, float]:
    parameters = Parameters("quantise", values)
    dtype = parameters.word("dtype", "int8", QUANTISED_DTYPES)
    scale, zero_point = parameters.number("scale", 0), parameters.number("zero_point", 0)
    parameters.finish()
    if scale <= 0:
        raise ValueError(f"quantise: scale must be above zero, not {scale}")
    return dtype, scale, zero_point


def _normalisation(parameters: Parameters) -> Tuple[List[float], List[float]]:
    """The gain and offset for each channel: value = grey level * gain + offset."""
    scale = parameters.number("scale", 1 / 255)
    means = parameters.per_channel("mean", 0)
    deviations = parameters.per_channel("std", 1)
    if scale == 0 or 0 in deviations:
        raise ValueError("scale and std must not be zero")
    gains = [scale / deviation for deviation in deviations]
    return gains, [-means[i] / deviations[i] for i in range(3)]


def _planes(frame: Array, image: _Image) -> Array:
    """The frame on the input: ``float32[3, h, w]``, normalised."""
    fit = image.fit
    placement = place(fit, frame.shape)
    planes = np.empty((3, fit.height, fit.width), np.float32)
    source = frame[:, :, ::-1] if image.bgr else frame
    for channel, (plane, gain, offset) in enumerate(zip(planes, image.gains, image.offsets)):
        window = _pad(plane, placement, image.pad_value * gain + offset)
        _fill(window, source[:, :, channel], placement, fit)
        window *= np.float32(gain)
        if offset:
            window += np.float32(offset)
    return planes


def _arrange(planes: Array, image: _Image) -> Array:
    """``float32[3, h, w]`` -> the tensor: blocks, layout, integers."""
    block, (_, height, width) = image.block, planes.shape
    # Axes: channel, row, row within the block, column, column within the block.
    cells = planes.reshape(3, height // block, block, width // block, block)
    order = (1, 3, 2, 4, 0) if image.nhwc else (2, 4, 0, 1, 3)
    channels = 3 * block * block
    grid = (height // block, width // block)
    shape = (1, *grid, channels) if image.nhwc else (1, channels, *grid)
    arranged = cells.transpose(order).reshape(shape)
    if image.dtype is not None:
        return quantised(arranged, image.dtype)
    return np.ascontiguousarray(arranged)


def _check_frame(frame: Array) -> None:
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:  # noqa: PLR2004 - RGB
        raise ValueError(f"a frame is uint8[H, W, 3], not {frame.dtype}{list(frame.shape)}")


def _pad(plane: Array, placement: Placement, value: float) -> Array:
    """Write the padding of one plane; the answer is the window that the frame fills."""
    top, left = max(0, placement.top), max(0, placement.left)
    bottom = min(plane.shape[0], placement.top + placement.height)
    right = min(plane.shape[1], placement.left + placement.width)
    plane[:top] = value
    plane[bottom:] = value
    plane[top:bottom, :left] = value
    plane[top:bottom, right:] = value
    return plane[top:bottom, left:right]


def _fill(window: Array, source: Array, placement: Placement, fit: Fit) -> None:
    """Resize one channel of the frame into ``window``."""
    if (placement.height, placement.width) == source.shape and fit.kind != "crop":
        window[:] = source
        return
    skip_y, skip_x = max(0, -placement.top), max(0, -placement.left)
    rows = _taps(source.shape[0], placement.height, skip_y, window.shape[0])
    columns = _taps(source.shape[1], placement.width, skip_x, window.shape[1])
    window[:] = _interpolate(source, rows, columns)


def bilinear(image: Array, height: int, width: int) -> Array:
    """Resize with half-pixel centres and no antialiasing, as OpenCV's ``INTER_LINEAR``.

    Args:
        image: ``uint8[H, W]``.
        height: of the answer, in pixels.
        width: of the answer, in pixels.

    Returns:
        ``float32[height, width]``, grey levels that are not rounded.
    """
    rows = _taps(image.shape[0], height, 0, height)
    return _interpolate(image, rows, _taps(image.shape[1], width, 0, width))


_Taps = Tuple[Array, Array, Array]


def _taps(source: int, target: int, skip: int, count: int) -> _Taps:
    """The two source lines and the second one's weight, for ``count`` lines after ``skip``."""
    centres = (np.arange(skip, skip + count) + 0.5) * (source / target) - 0.5
    centres = np.minimum(np.maximum(centres, 0), source - 1)
    low = centres.astype(np.intp)
    return low, np.minimum(low + 1, source - 1), (centres - low).astype(np.float32)


def _interpolate(source: Array, rows: _Taps, columns: _Taps) -> Array:
    # Rows first: gathering whole rows is a copy, so the slow gather sees fewer of them.
    upper, lower, weight = rows
    lines = _blend(source[upper], source[lower], weight[:, np.newaxis])
    near, far, weight = columns
    return _blend(lines.take(near, axis=1), lines.take(far, axis=1), weight)


def _blend(first: Array, second: Array, weight: Array) -> Array:
    mixed = np.subtract(second, first, dtype=np.float32)
    mixed *= weight
    mixed += first
    return mixed
