"""A candidate's score, the reference's, and how sure their difference is."""

import hashlib
import json
from array import array
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.bench.bootstrap import (
    LEVEL,
    MIN_IMAGES,
    RESAMPLES,
    Interval,
    drop_interval,
    images_needed,
    resample_counts,
)
from edgekit.catalog.cache import KeyedCache, cache_root
from edgekit.core.errors import UsageError
from edgekit.core.measurement import Accuracy

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from edgekit.prepare.answers import Answers
    from edgekit.prepare.evaluation import EvaluationSet
    from edgekit.prepare.metrics.tally import Tally

# Counts up with every change to a metric or to the bootstrap that changes a figure.
SCORE_VERSION: Final = 1
_SCORE: Final = "score.json"
_RESAMPLED: Final = "resampled.npy"


def score(
    evaluation: "EvaluationSet",
    reference: "Sequence[Answers]",
    answers: "Sequence[Answers]",
    *,
    max_drop: float,
) -> Accuracy:
    """Score a candidate's answers against the labels and the float reference; cached.

    Args:
        evaluation: the frames and their truth.
        reference: the float reference's answers on them.
        answers: the candidate's, from its device.
        max_drop: the limit that ``images_needed`` is worked out for.

    Raises:
        RunnerError: there is not one answer for each frame, or a value is not finite.
        UsageError: the float reference scores nothing, so that a drop would mean nothing.
    """
    scored = _score(evaluation, reference, answers)
    drop = scored.reference - scored.value
    images = len(evaluation.frames)
    interval = scored.interval
    return Accuracy(
        metric=evaluation.metric,
        value=scored.value,
        reference=scored.reference,
        drop=drop,
        interval=interval,
        images=images,
        images_needed=None if interval is None else images_needed(drop, interval, images, max_drop),
    )


@dataclass(frozen=True)
class _Scored:
    """What is kept of a score: all that hangs on no limit."""

    value: float
    reference: float
    interval: Interval | None


def _score(
    evaluation: "EvaluationSet", reference: "Sequence[Answers]", answers: "Sequence[Answers]"
) -> _Scored:
    from edgekit.prepare.scoring import tally_answers

    base = [SCORE_VERSION, evaluation.identity, _digest(reference), RESAMPLES, LEVEL, MIN_IMAGES]
    key = json.dumps([*base, _digest(answers)])
    cache = KeyedCache(cache_root() / "scores")

    def fill(folder: Path) -> None:
        expected = _resampled(evaluation, reference, json.dumps(base))
        if evaluation.truth is not None and not expected[0]:
            raise UsageError(
                f"the float reference itself scores 0 in {evaluation.metric} on the "
                f"{len(evaluation.frames)} images: no drop can be told",
                hint="labels must be of these very images, at their size, in the recipe's classes",
            )
        found = tally_answers(evaluation, reference, answers)
        compared = _compare(expected, found, len(evaluation.frames))
        if evaluation.truth is None and evaluation.kind == "boxes" and not any(reference):
            compared["interval"] = None  # on nothing, agreement is no evidence
        (folder / _SCORE).write_text(json.dumps(compared), encoding="ascii")

    held = json.loads((cache.build(key, fill) / _SCORE).read_text(encoding="ascii"))
    interval = held["interval"]
    return _Scored(
        held["value"], held["reference"], (interval[0], interval[1]) if interval else None
    )


def _resampled(
    evaluation: "EvaluationSet", reference: "Sequence[Answers]", key: str
) -> "NDArray[np.float64]":
    """The reference's score and its resampled ones, worked out once for all candidates."""
    import numpy as np

    from edgekit.prepare.scoring import tally_answers

    def fill(folder: Path) -> None:
        tally = tally_answers(evaluation, reference, reference)
        np.save(folder / _RESAMPLED, _all_scores(tally, len(evaluation.frames)))

    folder = KeyedCache(cache_root() / "scores").build(key, fill)
    held: NDArray[np.float64] = np.load(folder / _RESAMPLED, allow_pickle=False)
    return held


def _compare(expected: "NDArray[np.float64]", found: "Tally", images: int) -> dict[str, Any]:
    scores = _all_scores(found, images)
    interval = drop_interval(expected[1:], scores[1:]) if images >= MIN_IMAGES else None
    return {"value": float(scores[0]), "reference": float(expected[0]), "interval": interval}


def _all_scores(tally: "Tally", images: int) -> "NDArray[np.float64]":
    """The score as it is, and then that of each resample."""
    import numpy as np

    counts = np.ones((1, images), np.int64)
    if images >= MIN_IMAGES:
        counts = np.concatenate([counts, resample_counts(images)])
    return tally.scores(counts)


def _digest(answers: "Sequence[Answers]") -> str:
    """Hash of answers; of numbers as such, since to spell 100 000 of them takes long."""
    try:
        values = array("d", chain.from_iterable(chain.from_iterable(answers)))
    except TypeError:  # texts, or no answers at all
        return hashlib.sha256(json.dumps(answers).encode()).hexdigest()
    shape = json.dumps([[len(each) for each in found] for found in answers])
    return hashlib.sha256(shape.encode() + values.tobytes()).hexdigest()
