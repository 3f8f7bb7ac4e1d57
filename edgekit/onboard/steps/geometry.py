"""Where a frame lands on a model's input."""

from collections import namedtuple
from typing import Sequence, Tuple

import numpy as np

from edgekit.onboard.arrays import Array
from edgekit.onboard.steps.parameters import Parameters

FITS = ("stretch", "letterbox", "pad", "crop")


class Fit(namedtuple("Fit", "kind height width upscale crop_ratio")):
    """How frames are fitted to a model's input of ``height`` x ``width`` pixels."""

    __slots__ = ()


class Placement(namedtuple("Placement", "height width top left gain_y gain_x")):
    """One frame on the input: resized to ``height`` x ``width``, its corner at ``top, left``.

    ``top`` and ``left`` are negative where the frame is cropped; a frame's pixel coordinate x
    lies at ``x * gain_x + left`` on the input.
    """

    __slots__ = ()


def read_fit(parameters: Parameters, default: str) -> Fit:
    """Read the parameters that pre- and postprocess share."""
    height, width = parameters.size()
    kind = parameters.word("fit", default, FITS)
    upscale = parameters.flag("upscale", default=True)
    crop_ratio = parameters.number("crop_ratio", 0.875)
    if not 0 < crop_ratio <= 1:
        raise ValueError(f"crop_ratio must lie in (0, 1], not {crop_ratio}")
    return Fit(kind, height, width, upscale, crop_ratio)


def place(fit: Fit, frame_shape: Sequence[int]) -> Placement:
    """Place a frame of ``frame_shape`` (height, width, ...) on the input.

    ``letterbox`` follows Ultralytics: the resized edges are rounded, and of an odd rest the
    smaller half goes above and to the left.
    Source: https://github.com/ultralytics/yolov5/blob/v7.0/utils/augmentations.py (letterbox)
    """
    frame_height, frame_width = int(frame_shape[0]), int(frame_shape[1])
    if frame_height < 1 or frame_width < 1:
        raise ValueError(f"a frame of {frame_height} x {frame_width} pixels has nothing in it")
    height, width = _resized(fit, frame_height, frame_width)
    top, left = 0, 0
    if fit.kind == "letterbox":
        top = round((fit.height - height) / 2 - 0.1)
        left = round((fit.width - width) / 2 - 0.1)
    elif fit.kind == "crop":
        top = -round((height - fit.height) / 2)
        left = -round((width - fit.width) / 2)
    return Placement(height, width, top, left, height / frame_height, width / frame_width)


def _resized(fit: Fit, frame_height: int, frame_width: int) -> Tuple[int, int]:
    if fit.kind == "stretch":
        return fit.height, fit.width
    down, right = fit.height / frame_height, fit.width / frame_width
    if fit.kind == "crop":
        ratio = max(down, right) / fit.crop_ratio
        return (
            max(fit.height, round(frame_height * ratio)),
            max(fit.width, round(frame_width * ratio)),
        )
    ratio = min(down, right)
    if not fit.upscale:
        ratio = min(ratio, 1.0)
    return max(1, round(frame_height * ratio)), max(1, round(frame_width * ratio))


def window(fit: Fit, placement: Placement) -> Tuple[int, int, int, int]:
    """The part of the input that the frame fills: top, bottom, left, right."""
    return (
        max(0, placement.top),
        min(fit.height, placement.top + placement.height),
        max(0, placement.left),
        min(fit.width, placement.left + placement.width),
    )


def to_frame(boxes: Array, placement: Placement, frame_shape: Sequence[int]) -> Array:
    """Boxes ``float32[N, 4]`` (x0, y0, x1, y1) on the input -> in frame pixels, clipped."""
    offset = np.array([placement.left, placement.top] * 2, np.float32)
    gain = np.array([placement.gain_x, placement.gain_y] * 2, np.float32)
    limit = np.array([frame_shape[1], frame_shape[0]] * 2, np.float32)
    placed: Array = np.minimum(np.maximum((boxes - offset) / gain, np.float32(0)), limit)
    return placed
