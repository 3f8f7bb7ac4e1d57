"""YOLOv5's loss: which cells answer for which object, and how wrong they are.

Source: https://github.com/ultralytics/yolov5/blob/v7.0/utils/loss.py; written anew here.
"""

from typing import NamedTuple

import torch
from network import ANCHORS, STRIDES
from torch import Tensor
from torch.nn import functional

_BALANCE = (4.0, 1.0, 0.4)  # the finer a head, the more empty cells dilute it
_MIDDLE = 0.5  # of a cell
_MAX_RATIO = 4.0  # of an object's edge to the anchor's, either way round


class Assigned(NamedTuple):
    """The cells of one head that answer for objects; one entry per pair of both."""

    image: Tensor
    anchor: Tensor
    row: Tensor
    column: Tensor
    box: Tensor  # float32[N, 4]: offset from the cell's corner and size, in cells
    kind: Tensor


def loss(heads: list[Tensor], targets: Tensor, classes: int) -> Tensor:
    """The loss of one batch.

    Args:
        heads: raw ``float32[B, 3 * (5 + C), H, W]`` of each stride.
        targets: ``float32[N, 6]``: image, class, then centre x, y, width, height in pixels.
        classes: how many there are.
    """
    total = torch.zeros(())
    for index, raw in enumerate(heads):
        count, _, high, wide = raw.shape
        cells = raw.view(count, 3, 5 + classes, high, wide).permute(0, 1, 3, 4, 2)
        wanted = torch.zeros(cells.shape[:4])
        found = assign(targets, index, high, wide)
        if len(found.image):
            at = (found.image, found.anchor, found.row, found.column)
            chosen = cells[at]
            sides = chosen[:, :4].sigmoid() * 2
            anchors = torch.tensor(ANCHORS[index])[found.anchor] / STRIDES[index]
            overlap = ciou(
                torch.cat((sides[:, :2] - 0.5, sides[:, 2:] ** 2 * anchors), 1), found.box
            )
            total = total + 0.05 * (1 - overlap).mean()
            # The same cell may answer for two objects: the better overlap stands.
            wanted.view(-1).scatter_reduce_(
                0, _flat(at, wanted.shape), overlap.detach().clamp(0), "amax"
            )
            kinds = functional.one_hot(found.kind, classes).float()
            total = total + 0.3 * functional.binary_cross_entropy_with_logits(chosen[:, 5:], kinds)
        missed = functional.binary_cross_entropy_with_logits(cells[..., 4], wanted)
        total = total + _BALANCE[index] * missed
    return total


def _flat(at: tuple[Tensor, ...], shape: torch.Size) -> Tensor:
    image, anchor, row, column = at
    return ((image * shape[1] + anchor) * shape[2] + row) * shape[3] + column


def assign(targets: Tensor, index: int, high: int, wide: int) -> Assigned:
    """Give each object to the fitting anchors of its cell and of the two nearest cells."""
    anchors = torch.tensor(ANCHORS[index]) / STRIDES[index]
    boxes = targets[:, 2:] / STRIDES[index]
    ratio = boxes[:, None, 2:] / anchors[None]
    fits = torch.maximum(ratio, 1 / ratio).amax(2) < _MAX_RATIO
    which, anchor = fits.nonzero(as_tuple=True)
    centre = boxes[which, :2]
    inside = centre % 1
    size = torch.tensor([wide, high])
    picks = [(torch.ones(len(which), dtype=torch.bool), torch.zeros(2))]
    for axis in (0, 1):
        step = torch.zeros(2)
        step[axis] = 1
        picks.append(((inside[:, axis] < _MIDDLE) & (centre[:, axis] > 1), -step))
        picks.append(((inside[:, axis] > _MIDDLE) & (centre[:, axis] < size[axis] - 1), step))
    parts = []
    for chosen, step in picks:
        cell = (centre[chosen].floor() + step).minimum(size - 1).clamp(min=0)
        parts.append((which[chosen], anchor[chosen], cell))
    which, anchor, cell = (torch.cat([part[k] for part in parts]) for k in range(3))
    column, row = cell.long().unbind(1)
    box = torch.cat((boxes[which, :2] - cell, boxes[which, 2:]), 1)
    picked = targets[which]
    return Assigned(picked[:, 0].long(), anchor, row, column, box, picked[:, 1].long())


def ciou(a: Tensor, b: Tensor) -> Tensor:
    """Complete IoU of paired boxes ``float32[N, 4]`` (centre, size): ``float32[N]``."""
    a0, a1 = a[:, :2] - a[:, 2:] / 2, a[:, :2] + a[:, 2:] / 2
    b0, b1 = b[:, :2] - b[:, 2:] / 2, b[:, :2] + b[:, 2:] / 2
    shared = (torch.minimum(a1, b1) - torch.maximum(a0, b0)).clamp(0).prod(1)
    iou = shared / (a[:, 2:].prod(1) + b[:, 2:].prod(1) - shared + 1e-7)
    diagonal = (torch.maximum(a1, b1) - torch.minimum(a0, b0)).square().sum(1) + 1e-7
    apart = (a[:, :2] - b[:, :2]).square().sum(1)
    tilt = torch.atan(b[:, 2] / b[:, 3]) - torch.atan(a[:, 2] / (a[:, 3] + 1e-7))
    shape = (4 / torch.pi**2) * tilt.square()
    with torch.no_grad():
        weight = shape / (1 - iou + shape + 1e-7)
    return iou - apart / diagonal - shape * weight
