"""Connected components of a mask, in NumPy."""

from typing import List, Tuple

import numpy as np

from edgekit.onboard.arrays import Array


def component_boxes(mask: Array) -> List[Tuple[int, int, int, int]]:
    """Bounding boxes of the 8-connected components of ``bool[H, W]``.

    Returns:
        ``x0, y0, x1, y1`` (ends exclusive), in the order of each component's first pixel.
    """
    row, start, end = _runs(mask)
    if not len(row):
        return []
    label = _label(row, start, end, mask.shape[1])
    _, component = np.unique(label, return_inverse=True)  # a label is its first run's index
    count = int(component.max()) + 1
    box = np.empty((4, count), np.intp)
    box[:2] = max(mask.shape)
    box[2:] = 0
    np.minimum.at(box[0], component, start)
    np.minimum.at(box[1], component, row)
    np.maximum.at(box[2], component, end)
    np.maximum.at(box[3], component, row + 1)
    return [(int(x0), int(y0), int(x1), int(y1)) for x0, y0, x1, y1 in box.T]


def _runs(mask: Array) -> Tuple[Array, Array, Array]:
    """Horizontal runs of set pixels: row, first column, column after the last."""
    padded = np.zeros((mask.shape[0], mask.shape[1] + 2), np.int8)
    padded[:, 1:-1] = mask
    steps = padded[:, 1:] - padded[:, :-1]
    row, start = np.nonzero(steps == 1)
    end = np.nonzero(steps == -1)[1]
    return row, start, end


def _label(row: Array, start: Array, end: Array, width: int) -> Array:
    """For each run the lowest index among the runs of its component."""
    first, second = _touching(row, start, end, width)
    label = np.arange(len(row))
    while True:
        low = np.minimum(label[first], label[second])
        if (label[first] == label[second]).all():
            return label
        # Hook the roots onto the lower label, then halve the paths.
        np.minimum.at(label, label[first], low)
        np.minimum.at(label, label[second], low)
        while True:
            shorter = label[label]
            if (shorter == label).all():
                break
            label = shorter


def _touching(row: Array, start: Array, end: Array, width: int) -> Tuple[Array, Array]:
    """Pairs of runs in neighbouring rows that touch, corners included."""
    pitch = width + 2
    low = np.searchsorted(row * pitch + end, (row + 1) * pitch + start, "left")
    high = np.searchsorted(row * pitch + start, (row + 1) * pitch + end, "right")
    count = np.maximum(high - low, 0)
    first = np.repeat(np.arange(len(row)), count)
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    return first, np.repeat(low, count) + within
