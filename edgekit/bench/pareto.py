"""Which of several results no other one beats in everything."""

import math
from collections.abc import Sequence

Figures = Sequence[float | None]


def pareto_front(points: Sequence[Figures]) -> tuple[int, ...]:
    """Return the indices of the points that no other point dominates, ascending.

    A point dominates another that it equals or betters in every figure and betters in one.
    Equal points all stay.

    Args:
        points: for each the same figures in the same order, lower is better; ``None`` where one
            was not measured, which counts as worse than any number.
    """
    known = [tuple(math.inf if value is None else value for value in point) for point in points]
    return tuple(
        number
        for number, point in enumerate(known)
        if not any(_dominates(other, point) for other in known)
    )


def _dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    pairs = list(zip(one, other, strict=True))
    return all(a <= b for a, b in pairs) and any(a < b for a, b in pairs)
