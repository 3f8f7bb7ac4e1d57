"""Outputs to detections by the library: the same as ``edgekit.onboard.steps.detect``, faster.

Of a call on a small board most is Python, so what does not change from frame to frame is made once:
heads by the form that they have, placements by the shape of the frame.
"""

from ctypes import c_void_p
from functools import lru_cache
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from edgekit.onboard.arrays import Answers, Array, Quantised, dequantised
from edgekit.onboard.native.binding import DTYPES, Head, Library, Rules, address, byref
from edgekit.onboard.steps.geometry import place

_BOX_FIELDS = 5
_FORMS = 8  # of outputs that are remembered; an engine has one
# Candidates that there is memory for at first: with and without a label for every class.
_CAPACITY = {False: 512, True: 8192}

Found = Sequence[Tuple[Any, int, Array]]  # heads, their strides, their anchors' sizes


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
        self._most = min(rules.max_detections, most_candidates)
        self._placed = lru_cache(maxsize=_FORMS)(self._place)
        self._plans: Dict[Any, _Plan] = {}

    def rows(self, rows: Array, frame_shape: Sequence[int]) -> Answers:
        """Answer decoded rows ``float32[N, 5 + C]``."""
        rows = np.ascontiguousarray(rows, np.float32)
        where, count = address(rows), rows.shape[0]

        def find(rules: Rules, capacity: int, memory: int) -> int:
            return int(self._library.rows(where, count, byref(rules), capacity, memory))

        return self._answers(find, rows.shape[1] - _BOX_FIELDS, frame_shape)

    def heads(
        self,
        outputs: Mapping[str, Any],
        found_in: Callable[[Mapping[str, Any]], Found],
        bound: float,
        frame_shape: Sequence[int],
    ) -> Answers:
        """Answer raw heads.

        Args:
            outputs: as the engine left them.
            found_in: picks the heads and checks their sizes; asked once for each form.
            bound: what a logit must exceed.
            frame_shape: height and width of the frame.
        """
        form = tuple([(name, *_form(value)) for name, value in outputs.items()])
        plan = self._plans.get(form)
        if plan is None:
            plan = _Plan(outputs, found_in(outputs), bound)
            if len(self._plans) >= _FORMS:
                self._plans.clear()
            self._plans[form] = plan
        kept, values = plan.values(outputs)
        heads, count = plan.heads, plan.count

        def find(rules: Rules, capacity: int, memory: int) -> int:
            return int(self._library.heads(heads, values, count, byref(rules), capacity, memory))

        answers = self._answers(find, plan.classes, frame_shape)
        del kept  # C has read from it until now
        return answers

    def _answers(
        self, find: Callable[[Rules, int, int], int], classes: int, frame_shape: Sequence[int]
    ) -> Answers:
        rules = self._placed(frame_shape[0], frame_shape[1], classes)
        capacity = _CAPACITY[self._rules.multi_label]
        while True:
            memory = np.empty(8 * (self._most + capacity) + classes, np.float32)
            count = find(rules, capacity, address(memory))
            if count >= 0:
                answers: Answers = memory[: 6 * count].reshape(count, 6).tolist()
                return answers
            capacity = -count

    def _place(self, height: int, width: int, classes: int) -> Rules:
        placement = place(self._rules.fit, (height, width))
        return Rules(
            most_candidates=self._most_candidates,
            most_detections=self._most,
            classes=classes,
            multi_label=self._rules.multi_label,
            score_threshold=self._rules.score_threshold,
            iou_threshold=self._rules.iou_threshold,
            offset=(placement.left, placement.top),
            gain=(placement.gain_x, placement.gain_y),
            limit=(width, height),
        )


class _Plan:
    """The heads among outputs of one form, ready for C but for where their values lie."""

    def __init__(self, outputs: Mapping[str, Any], found: Found, bound: float) -> None:
        names = {id(value): name for name, value in outputs.items()}
        self._names = [names[id(head)] for head, _, _ in found]
        self._memory: List[Array] = []  # that the structures point to
        self.count = len(found)
        self.heads = (Head * self.count)(*[self._head(*head, bound) for head in found])
        self.classes = self.heads[0].classes
        if any(head.classes != self.classes for head in self.heads):
            raise ValueError("the heads differ in their number of classes")
        self._places = c_void_p * self.count

    def values(self, outputs: Mapping[str, Any]) -> Tuple[List[Array], Any]:
        """Contiguous values of each head, and C's list of where they lie."""
        kept = [_in_memory(outputs[name])[0] for name in self._names]
        return kept, self._places(*[address(values) for values in kept])

    def _head(self, head: Any, stride: int, anchors: Array, bound: float) -> Head:
        values, channels_last = _in_memory(head)
        if str(values.dtype) not in DTYPES:
            raise ValueError(f"a head of {values.dtype} is none of {', '.join(DTYPES)}")
        rows, columns = head.shape[-2:]
        sigmoids = np.empty(0, np.float32)
        if isinstance(head, Quantised) and head.scale is not None:
            scale, zero_point = float(head.scale), int(head.zero_point)
            bound = float(np.floor(bound / scale + zero_point))
            sigmoids = _sigmoids(str(values.dtype), scale, zero_point)
        self._memory += [anchors, sigmoids]
        return Head(
            dtype=DTYPES[str(values.dtype)],
            channels_last=channels_last,
            anchors=len(anchors),
            classes=values.size // (rows * columns * len(anchors)) - _BOX_FIELDS,
            rows=rows,
            columns=columns,
            bound=bound,
            stride=stride,
            anchor_sizes=address(anchors),
            sigmoids=address(sigmoids),
        )


def _form(value: Any) -> Tuple[Any, ...]:
    """All of an output that a plan depends on."""
    if isinstance(value, Quantised):
        array, scale, zero_point, layout = value
        return array.shape, array.strides, array.dtype.char, scale, zero_point, layout
    return value.shape, value.strides, value.dtype.char


def _in_memory(head: Any) -> Tuple[Array, bool]:
    """A head's contiguous values, and whether its channels lie last; a copy only where it must."""
    if isinstance(head, Quantised):
        dtype = np.float32 if head.scale is None else None
        return np.ascontiguousarray(head.values, dtype), head.layout == "NHWC"
    head = np.asarray(head, np.float32)
    # Engines that work channels last hand out a transposed view.
    pixels = head.transpose(0, 2, 3, 1)
    if pixels.flags.c_contiguous:
        return pixels, True
    return np.ascontiguousarray(head), False


def _sigmoids(dtype: str, scale: float, zero_point: int) -> Array:
    """The logistic of each byte's value, ``float32[256]``."""
    from edgekit.onboard.steps.detect import sigmoid

    levels = np.arange(256, dtype=np.uint8).view(dtype)
    return sigmoid(dequantised(levels, scale, zero_point))
