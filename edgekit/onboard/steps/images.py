"""Frames to input tensors: resize, pad, normalise."""

from typing import Any, List, Mapping, Tuple

import numpy as np

from edgekit.onboard.arrays import Array, Preprocess, Tensors
from edgekit.onboard.steps.geometry import Fit, Placement, place, read_fit
from edgekit.onboard.steps.parameters import Parameters


def letterbox(values: Mapping[str, Any]) -> Preprocess:
    """Make the step that fits a frame into the input, centred, its aspect kept."""
    if "fit" in values:
        raise ValueError("step 'letterbox' has no parameter 'fit'; step 'resize' has")
    return _image_step("letterbox", values, "letterbox")


def resize(values: Mapping[str, Any]) -> Preprocess:
    """Make the step that resizes a frame to the input, with the ``fit`` of one's choice."""
    return _image_step("resize", values, "stretch")


def _image_step(name: str, values: Mapping[str, Any], fit_default: str) -> Preprocess:
    parameters = Parameters(name, values)
    fit = read_fit(parameters, fit_default)
    tensor = str(parameters.word("input", "images"))
    nhwc = parameters.word("layout", "NCHW", ("NCHW", "NHWC")) == "NHWC"
    bgr = parameters.word("channels", "RGB", ("RGB", "BGR")) == "BGR"
    pad_value = parameters.number("pad_value", 114)
    gains, offsets = _normalisation(parameters)
    parameters.finish()

    def run(frame: Array) -> Tensors:
        _check_frame(frame)
        placement = place(fit, frame.shape)
        planes = np.empty((3, fit.height, fit.width), np.float32)
        source = frame[:, :, ::-1] if bgr else frame
        for channel, plane in enumerate(planes):
            window = _pad(plane, placement, pad_value * gains[channel] + offsets[channel])
            _fill(window, source[:, :, channel], placement, fit)
            window *= np.float32(gains[channel])
            if offsets[channel]:
                window += np.float32(offsets[channel])
        whole = np.ascontiguousarray(planes.transpose(1, 2, 0)) if nhwc else planes
        return {tensor: whole[np.newaxis]}

    return run


def _normalisation(parameters: Parameters) -> Tuple[List[float], List[float]]:
    """The gain and offset for each channel: value = grey level * gain + offset."""
    scale = parameters.number("scale", 1 / 255)
    means = parameters.per_channel("mean", 0)
    deviations = parameters.per_channel("std", 1)
    if scale == 0 or 0 in deviations:
        raise ValueError("scale and std must not be zero")
    gains = [scale / deviation for deviation in deviations]
    return gains, [-means[i] / deviations[i] for i in range(3)]


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
