"""Frames to tensors by the library: the same as ``edgekit.onboard.steps.images``, faster."""

from functools import lru_cache
from typing import Any, Callable, Optional, Tuple

import numpy as np

from edgekit.onboard.arrays import Array
from edgekit.onboard.native.binding import DTYPES, LARGEST_EDGE, Image, Library, address, byref
from edgekit.onboard.steps.bilinear import taps
from edgekit.onboard.steps.geometry import place, window

_FRAME_SHAPES = 8  # whose tables are kept; a camera has one


def image_maker(library: Library, image: Any) -> Optional[Callable[[Array], Array]]:
    """Make the function from a frame ``uint8[H, W, 3]`` to the tensor.

    Args:
        library: as taken up.
        image: what ``steps.images`` has read of its parameters.

    Returns:
        ``None`` where the input is larger than the library's indices.
    """
    fit = image.fit
    if max(fit.height, fit.width) > LARGEST_EDGE:
        return None
    grid = (fit.height // image.block, fit.width // image.block)
    channels = 3 * image.block * image.block
    shape = (1, *grid, channels) if image.nhwc else (1, channels, *grid)
    plan = lru_cache(maxsize=_FRAME_SHAPES)(lambda height, width: _plan(image, height, width))

    def make(frame: Array) -> Array:
        frame = np.ascontiguousarray(frame)
        height, width = frame.shape[:2]
        if max(height, width) > LARGEST_EDGE:
            raise ValueError(f"a frame of {height} x {width} pixels is too large")
        structure, _tables = plan(height, width)
        tensor = np.empty(shape, image.dtype or np.float32)
        scratch = np.empty(3 * width + 6 * fit.width + 8, np.float32)
        library.image(byref(structure), address(frame), address(tensor), address(scratch))
        return tensor

    return make


def _plan(image: Any, height: int, width: int) -> Tuple[Image, Any]:
    """The structure for frames of one shape, and the tables that it points to."""
    fit = image.fit
    placement = place(fit, (height, width))
    top, bottom, left, right = window(fit, placement)
    rows = taps(height, placement.height, max(0, -placement.top), bottom - top)
    columns = taps(width, placement.width, max(0, -placement.left), right - left)
    tables = [np.ascontiguousarray(table) for table in (*rows, *columns)]
    plan = Image(
        frame_width=width,
        height=fit.height,
        width=fit.width,
        top=top,
        bottom=bottom,
        left=left,
        right=right,
        block=image.block,
        channels_last=image.nhwc,
        bgr=image.bgr,
        dtype=DTYPES[image.dtype or "float32"],
        gain=tuple(image.gains),
        offset=tuple(image.offsets),
        pad=tuple(image.pads),
    )
    names = ("row_near", "row_far", "row_weight", "column_near", "column_far", "column_weight")
    for name, table in zip(names, tables):
        setattr(plan, name, address(table))
    return plan, tables
