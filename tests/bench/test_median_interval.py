"""The median's interval holds the median as often as it says, and sees a drift."""

import random
from statistics import NormalDist

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bench.median_interval import LEAST_SAMPLES, median_interval


@pytest.mark.parametrize("count", [6, 15, 39, 40, 200])
def test_interval_holds_the_true_median_as_often_as_promised(count):
    draw = random.Random(count)
    rounds = 400
    held = 0
    for _ in range(rounds):
        low, high = median_interval([draw.gauss(100, 5) for _ in range(count)])
        held += low <= 100 <= high
    # Five standard deviations of the count below 95 %.
    assert held >= rounds * 0.95 + NormalDist().inv_cdf(2.9e-7) * (rounds * 0.95 * 0.05) ** 0.5


@given(st.lists(st.integers(1, 10**12), max_size=LEAST_SAMPLES - 1))
def test_too_few_samples_give_no_interval(samples):
    assert median_interval(samples) is None


@given(st.lists(st.integers(1, 10**12), min_size=LEAST_SAMPLES, max_size=100))
def test_interval_lies_within_the_samples(samples):
    low, high = median_interval(samples)
    assert min(samples) <= low <= high <= max(samples)


def test_slowdown_in_the_middle_widens_the_interval_as_independent_samples_would_not():
    steady = [100 + number % 3 for number in range(400)]
    slower = [value if number < 200 else value * 1.3 for number, value in enumerate(steady)]
    low, high = median_interval(slower)
    assert high - low > 25
    low, high = median_interval(steady)
    assert high - low <= 2
