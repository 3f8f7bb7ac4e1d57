"""YOLOv5's outputs to boxes: decode, threshold, then suppression (``suppress``).

Source of the decode: https://github.com/ultralytics/yolov5/blob/v7.0/models/yolo.py (Detect).
"""

from collections import namedtuple
from math import floor, log
from typing import TYPE_CHECKING, Any, List, Mapping, Optional, Sequence, Tuple, Union

import numpy as np

from edgekit.onboard import native
from edgekit.onboard.arrays import Answers, Array, Postprocess, Quantised, Tensors, dequantised
from edgekit.onboard.steps.geometry import Fit, read_fit
from edgekit.onboard.steps.parameters import Parameters
from edgekit.onboard.steps.suppress import MAX_CANDIDATES, answers
from edgekit.onboard.steps.tensor import only_output

if TYPE_CHECKING:
    from edgekit.onboard.native.detect import Detector

_BOX_FIELDS = 5  # x, y, w, h, objectness

_Head = Tuple[Union[Array, Quantised], int, Array]  # its stride and its anchors' sizes in pixels


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
    detector = _detector(rules)

    def run(outputs: Tensors, frame_shape: Sequence[int]) -> Answers:
        rows = np.asarray(only_output(outputs, output), np.float32)
        if rows.ndim != 3 or rows.shape[0] != 1 or rows.shape[2] <= _BOX_FIELDS:  # noqa: PLR2004
            raise ValueError(f"yolov5 needs float32[1, N, 5 + C], not {list(rows.shape)}")
        rows = rows[0]
        if detector is not None:
            return detector.rows(rows, frame_shape)
        rows = rows[rows[:, 4] > rules.score_threshold]
        row, scores, kinds = _labels(rows[:, _BOX_FIELDS:] * rows[:, 4:5], rules)
        return answers(_corners(rows[row, :4]), scores, kinds, rules, frame_shape)

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
    detector = _detector(rules)
    bound = _logit_bound(rules.score_threshold)

    def heads_of(outputs: Mapping[str, Any]) -> List[_Head]:
        return _heads(outputs, rules.fit, strides, anchors)

    def run(outputs: Tensors, frame_shape: Sequence[int]) -> Answers:
        if detector is not None:
            return detector.heads(outputs, heads_of, bound, frame_shape)
        found = [_decode_head(*head, bound, rules) for head in heads_of(outputs)]
        boxes, scores, kinds = (np.concatenate(parts) for parts in zip(*found))
        return answers(boxes, scores, kinds, rules, frame_shape)

    return run


def _detector(rules: _Rules) -> "Optional[Detector]":
    library = native.taken_up()
    if library is None:
        return None
    from edgekit.onboard.native.detect import Detector

    return Detector(library, rules, MAX_CANDIDATES)


def _logit_bound(score_threshold: float) -> float:
    """What a logit must exceed for its logistic to reach the threshold.

    The score is objectness times a probability, so either alone bounds it; most cells end here,
    before anything is decoded. The margin covers the logistic's own rounding.
    """
    return log(score_threshold / (1 - score_threshold)) - 1e-3


def _heads(
    outputs: Mapping[str, Any], fit: Fit, strides: Sequence[int], anchors: Sequence[Array]
) -> List[_Head]:
    """Find the head of each stride.

    Engines name and order outputs as they like; a head is known by its grid.
    """
    grids = {tuple(head.shape[-2:]): head for head in outputs.values() if len(head.shape) > 1}
    heads = []
    for stride, sizes in zip(strides, anchors):
        grid = (fit.height // stride, fit.width // stride)
        if grid not in grids:
            raise ValueError(f"no head of {grid[0]} x {grid[1]} cells among {sorted(grids)}")
        shape = tuple(grids[grid].shape)
        fields, rest = divmod(shape[1] if len(shape) == 4 else 0, len(sizes))  # noqa: PLR2004
        if shape[0] != 1 or rest or fields <= _BOX_FIELDS:
            raise ValueError(
                f"a head of shape {list(shape)} is not [1, {len(sizes)} * (5 + classes), h, w]"
            )
        heads.append((grids[grid], stride, sizes))
    return heads


def _decode_head(
    head: Union[Array, Quantised], stride: int, anchors: Array, bound: float, rules: _Rules
) -> Tuple[Array, Array, Array]:
    """Decode what passes of one head: boxes ``float32[N, 4]``, scores, classes."""
    grid_height, grid_width = head.shape[-2:]
    cells, scale, zero_point = _cells(head, len(anchors), grid_height * grid_width)
    level = np.float32(bound) if scale is None else floor(bound / scale + zero_point)
    anchor, cell = np.nonzero(cells[:, 4] > level)
    raw = cells[anchor, :, cell]

    def share(levels: Array) -> Array:
        return sigmoid(dequantised(levels, scale, zero_point))

    objectness = share(raw[:, 4])
    if rules.multi_label:
        row, scores, kinds = _labels(share(raw[:, _BOX_FIELDS:]) * objectness[:, None], rules)
    else:
        # Among raw values: the logistic can make equals of two that are not.
        kinds = raw[:, _BOX_FIELDS:].argmax(axis=1)
        scores = share(raw[np.arange(len(raw)), _BOX_FIELDS + kinds]) * objectness
        row = np.flatnonzero(scores > rules.score_threshold)
        scores, kinds = scores[row], kinds[row]
    shares, anchor, cell = share(raw[row, :4]), anchor[row], cell[row]
    corner = np.stack([cell % grid_width, cell // grid_width], axis=1).astype(np.float32)
    shares[:, :2] = (shares[:, :2] * 2 + (corner - np.float32(0.5))) * np.float32(stride)
    shares[:, 2:] = (shares[:, 2:] * 2) ** 2 * anchors[anchor]
    return _corners(shares), scores, kinds


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


def _labels(scores: Array, rules: _Rules) -> Tuple[Array, Array, Array]:
    """Scores ``float32[N, C]`` -> row, score and class of all that pass."""
    if rules.multi_label:
        row, kinds = np.nonzero(scores > rules.score_threshold)
        return row, scores[row, kinds], kinds
    kinds = scores.argmax(axis=1)
    best = scores[np.arange(len(scores)), kinds]
    row = np.flatnonzero(best > rules.score_threshold)
    return row, best[row], kinds[row]


def _corners(centred: Array) -> Array:
    """Boxes x, y, w, h -> x0, y0, x1, y1."""
    half = centred[:, 2:] / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)
