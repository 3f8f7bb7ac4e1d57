"""How sure a run's median is, told from the run's own samples."""

import itertools
from collections.abc import Sequence
from math import comb
from statistics import median
from typing import Final

# Samples of one run follow one another closely: a clock that drops in the middle, or a neighbour
# that wakes, touches many of them at once. Batches of consecutive samples, each told by its
# median, are far less dependent (the method of batch means; Law, Simulation Modeling and
# Analysis, chapter 9, advises 10 to 30 batches), and keep a drift visible.
BATCHES: Final = 20
LEVEL: Final = 0.95
LEAST_SAMPLES: Final = 6
"""Of five, not even the smallest and the largest enclose the median with 95 %: 1 - 2 / 2**5."""


def median_interval(
    samples: Sequence[float], *, level: float = LEVEL
) -> tuple[float, float] | None:
    """Return an interval that holds the median with probability ``level`` or a little more.

    Two order statistics enclose the median with a probability that depends on no distribution:
    the binomial one of tossing a coin for each. Source: David and Nagaraja, Order Statistics,
    third edition, section 7.1.

    Args:
        samples: in the order in which they were taken.
        level: at least how likely the interval holds the median.

    Returns:
        The interval; ``None`` where there are too few samples for one.
    """
    ordered = sorted(_batches(samples))
    count = len(ordered)
    outside = 0.0
    rank = 0  # how many stay outside on either side
    for below in range(count // 2):
        outside += 2 * comb(count, below) / 2**count
        if outside > 1 - level:
            break
        rank = below + 1
    return (ordered[rank - 1], ordered[count - rank]) if rank else None


def _batches(samples: Sequence[float]) -> list[float]:
    if len(samples) < 2 * BATCHES:
        return list(samples)
    ends = [len(samples) * number // BATCHES for number in range(BATCHES + 1)]
    return [median(samples[start:end]) for start, end in itertools.pairwise(ends)]
