"""Bilinear interpolation with half-pixel centres and no antialiasing."""

from typing import Tuple

import numpy as np

from edgekit.onboard.arrays import Array

Taps = Tuple[Array, Array, Array]


def bilinear(image: Array, height: int, width: int) -> Array:
    """Resize with half-pixel centres and no antialiasing, as OpenCV's ``INTER_LINEAR``.

    Args:
        image: ``uint8[H, W]``.
        height: of the answer, in pixels.
        width: of the answer, in pixels.

    Returns:
        ``float32[height, width]``, grey levels that are not rounded.
    """
    rows = taps(image.shape[0], height, 0, height)
    return interpolate(image, rows, taps(image.shape[1], width, 0, width))


def taps(source: int, target: int, skip: int, count: int) -> Taps:
    """The two source lines and the second one's weight, for ``count`` lines after ``skip``."""
    centres = (np.arange(skip, skip + count) + 0.5) * (source / target) - 0.5
    centres = np.minimum(np.maximum(centres, 0), source - 1)
    low = centres.astype(np.int32)
    return low, np.minimum(low + 1, source - 1), (centres - low).astype(np.float32)


def interpolate(source: Array, rows: Taps, columns: Taps) -> Array:
    """Blend rows, then columns: ``uint8[H, W]`` -> ``float32[len(rows), len(columns)]``."""
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
