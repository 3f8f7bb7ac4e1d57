"""YOLOv5's outputs to boxes: decode, threshold, non-maximum suppression.

Source of the decode: https://github.com/ultralytics/yolov5/blob/v7.0/models/yolo.py (Detect).
"""

from collections import namedtuple
from math import floor, log
from typing import Any, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from edgekit.onboard.arrays import Answers, Array, Postprocess, Quantised, Tensors
from edgekit.onboard.steps.geometry import place, read_fit, to_frame
from edgekit.onboard.steps.parameters import Parameters
from edgekit.onboard.steps.tensor import only_output

_BOX_FIELDS = 5  # x, y, w, h, objectness
_MAX_CANDIDATES = 30000  # into NMS; Source: yolov5 v7.0 utils/general.py, max_nms


class _Rules(namedtuple("_Rules", "fit score_threshold iou_threshold max_detections multi_label")):
    """What becomes of decoded candidates."""

    __slots__ = ()


def _read_rules(parameters: Parameters) -> _Rules:
    rules = _Rules(
        fit=read_fit(parameters, "letterbox"),
        score_threshold=parameters.number("score_threshold", 0.25),
        iou_threshold=parameters.number("iou_threshold", 0.45),
        max_detections=parameters.count("max_detections", 300),
        multi_label=parameters.flag("multi_label", default=False),
    )
    if not 0 < rules.score_threshold < 1 or not 0 <= rules.iou_threshold <= 1:
        raise ValueError("score_threshold must lie in (0, 1), iou_threshold in [0, 1]")
    return rules


def yolov5(values: Mapping[str, Any]) -> Postprocess:
    """Make the step for the whole graph's ``float32[1, N, 5 + C]``."""
    parameters = Parameters("yolov5", values)
    rules = _read_rules(parameters)
    output = parameters.word("output", None)
    parameters.finish()

    def run(outputs: Tensors, frame_shape: Sequence[int]) -> Answers:
        rows = np.asarray(only_output(outputs, output), np.float32)
        if rows.ndim != 3 or rows.shape[0] != 1 or rows.shape[2] <= _BOX_FIELDS:  # noqa: PLR2004
            raise ValueError(f"yolov5 needs float32[1, N, 5 + C], not {list(rows.shape)}")
        rows = rows[0]
        return _answers(rows[rows[:, 4] > rules.score_threshold], rules, frame_shape)

    return run


def yolov5_heads(values: Mapping[str, Any]) -> Postprocess:
    """Make the step for raw heads ``float32[1, A * (5 + C), h, w]``, quantised or not."""
    parameters = Parameters("yolov5-heads", values)
    rules = _read_rules(parameters)
    strides = parameters.counts("strides", [8, 16, 32])
    anchors = [np.array(row, np.float32).reshape(-1, 2) for row in parameters.rows("anchors")]
    parameters.finish()
    if len(anchors) != len(strides):
        raise ValueError(f"{len(anchors)} rows of anchors for {len(strides)} strides")

    def run(outputs: Tensors, frame_shape: Sequence[int]) -> Answers:
        grids = _by_grid(outputs)
        rows = []
        for stride, anchor in zip(strides, anchors):
            grid = (rules.fit.height // stride, rules.fit.width // stride)
            if grid not in grids:
                raise ValueError(f"no head of {grid[0]} x {grid[1]} cells among {sorted(grids)}")
            rows.append(_decode_head(grids[grid], stride, anchor, rules.score_threshold))
        return _answers(np.concatenate(rows), rules, frame_shape)

    return run


def _by_grid(outputs: Mapping[str, Any]) -> Mapping[Tuple[int, int], Any]:
    # Engines name and order outputs as they like; a head is known by its grid.
    return {tuple(head.shape[-2:]): head for head in outputs.values() if len(head.shape) > 1}


def _decode_head(
    head: Union[Array, Quantised], stride: int, anchors: Array, score_threshold: float
) -> Array:
    """Decode the cells of one head whose objectness passes: ``float32[N, 5 + C]``."""
    grid_height, grid_width = head.shape[-2:]
    cells, scale, zero_point = _cells(head, len(anchors), grid_height * grid_width)
    # The score is objectness times a probability, so objectness alone bounds it; most cells
    # end here, before anything is decoded. The margin covers the sigmoid's own rounding.
    bound = log(score_threshold / (1 - score_threshold)) - 1e-3
    if scale is None:
        passes = cells[:, 4] > np.float32(bound)
    else:
        passes = cells[:, 4] > floor(bound / scale + zero_point)
    anchor, cell = np.nonzero(passes)
    raw = cells[anchor, :, cell].astype(np.float32)
    if scale is not None:
        raw = (raw - np.float32(zero_point)) * np.float32(scale)
    rows = sigmoid(raw)
    keep = rows[:, 4] > score_threshold
    rows, anchor, cell = rows[keep], anchor[keep], cell[keep]
    corner = np.stack([cell % grid_width, cell // grid_width], axis=1).astype(np.float32)
    rows[:, :2] = (rows[:, :2] * 2 + (corner - np.float32(0.5))) * np.float32(stride)
    rows[:, 2:4] = (rows[:, 2:4] * 2) ** 2 * anchors[anchor]
    return rows


def _cells(
    head: Union[Array, Quantised], anchors: int, cells: int
) -> Tuple[Array, Optional[float], int]:
    """A head's ``[A, 5 + C, cells]`` as a view, and the scale and zero point of its integers."""
    if not isinstance(head, Quantised):
        return np.asarray(head, np.float32).reshape(anchors, -1, cells), None, 0
    if head.layout == "NHWC":
        view = head.values.reshape(cells, anchors, -1).transpose(1, 2, 0)
    else:
        view = head.values.reshape(anchors, -1, cells)
    return view, head.scale, head.zero_point


def sigmoid(values: Array) -> Array:
    """The logistic function without overflow, ``float32`` of the same shape."""
    small = np.exp(-np.abs(values))
    return np.where(values < 0, small, np.float32(1)) / (small + np.float32(1))


def _answers(rows: Array, rules: _Rules, frame_shape: Sequence[int]) -> Answers:
    """Decoded candidates ``float32[N, 5 + C]`` to the list of detections."""
    scores = rows[:, _BOX_FIELDS:] * rows[:, 4:5]
    if rules.multi_label:
        row, kind = np.nonzero(scores > rules.score_threshold)
        best = scores[row, kind]
    else:
        kind = scores.argmax(axis=1)
        best = scores[np.arange(len(scores)), kind]
        row = np.flatnonzero(best > rules.score_threshold)
        kind, best = kind[row], best[row]
    order = np.argsort(-best, kind="mergesort")[:_MAX_CANDIDATES]
    row, kind, best = row[order], kind[order], best[order]
    half = rows[row, 2:4] / 2
    boxes = np.concatenate([rows[row, :2] - half, rows[row, :2] + half], axis=1)
    kept = non_maximum_suppression(boxes, best, kind, rules.iou_threshold, rules.max_detections)
    placed = to_frame(boxes[kept], place(rules.fit, frame_shape), frame_shape)
    return [
        [float(edge) for edge in box] + [float(best[index]), float(kind[index])]
        for box, index in zip(placed, kept)
    ]


def non_maximum_suppression(
    boxes: Array, scores: Array, classes: Array, iou_threshold: float, max_detections: int
) -> List[int]:
    """Greedy suppression, each class apart.

    Args:
        boxes: ``float32[N, 4]``, x0, y0, x1, y1.
        scores: ``float32[N]``.
        classes: ``int[N]``.
        iou_threshold: a box whose IoU with a better one of its class is above this goes.
        max_detections: stop after so many.

    Returns:
        Indices of the boxes that stay, by falling score; of equal scores the lower index first.
    """
    rest = np.argsort(-scores, kind="mergesort")
    # Contiguous columns: the loop reads them many times.
    x0, y0, x1, y1 = np.ascontiguousarray(boxes[rest].T)
    areas = (x1 - x0) * (y1 - y0)
    kinds = np.asarray(classes)[rest]
    kept: List[int] = []
    while len(rest) and len(kept) < max_detections:
        kept.append(int(rest[0]))
        across = np.minimum(x1[0], x1[1:]) - np.maximum(x0[0], x0[1:])
        down = np.minimum(y1[0], y1[1:]) - np.maximum(y0[0], y0[1:])
        shared = np.maximum(across, 0) * np.maximum(down, 0)
        # As a product, so that two boxes without area divide nothing by zero.
        stays = shared <= iou_threshold * (areas[0] + areas[1:] - shared)
        stays |= kinds[1:] != kinds[0]
        rest, kinds, areas = rest[1:][stays], kinds[1:][stays], areas[1:][stays]
        x0, y0, x1, y1 = x0[1:][stays], y0[1:][stays], x1[1:][stays], y1[1:][stays]
    return kept
