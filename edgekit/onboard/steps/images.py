"""Frames to input tensors: resize, pad, normalise."""

from collections import namedtuple
from typing import Any, Callable, List, Mapping, Optional, Tuple

import numpy as np

from edgekit.onboard import native
from edgekit.onboard.arrays import LAYOUTS, QUANTISED_DTYPES, Array, Preprocess, Tensors, quantised
from edgekit.onboard.steps.bilinear import interpolate, taps
from edgekit.onboard.steps.geometry import Fit, Placement, place, read_fit, window
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


class _Image(namedtuple("_Image", "fit bgr gains offsets pads nhwc block dtype")):
    """How frames become one tensor: value = grey level * gain + offset, for each channel as fed.

    ``pads`` are the values around the frame. Where the tensor is quantised, all of them lead to
    its integers, not yet rounded.
    """

    __slots__ = ()


def _image_step(name: str, values: Mapping[str, Any], fit_default: str) -> Preprocess:
    parameters = Parameters(name, values)
    tensor = str(parameters.word("input", IMAGE_INPUT))
    image = _read_image(parameters, fit_default)
    parameters.finish()
    make = _maker(image)

    def run(frame: Array) -> Tensors:
        _check_frame(frame)
        return {tensor: make(frame)}

    return run


def _maker(image: _Image) -> Callable[[Array], Array]:
    library = native.taken_up()
    if library is not None:
        from edgekit.onboard.native.image import image_maker

        make = image_maker(library, image)
        if make is not None:
            return make
    return lambda frame: _arrange(_planes(frame, image), image)


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
    pad_value = parameters.number("pad_value", 114)
    return _Image(
        fit=fit,
        bgr=parameters.word("channels", "RGB", ("RGB", "BGR")) == "BGR",
        gains=gains,
        offsets=offsets,
        pads=[pad_value * gain + offset for gain, offset in zip(gains, offsets)],
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
        inside = _pad(plane, fit, placement, image.pads[channel])
        _fill(inside, source[:, :, channel], placement, fit)
        inside *= np.float32(gain)
        if offset:
            inside += np.float32(offset)
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


def _pad(plane: Array, fit: Fit, placement: Placement, value: float) -> Array:
    """Write the padding of one plane; the answer is the window that the frame fills."""
    top, bottom, left, right = window(fit, placement)
    plane[:top] = value
    plane[bottom:] = value
    plane[top:bottom, :left] = value
    plane[top:bottom, right:] = value
    return plane[top:bottom, left:right]


def _fill(inside: Array, source: Array, placement: Placement, fit: Fit) -> None:
    """Resize one channel of the frame into the window."""
    if (placement.height, placement.width) == source.shape and fit.kind != "crop":
        inside[:] = source
        return
    skip_y, skip_x = max(0, -placement.top), max(0, -placement.left)
    rows = taps(source.shape[0], placement.height, skip_y, inside.shape[0])
    columns = taps(source.shape[1], placement.width, skip_x, inside.shape[1])
    inside[:] = interpolate(source, rows, columns)
