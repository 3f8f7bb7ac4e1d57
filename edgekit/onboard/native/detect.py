"""Outputs to detections by the library: the same as ``edgekit.onboard.steps.detect``, faster."""

from functools import lru_cache
from typing import Any, Callable, List, Sequence, Tuple

import numpy as np

from edgekit.onboard.arrays import Answers, Array, Quantised, dequantised
from edgekit.onboard.native.binding import (
    DTYPES,
    Candidates,
    Head,
    Library,
    Rules,
    address,
    byref,
)
from edgekit.onboard.steps.geometry import place

_BOX_FIELDS = 5
_CAPACITY = {False: 2048, True: 16384}  # candidates that there is memory for at first


class Detector:
    """Candidates and their suppression under one set of rules.

    Args:
        library: as taken up.
        rules: what ``steps.detect`` has read of its parameters.
        most_candidates: into suppression.
    """

    def __init__(self, library: Library, rules: Any, most_candidates: int) -> None:
        self._library = library
        self._rules = rules
        self._most_candidates = most_candidates
        self._placed = lru_cache(maxsize=8)(self._place)

    def rows(self, rows: Array, frame_shape: Sequence[int]) -> Answers:
        """Answer decoded rows ``float32[N, 5 + C]``."""
        rows = np.ascontiguousarray(rows, np.float32)
        count, classes = rows.shape[0], rows.shape[1] - _BOX_FIELDS
        rules = self._rules

        def find(candidates: Candidates) -> int:
            return int(
                self._library.rows(
                    address(rows),
                    count,
                    classes,
                    rules.score_threshold,
                    rules.multi_label,
                    byref(candidates),
                )
            )

        return self._answers(find, classes, frame_shape)

    def heads(self, heads: Sequence[Any], bound: float, frame_shape: Sequence[int]) -> Answers:
        """Answer raw heads.

        Args:
            heads: ``(head, stride, anchors)`` for each, sizes checked: as many channels as
                anchors and classes want.
            bound: what the logit of an objectness must exceed.
            frame_shape: height and width of the frame.
        """
        made = [_head(head, stride, anchors, bound) for head, stride, anchors in heads]
        rules = self._rules

        def find(candidates: Candidates) -> int:
            count = 0
            for structure, _memory in made:
                count = self._library.head(
                    byref(structure),
                    rules.score_threshold,
                    rules.multi_label,
                    byref(candidates),
                    count,
                )
            return count

        return self._answers(find, made[0][0].classes, frame_shape)

    def _answers(
        self, find: Callable[[Candidates], int], classes: int, frame_shape: Sequence[int]
    ) -> Answers:
        capacity = _CAPACITY[self._rules.multi_label]
        while True:
            memory = (
                np.empty((capacity, 4), np.float32),
                np.empty(capacity, np.float32),
                np.empty(capacity, np.int32),
            )
            candidates = Candidates(*[address(part) for part in memory], capacity)
            count = find(candidates)
            if count <= capacity:
                break
            capacity = count
        most = min(self._rules.max_detections, count)
        rules = self._placed(int(frame_shape[0]), int(frame_shape[1]), classes, most)
        scratch = np.empty(2 * count + classes + 2 * most, np.int32)
        found = np.empty((most, 6), np.float32)
        kept = self._library.detections(
            byref(candidates), count, byref(rules), address(scratch), address(found)
        )
        answers: Answers = found[:kept].tolist()
        return answers

    def _place(self, height: int, width: int, classes: int, most: int) -> Rules:
        placement = place(self._rules.fit, (height, width))
        return Rules(
            most_candidates=self._most_candidates,
            most_detections=most,
            classes=classes,
            iou_threshold=self._rules.iou_threshold,
            offset=(placement.left, placement.top),
            gain=(placement.gain_x, placement.gain_y),
            limit=(width, height),
        )


def _head(head: Any, stride: int, anchors: Array, bound: float) -> Tuple[Head, List[Array]]:
    """A head's structure, and the memory that it points to."""
    rows, columns = head.shape[-2:]
    values, channels_last = _in_memory(head)
    class_bound, sigmoids = bound, np.empty(0, np.float32)
    if isinstance(head, Quantised) and head.scale is not None:
        scale, zero_point = float(head.scale), int(head.zero_point)
        bound = class_bound = float(np.floor(bound / scale + zero_point))
        sigmoids = _sigmoids(str(values.dtype), scale, zero_point)
    structure = Head(
        values=address(values),
        dtype=DTYPES[str(values.dtype)],
        channels_last=channels_last,
        anchors=len(anchors),
        classes=values.size // (rows * columns * len(anchors)) - _BOX_FIELDS,
        rows=rows,
        columns=columns,
        bound=bound,
        class_bound=class_bound,
        stride=stride,
        anchor_sizes=address(anchors),
        sigmoids=address(sigmoids),
    )
    return structure, [values, anchors, sigmoids]


def _in_memory(head: Any) -> Tuple[Array, bool]:
    """A head's contiguous values, and whether its channels lie last; a copy only where it must."""
    if isinstance(head, Quantised):
        if head.scale is None:
            return np.ascontiguousarray(head.values, np.float32), head.layout == "NHWC"
        return np.ascontiguousarray(head.values), head.layout == "NHWC"
    head = np.asarray(head, np.float32)
    if head.ndim == 4:  # noqa: PLR2004 - batch, channels, rows, columns
        # Engines that work channels last hand out a transposed view.
        pixels = head.transpose(0, 2, 3, 1)
        if pixels.flags.c_contiguous:
            return pixels, True
    return np.ascontiguousarray(head), False


@lru_cache(maxsize=32)
def _sigmoids(dtype: str, scale: float, zero_point: int) -> Array:
    """The logistic of each byte's value, ``float32[256]``."""
    from edgekit.onboard.steps.detect import sigmoid

    levels = np.arange(256, dtype=np.uint8).view(dtype)
    return sigmoid(dequantised(levels, scale, zero_point))
