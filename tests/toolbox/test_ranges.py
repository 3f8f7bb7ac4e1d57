"""Ranges: what each method chooses, and that the order of the samples never shows."""

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgekit.toolbox.ranges import Ranges

# Drawing arrays is slow on a busy machine, which says nothing about ranges.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

METHODS = ("minmax", "percentile", "kl", "average")
SAMPLES = st.lists(
    arrays.arrays(np.float32, st.integers(1, 40), elements=st.floats(-1e6, 1e6, width=32)),
    min_size=1,
    max_size=6,
)


def observed(method, samples):
    ranges = Ranges(method)
    for sample in samples:
        ranges.see({"x": sample})
    return ranges.of("x")


@pytest.mark.parametrize("method", METHODS)
@patient
@given(samples=SAMPLES, seed=st.integers(0, 1000))
@example(samples=[np.array([each], np.float32) for each in (0, 4096, -1e-45)], seed=0)
def test_range_does_not_hang_on_the_order_of_the_samples(method, samples, seed):
    shuffled = [samples[i] for i in np.random.default_rng(seed).permutation(len(samples))]
    assert observed(method, samples) == observed(method, shuffled)


@pytest.mark.parametrize("method", METHODS)
@patient
@given(samples=SAMPLES)
def test_range_holds_zero_and_never_exceeds_what_was_seen(method, samples):
    low, high = observed(method, samples)
    assert low <= 0 <= high
    assert low >= min(0, *(float(sample.min()) for sample in samples))
    assert high <= max(0, *(float(sample.max()) for sample in samples))


def test_minmax_is_the_widest_range_seen():
    assert observed("minmax", [np.array([-1.0, 2]), np.array([0.5, 7])]) == (-1, 7)


def test_average_is_the_mean_of_each_samples_extremes():
    assert observed("average", [np.array([-1.0, 2]), np.array([-3.0, 6])]) == (-2, 4)


def test_percentile_leaves_a_rare_outlier_out():
    values = np.random.default_rng(3).normal(size=60_000).astype(np.float32)
    values[17] = 1000
    low, high = observed("percentile", [values])
    # One in ten thousand of a normal distribution lies beyond 3.72; bins are 0.25 wide here.
    assert 3.4 < high < 4.3
    assert -4.3 < low < -3.4


def test_kl_clips_a_long_thin_tail():
    random = np.random.default_rng(5)
    body, tail = random.normal(size=60_000), random.uniform(20, 100, size=6)
    low, high = observed("kl", [np.concatenate([body, tail]).astype(np.float32)])
    assert 3 < high < 50
    assert low > -50


def test_one_sided_activations_keep_their_side():
    values = np.abs(np.random.default_rng(4).normal(size=20_000)).astype(np.float32)
    for method in METHODS:
        low, high = observed(method, [values])
        assert low == 0
        assert high > 2


def test_zeros_have_an_empty_range():
    for method in METHODS:
        assert observed(method, [np.zeros(5, np.float32)]) == (0, 0)


def test_values_that_are_not_finite_are_refused_by_name():
    with pytest.raises(RuntimeError, match="tensor x"):
        observed("minmax", [np.array([1.0, math.nan])])


def test_an_unknown_method_is_refused():
    with pytest.raises(ValueError, match="moving"):
        Ranges("moving")
