"""Scored boxes to answers: non-maximum suppression, and the way back to the frame."""

from typing import Any, List, Sequence

import numpy as np

from edgekit.onboard.arrays import Answers, Array
from edgekit.onboard.steps.geometry import place, to_frame

MAX_CANDIDATES = 30000  # into NMS; Source: yolov5 v7.0 utils/general.py, max_nms


def answers(
    boxes: Array, scores: Array, classes: Array, rules: Any, frame_shape: Sequence[int]
) -> Answers:
    """Make ``[x0, y0, x1, y1, score, class]`` of the candidates that stay, in frame pixels.

    Args:
        boxes: ``float32[N, 4]``, x0, y0, x1, y1 on the model's input.
        scores: ``float32[N]``.
        classes: ``int[N]``.
        rules: with ``fit``, ``iou_threshold`` and ``max_detections``.
        frame_shape: height and width of the frame.
    """
    order = np.argsort(-scores, kind="mergesort")[:MAX_CANDIDATES]
    boxes, scores, classes = boxes[order], scores[order], classes[order]
    kept = non_maximum_suppression(
        boxes, scores, classes, rules.iou_threshold, rules.max_detections
    )
    placed = to_frame(boxes[kept], place(rules.fit, frame_shape), frame_shape)
    return [
        [float(edge) for edge in box] + [float(scores[index]), float(classes[index])]
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
