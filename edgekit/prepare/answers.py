"""Answers of two runs side by side: what kind they are, and which detections are the same."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from edgekit.core.model import StepSpec

Kind = Literal["boxes", "classes", "text", "none"]
Answers = Sequence[Any]  # what the postprocess step of that kind answers for one frame
Box = Sequence[float]  # x0, y0, x1, y1 in frame pixels, score, class index

_KINDS: Final[dict[str, Kind]] = {
    "yolov5": "boxes",
    "yolov5-heads": "boxes",
    "db": "boxes",
    "classify": "classes",
    "ctc": "text",
}
# Where a step leaves its threshold out. Source: edgekit.onboard.steps.
_THRESHOLDS: Final[dict[str, tuple[str, float]]] = {
    "yolov5": ("score_threshold", 0.25),
    "yolov5-heads": ("score_threshold", 0.25),
    "db": ("box_threshold", 0.6),
}
MIN_IOU: Final = 0.5
_SAME_EDGES_PX: Final = 1.0
# A detection this near to the threshold stands on one side only by noise in the last digits.
THRESHOLD_MARGIN: Final = 0.01


def answer_kind(step: StepSpec) -> Kind:
    """Return what a postprocess step answers with."""
    return _KINDS.get(step.name, "none")


def score_threshold(step: StepSpec) -> float | None:
    """Return the score below which a postprocess step drops detections."""
    if step.name not in _THRESHOLDS:
        return None
    key, default = _THRESHOLDS[step.name]
    return float(json.loads(step.parameters_json).get(key, default))


@dataclass(frozen=True)
class Matches:
    """Detections of one frame on both sides.

    Attributes:
        pairs: (expected, found), the surest first.
        missed: expected, and not found.
        invented: found, and not expected.
    """

    pairs: tuple[tuple[Box, Box], ...]
    missed: tuple[Box, ...]
    invented: tuple[Box, ...]

    def without_borderline(self, threshold: float) -> "Matches":
        """Leave out single detections whose score lies within the margin of the threshold."""

        def clear(boxes: tuple[Box, ...]) -> tuple[Box, ...]:
            return tuple(box for box in boxes if box[4] > threshold + THRESHOLD_MARGIN)

        return Matches(self.pairs, clear(self.missed), clear(self.invented))


def match(expected: Sequence[Box], found: Sequence[Box]) -> Matches:
    """Pair detections of one class with an IoU of at least 0.5, the best overlaps first.

    Boxes whose edges all lie within a pixel of each other are the same too: at the border of
    the frame boxes are clipped until little or no area remains, and IoU says nothing there.
    """
    overlaps = sorted(
        (-likeness, i, j)
        for i, one in enumerate(expected)
        for j, other in enumerate(found)
        if one[5] == other[5] and (likeness := _likeness(one, other)) >= MIN_IOU
    )
    partner: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in overlaps:
        if i not in partner and j not in taken:
            partner[i] = j
            taken.add(j)
    return Matches(
        tuple((expected[i], found[j]) for i, j in sorted(partner.items())),
        tuple(box for i, box in enumerate(expected) if i not in partner),
        tuple(box for j, box in enumerate(found) if j not in taken),
    )


def edge_distance(one: Box, other: Box) -> float:
    """Return the largest distance of corresponding edges, in pixels."""
    return max(abs(one[edge] - other[edge]) for edge in range(4))


def _likeness(one: Box, other: Box) -> float:
    distance = edge_distance(one, other)
    near = 1.0 - (1.0 - MIN_IOU) * distance / _SAME_EDGES_PX
    return max(iou(one, other), near if distance <= _SAME_EDGES_PX else 0.0)


def iou(one: Box, other: Box) -> float:
    """Return intersection over union of two boxes; 0 for boxes without area."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return shared / (areas - shared)
