"""Candidates measured by turns: A B B A A B. What drifts then drifts for all of them alike."""

import itertools
import math
from collections.abc import Iterator, Sequence
from statistics import fmean, median, stdev
from typing import TypeVar

Item = TypeVar("Item")

# What two medians must differ by at least before anyone would care.
LEAST_RATIO = 1.01
# Where there is one round only, this much counts as noise.
_SINGLE_ROUND_RATIO = 1.03
# 97.5 % points of Student's t distribution by degrees of freedom; the last serves beyond them.
# Source: https://www.itl.nist.gov/div898/handbook/eda/section3/eda3672.htm
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_T_BEYOND = 2.228


def turns(items: Sequence[Item], rounds: int) -> Iterator[tuple[int, Item]]:
    """Give (round, item) for every round, every other round backwards.

    A device that warms up slows down whoever comes later; turning the order round takes a
    linear drift out of every pair.
    """
    for number in range(rounds):
        order = items if number % 2 == 0 else tuple(reversed(items))
        for item in order:
            yield number, item


def split(samples: Sequence[int], counts: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    """Return the samples of each round, given how many each round has.

    Raises:
        ValueError: the counts are not those of the samples.
    """
    if sum(counts) != len(samples):
        raise ValueError(
            f"{len(samples)} samples are not the {sum(counts)} of {len(counts)} rounds"
        )
    ends = list(itertools.accumulate(counts))
    return tuple(tuple(samples[end - count : end]) for end, count in zip(ends, counts, strict=True))


def ratio_interval(
    one: Sequence[Sequence[int]], other: Sequence[Sequence[int]]
) -> tuple[float, float]:
    """Return a 95 % interval of how many times as long ``one`` takes as ``other``.

    Round by round the two stood beside each other, so rounds are compared in pairs: what
    disturbed both in the same minute says nothing about their difference. Within a round,
    samples follow one another closely and are no independent witnesses; its median stands for
    it. The interval is Student's on the logarithms of the rounds' ratios.

    Args:
        one: samples of each round, in nanoseconds; no round is empty.
        other: likewise, of the same rounds.

    Raises:
        ValueError: the rounds are not the same, or none.
    """
    if len(one) != len(other) or not one:
        raise ValueError(f"{len(one)} rounds cannot be held against {len(other)}")
    logs = [math.log(median(a) / median(b)) for a, b in zip(one, other, strict=True)]
    centre = fmean(logs)
    if len(logs) == 1:
        margin = math.log(_SINGLE_ROUND_RATIO)
    else:
        freedom = len(logs) - 1
        t = _T[freedom - 1] if freedom <= len(_T) else _T_BEYOND
        margin = t * stdev(logs) / math.sqrt(len(logs))
    return math.exp(centre - margin), math.exp(centre + margin)


def is_tie(one: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> bool:
    """Tell whether the rounds leave it open which of the two is quicker, or it hardly matters."""
    return is_open(one, other) or _hardly_differ(*ratio_interval(one, other))


def is_open(one: Sequence[Sequence[int]], other: Sequence[Sequence[int]]) -> bool:
    """Tell whether more rounds might say which of the two is quicker, where it matters."""
    low, high = ratio_interval(one, other)
    return low <= 1 <= high and not _hardly_differ(low, high)


def _hardly_differ(low: float, high: float) -> bool:
    return low > 1 / LEAST_RATIO and high < LEAST_RATIO
