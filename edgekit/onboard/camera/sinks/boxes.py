"""Boxes drawn into frames: rectangles, no letters, NumPy alone."""

import math
from typing import Any, List, Sequence, Tuple

from edgekit.onboard.arrays import Array

_LINE_SHARE = 300  # a line is this part of the short edge thick
_BOX_LENGTH = 6  # x0, y0, x1, y1, score, class
# Bright and far apart, so that neighbouring classes differ on any ground.
_COLOURS = (
    (255, 64, 64),
    (64, 255, 64),
    (80, 160, 255),
    (255, 224, 32),
    (255, 64, 255),
    (32, 240, 240),
    (255, 144, 32),
    (255, 255, 255),
)


def with_boxes(rgb: Array, answers: Any) -> Array:
    """A copy of ``uint8[H, W, 3]`` with its answers' boxes; itself where there are none.

    Args:
        rgb: stays as it is.
        answers: those that are ``[x0, y0, x1, y1, score, class]`` in pixels are drawn.
    """
    boxes = [answer for answer in answers or () if _is_box(answer)]
    if not boxes:
        return rgb
    drawn: Array = rgb.copy()
    for box in boxes:
        _draw(drawn, box)
    return drawn


def _is_box(answer: Any) -> bool:
    return (
        isinstance(answer, (list, tuple))
        and len(answer) == _BOX_LENGTH
        and all(isinstance(value, (int, float)) and math.isfinite(value) for value in answer)
    )


def _draw(rgb: Array, box: Sequence[float]) -> None:
    height, width = rgb.shape[:2]
    thick = max(1, round(min(height, width) / _LINE_SHARE))
    colour = _COLOURS[int(box[5]) % len(_COLOURS)]
    x0, x1 = _within(box[0], box[2], width)
    y0, y1 = _within(box[1], box[3], height)
    inner_x0, inner_x1 = min(x0 + thick, x1), max(x1 - thick, x0)
    inner_y0, inner_y1 = min(y0 + thick, y1), max(y1 - thick, y0)
    edges: List[Any] = [
        rgb[y0:inner_y0, x0:x1],
        rgb[inner_y1:y1, x0:x1],
        rgb[y0:y1, x0:inner_x0],
        rgb[y0:y1, inner_x1:x1],
    ]
    for edge in edges:
        edge[...] = colour


def _within(low: float, high: float, end: int) -> Tuple[int, int]:
    """The pixels from the first to behind the last that a box covers along one axis."""
    first, last = sorted((low, high))
    return min(max(math.floor(first), 0), end), min(max(math.ceil(last), 0), end)
