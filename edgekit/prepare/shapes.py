"""Scenes drawn procedurally: circles, squares, triangles, stars and crosses, with labels.

They train and test the ``shapes`` recipe and serve as its sample frames, so that edgekit has a
real detector with known truth on any machine, offline. Imports NumPy: import this module late.

The random stream is NumPy's frozen ``RandomState``, so that a seed draws the same scene on
every NumPy.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

CLASSES: Final = ("circle", "square", "triangle", "star", "cross")

_OVERSAMPLING: Final = 2  # samples per pixel edge, for soft outlines
_PLACING_ATTEMPTS: Final = 12
_MAX_COVERED: Final = 0.25  # share of an earlier shape's box that a later one may cover
_MIN_VISIBLE: Final = 0.7  # share of a shape's box that must lie inside the frame
_MIN_CONTRAST: Final = 110  # sum of absolute RGB differences to what lies below
_MIN_EDGE: Final = 8  # pixels
_STRIPED: Final = 0.4  # share of the scenes
_MID_GREY: Final = 128


@dataclass(frozen=True)
class Scene:
    """One drawn frame and what is in it.

    Attributes:
        frame: ``uint8[H, W, 3]``, RGB.
        boxes: ``float32[N, 4]``: x0, y0, x1, y1 in pixels, ends exclusive, inside the frame.
        classes: ``int64[N]``, indices into :data:`CLASSES`.
    """

    frame: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]


def draw_scene(seed: int, index: int = 0, *, height: int = 240, width: int = 320) -> Scene:
    """Draw scene ``index`` of the series ``seed``; every scene can be drawn alone.

    Args:
        seed: of the series, 0 to 2**32 - 1.
        index: within the series.
        height: of the frame, in pixels, at least 32.
        width: of the frame, in pixels, at least 32.
    """
    random = np.random.RandomState(np.array([seed, index], np.uint32))
    canvas = _background(random, height, width)
    boxes: list[tuple[float, float, float, float]] = []
    classes: list[int] = []
    for _ in range(random.randint(1, 8)):
        for _ in range(_PLACING_ATTEMPTS):
            kind = random.randint(len(CLASSES))
            outline = _outline(random, kind, height, width)
            box = _bounds(outline, height, width)
            if box is not None and all(_covered(other, box) < _MAX_COVERED for other in boxes):
                _paint(random, canvas, outline, box)
                boxes.append(box)
                classes.append(kind)
                break
    return Scene(
        _finish(random, canvas),
        np.array(boxes, np.float32).reshape(-1, 4),
        np.array(classes, np.int64),
    )


def _background(random: np.random.RandomState, height: int, width: int) -> NDArray[np.float32]:
    """A gradient between two colours, at times with stripes over it."""
    start, end = random.uniform(0, 255, (2, 3))
    angle = random.uniform(0, 2 * np.pi)
    rows, columns = np.mgrid[0:height, 0:width].astype(np.float32)
    along = columns / width * np.cos(angle) + rows / height * np.sin(angle)
    blend = (along - along.min()) / (along.max() - along.min())
    canvas: NDArray[np.float32] = (start + blend[..., np.newaxis] * (end - start)).astype(
        np.float32
    )
    if random.rand() < _STRIPED:
        waves = np.sin(along * random.uniform(10, 60) + random.uniform(0, 6))
        canvas += (waves[..., np.newaxis] * random.uniform(-25, 25, 3)).astype(np.float32)
    return canvas


def _outline(
    random: np.random.RandomState, kind: int, height: int, width: int
) -> NDArray[np.float64]:
    """The corners ``float64[N, 2]`` (x, y) of one shape somewhere on the frame."""
    short = min(height, width)
    # Even in the logarithm: as many small shapes as large ones.
    radius = float(np.exp(random.uniform(np.log(0.06 * short), np.log(0.3 * short))))
    centre = random.uniform(0.05, 0.95, 2) * (width, height)
    turn = random.uniform(0, 2 * np.pi)
    return centre + radius * _corners(CLASSES[kind], turn)


def _corners(name: str, turn: float) -> NDArray[np.float64]:
    """Corners of a shape within the unit circle, turned by ``turn`` radians."""
    if name == "cross":
        arm = 0.32
        quarter = np.array([[1, -arm], [1, arm], [arm, arm]]) / np.hypot(1, arm)
        return np.concatenate([quarter @ _rotation(turn + k * np.pi / 2) for k in range(4)])
    count = {"circle": 48, "square": 4, "triangle": 3, "star": 10}[name]
    angles = turn + np.arange(count) * (2 * np.pi / count)
    radii = np.ones(count)
    if name == "star":
        radii[1::2] = 0.42
    return np.stack([np.cos(angles), np.sin(angles)], axis=1) * radii[:, np.newaxis]


def _rotation(angle: float) -> NDArray[np.float64]:
    # For row vectors: corner @ rotation.
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, sine], [-sine, cosine]])


def _bounds(
    outline: NDArray[np.float64], height: int, width: int
) -> tuple[float, float, float, float] | None:
    """The visible part of the bounding box, ``None`` where too little is visible."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    x0, y0 = np.maximum(low, 0)
    x1, y1 = np.minimum(high, (width, height))
    if min(x1 - x0, y1 - y0) < _MIN_EDGE:
        return None
    if (x1 - x0) * (y1 - y0) < _MIN_VISIBLE * np.prod(high - low):
        return None
    return float(x0), float(y0), float(x1), float(y1)


def _covered(
    below: tuple[float, float, float, float], above: tuple[float, float, float, float]
) -> float:
    """The larger share of one box that the other covers."""
    across = min(below[2], above[2]) - max(below[0], above[0])
    down = min(below[3], above[3]) - max(below[1], above[1])
    smaller = min((box[2] - box[0]) * (box[3] - box[1]) for box in (below, above))
    return max(0.0, across) * max(0.0, down) / smaller


def _paint(
    random: np.random.RandomState,
    canvas: NDArray[np.float32],
    outline: NDArray[np.float64],
    box: tuple[float, float, float, float],
) -> None:
    """Fill one shape with a colour that stands out from what lies below."""
    left, top = int(box[0]), int(box[1])
    right, bottom = int(np.ceil(box[2])), int(np.ceil(box[3]))
    window = canvas[top:bottom, left:right]
    below = window.mean(axis=(0, 1))
    colour = random.uniform(0, 255, 3)
    if np.abs(colour - below).sum() < _MIN_CONTRAST:
        colour = np.where(below < _MID_GREY, 255 - colour * 0.4, colour * 0.4)
    cover = _coverage(outline - (left, top), bottom - top, right - left)[..., np.newaxis]
    window += cover * (colour.astype(np.float32) - window)


def _coverage(outline: NDArray[np.float64], height: int, width: int) -> NDArray[np.float32]:
    """The share of each pixel that lies inside the polygon, ``float32[height, width]``."""
    step = 1 / _OVERSAMPLING
    rows = (np.arange(height * _OVERSAMPLING) + 0.5) * step
    columns = (np.arange(width * _OVERSAMPLING) + 0.5) * step
    inside = np.zeros((len(rows), len(columns)), bool)
    # Even-odd rule: a sample is inside where an odd number of edges cross to its right.
    for (x0, y0), (x1, y1) in zip(outline, np.roll(outline, -1, axis=0), strict=True):
        if y0 == y1:
            continue
        spans = (y0 > rows) != (y1 > rows)
        crossing = x0 + (rows[spans] - y0) * (x1 - x0) / (y1 - y0)
        inside[spans] ^= columns < crossing[:, np.newaxis]
    cells = inside.reshape(height, _OVERSAMPLING, width, _OVERSAMPLING)
    share: NDArray[np.float32] = cells.mean(axis=(1, 3), dtype=np.float32)
    return share


def _finish(random: np.random.RandomState, canvas: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Add the camera's noise and round to grey levels."""
    noise = random.standard_normal(canvas.shape) * random.uniform(0, 12)
    return np.clip(np.rint(canvas + noise), 0, 255).astype(np.uint8)
