"""What every metric makes of one run's answers, and the metrics that are shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edgekit.prepare.answers import Answers, Kind, match


class Tally(Protocol):
    """Records per image, made once; a bootstrap scores many weightings of them."""

    def scores(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Score each row of ``counts``.

        Args:
            counts: ``int64[R, N]``, how often each of the ``N`` images counts.

        Returns:
            ``float64[R]``, 1 is perfect.
        """


@dataclass(frozen=True)
class Share:
    """A score that is a share: what is right of what there is.

    Attributes:
        right: ``float64[N]`` per image.
        total: ``float64[N]`` per image; where nothing is expected and nothing found, all is well.
    """

    right: NDArray[np.float64]
    total: NDArray[np.float64]

    def scores(self, counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Score each row of ``counts``: ``float64[R]``."""
        right, total = counts @ self.right, counts @ self.total
        return np.divide(right, total, out=np.ones_like(total), where=total > 0)


def share_of_best(answers: Sequence[Answers], truth: Sequence[int | str]) -> Share:
    """Count the images whose best answer is right: top-1 accuracy, text read exactly.

    Args:
        answers: for each image ``[class, score]`` or ``[text, score]``, the best first.
        truth: for each image the right class or text.
    """
    right = [
        bool(found) and found[0][0] == told for found, told in zip(answers, truth, strict=True)
    ]
    return Share(np.array(right, float), np.ones(len(right)))


def agreement(
    expected: Sequence[Answers], answers: Sequence[Answers], kind: Kind, threshold: float | None
) -> Share:
    """Count what agrees with the float reference.

    Detections: F1 of those matched by class and IoU. Classes and text: the best answers.

    Args:
        expected: the reference's answers for each image.
        answers: those to be scored.
        kind: what they are.
        threshold: score below which detections are dropped; one-sided ones just above it are
            noise in the last digits and do not count.
    """
    if kind != "boxes":
        firsts = [found[0][0] if found else "" for found in expected]
        return share_of_best([found or [[""]] for found in answers], firsts)
    both = np.zeros(len(expected))
    single = np.zeros(len(expected))
    for index, (one, other) in enumerate(zip(expected, answers, strict=True)):
        matched = match(one, other)
        if threshold is not None:
            matched = matched.without_borderline(threshold)
        both[index] = len(matched.pairs)
        single[index] = len(matched.missed) + len(matched.invented)
    return Share(2 * both, 2 * both + single)
