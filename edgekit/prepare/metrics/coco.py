"""COCO's mean average precision of boxes, equal to pycocotools.

Source: https://github.com/cocodataset/cocoapi, PythonAPI/pycocotools/cocoeval.py (evaluateImg,
accumulate) and common/maskApi.c (bbIou); area range "all", at most 100 detections per class and
image, 101 points of recall.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgekit.prepare.answers import Answers
from edgekit.prepare.labels import ObjectLabel

OVERLAPS: Final = np.linspace(0.5, 0.95, 10)
_RECALLS: Final = np.linspace(0.0, 1.0, 101)
_MAX_DETECTIONS: Final = 100
_CLOSE: Final = 1 - 1e-10  # the reference's own limit for an overlap asked for
_WRONG, _RIGHT, _IGNORED = 0, 1, 2
_CHUNK: Final = 4_000_000  # counts held at a time: 32 MB

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class _ClassRecord:
    """One class over all images.

    Attributes:
        objects: ``int64[N]`` objects to be found in each image, crowds left out.
        images: ``int64[D]`` the image of each detection, by falling score.
        states: ``int8[10, D]`` what each detection is at each overlap.
    """

    objects: NDArray[np.int64]
    images: NDArray[np.int64]
    states: NDArray[np.int8]


@dataclass(frozen=True)
class AveragePrecision:
    """Detections matched with labels, ready to be scored under any weighting of the images."""

    records: tuple[_ClassRecord, ...]
    images: int

    def scores(self, counts: NDArray[np.int64]) -> Floats:
        """Return mAP50-95 for each row of ``counts``, ``float64[R]``; 0 without any object."""
        return self._means(counts, len(OVERLAPS))

    def scores_at_50(self, counts: NDArray[np.int64]) -> Floats:
        """Return mAP50 for each row of ``counts``, ``float64[R]``; 0 without any object."""
        return self._means(counts, 1)

    def _means(self, counts: NDArray[np.int64], overlaps: int) -> Floats:
        total = np.zeros(len(counts))
        classes = np.zeros(len(counts))
        for record in self.records:
            objects = counts @ record.objects
            classes += objects > 0
            width = max(1, _CHUNK // max(1, len(record.images)))
            for start in range(0, len(counts), width):
                rows = slice(start, start + width)
                weights = np.ascontiguousarray(counts[rows].T)
                total[rows] += _class_precision(record, weights, objects[rows], overlaps)
        return np.divide(total, classes, out=np.zeros_like(total), where=classes > 0)


def match_labels(
    answers: Sequence[Answers], truth: Sequence[Sequence[ObjectLabel]]
) -> AveragePrecision:
    """Match each image's detections with its labels.

    Args:
        answers: for each image ``[x0, y0, x1, y1, score, class]`` per detection, in pixels.
        truth: for each image its objects.
    """
    found = [np.array(rows, np.float64).reshape(-1, 6) for rows in answers]
    kinds = sorted({label.kind for labels in truth for label in labels if not label.crowd})
    records = tuple(_class_record(found, truth, kind) for kind in kinds)
    return AveragePrecision(records, len(truth))


def _class_record(
    found: Sequence[Floats], truth: Sequence[Sequence[ObjectLabel]], kind: int
) -> _ClassRecord:
    objects = np.zeros(len(truth), np.int64)
    scores: list[Floats] = []
    states: list[NDArray[np.int8]] = []
    for index, (rows, labels) in enumerate(zip(found, truth, strict=True)):
        own = rows[rows[:, 5] == kind]
        best = own[np.argsort(-own[:, 4], kind="mergesort")[:_MAX_DETECTIONS]]
        # Crowds last, as the reference has them: of equals the later one is taken.
        wanted = sorted((label for label in labels if label.kind == kind), key=lambda a: a.crowd)
        crowd = np.array([label.crowd for label in wanted], bool)
        objects[index] = len(wanted) - crowd.sum()
        scores.append(best[:, 4])
        states.append(_states(_overlap(best, [label.box for label in wanted], crowd), crowd))
    order = np.argsort(-np.concatenate(scores), kind="mergesort")
    images = np.repeat(np.arange(len(truth)), [len(each) for each in scores])
    return _ClassRecord(objects, images[order], np.concatenate(states, axis=1)[:, order])


def _overlap(
    rows: Floats, boxes: Sequence[tuple[float, float, float, float]], crowd: NDArray[np.bool_]
) -> Floats:
    """IoU ``float64[D, G]``; for a crowd the share of the detection that it covers."""
    truth = np.array(boxes, np.float64).reshape(-1, 4)
    size = rows[:, 2:4] - rows[:, :2]
    # Ends are worked out from sizes on both sides, for the reference's own last digits.
    high = np.minimum((size + rows[:, :2])[:, np.newaxis], truth[:, 2:] + truth[:, :2])
    sides = high - np.maximum(rows[:, np.newaxis, :2], truth[:, :2])
    shared = np.where((sides > 0).all(axis=2), sides.prod(axis=2), 0.0)
    areas = size.prod(axis=1)[:, np.newaxis]
    union = np.where(crowd, areas, areas + truth[:, 2:].prod(axis=1) - shared)
    overlap: Floats = np.divide(shared, union, out=np.zeros_like(shared), where=shared > 0)
    return overlap


def _states(overlap: Floats, crowd: NDArray[np.bool_]) -> NDArray[np.int8]:
    """What each detection, best first, is at each overlap: ``int8[10, D]``."""
    states = np.full((len(OVERLAPS), len(overlap)), _WRONG, np.int8)
    if not len(crowd):
        return states
    limits = np.minimum(OVERLAPS, _CLOSE)[:, np.newaxis]
    taken = np.zeros((len(OVERLAPS), len(crowd)), bool)
    for index in np.flatnonzero(overlap.max(axis=1) >= OVERLAPS[0]):
        # A crowd may be met any number of times.
        fits = (overlap[index] >= limits) & ~(taken & ~crowd)
        single = fits & ~crowd
        hit = single.any(axis=1)
        target = _last_best(single, overlap[index])
        states[hit, index] = _RIGHT
        states[~hit & fits.any(axis=1), index] = _IGNORED
        taken[hit, target[hit]] = True
    return states


def _last_best(allowed: NDArray[np.bool_], values: Floats) -> NDArray[np.int64]:
    """The last of the largest allowed values in each row."""
    reverse = np.where(allowed, values, -1.0)[:, ::-1]
    last: NDArray[np.int64] = allowed.shape[1] - 1 - reverse.argmax(axis=1)
    return last


def _class_precision(
    record: _ClassRecord, weights: NDArray[np.int64], objects: NDArray[np.int64], overlaps: int
) -> Floats:
    """Mean of the class's average precisions at the first ``overlaps`` overlaps, ``float64[R]``.

    Args:
        record: the class.
        weights: ``int64[N, R]``.
        objects: ``int64[R]`` weighted objects.
        overlaps: how many of the ten.
    """
    seen = weights[record.images].cumsum(axis=0)
    total = np.zeros(weights.shape[1])
    for right, counted in _at_hits(record, weights, seen, overlaps):
        # The best precision still to come, at each hit: between hits it only falls.
        precision = right / (counted + np.spacing(1))
        envelope = np.maximum.accumulate(precision[::-1], axis=0)[::-1]
        recall = right / np.maximum(objects, 1)
        reached = np.searchsorted(_RECALLS, recall.ravel(), side="right").reshape(recall.shape)
        total += (np.diff(reached, axis=0, prepend=0) * envelope).sum(axis=0)
    return np.where(objects > 0, total / (len(_RECALLS) * overlaps), 0.0)


def _at_hits(
    record: _ClassRecord, weights: NDArray[np.int64], seen: NDArray[np.int64], overlaps: int
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """For each overlap: weighted hits, and detections that count, up to and with each hit."""
    for states in record.states[:overlaps]:
        hits = np.flatnonzero(states == _RIGHT)
        if not len(hits):
            continue
        right = weights[record.images[hits]].cumsum(axis=0)
        ignored = np.flatnonzero(states == _IGNORED)
        counted = seen[hits]
        if len(ignored):
            before = np.zeros((len(ignored) + 1, weights.shape[1]), np.int64)
            np.cumsum(weights[record.images[ignored]], axis=0, out=before[1:])
            counted = counted - before[np.searchsorted(ignored, hits)]
        yield right, counted
