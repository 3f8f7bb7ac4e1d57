"""The paired bootstrap: what it promises, tried on data whose truth is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bench.bootstrap import MIN_IMAGES, drop_interval, images_needed, resample_counts


def mean_interval(reference, values, seed=0):
    """The interval of the difference of two means over the same images."""
    images = len(reference)
    counts = resample_counts(images, seed=seed)
    return drop_interval(counts @ reference / images, counts @ values / images)


def test_every_resample_has_as_many_images_as_there_are():
    counts = resample_counts(80)
    assert counts.shape == (1000, 80)
    assert (counts.sum(axis=1) == 80).all()
    assert counts.min() == 0
    # An image is left out of a resample with probability (1 - 1/n)**n.
    assert (counts == 0).mean() == pytest.approx((1 - 1 / 80) ** 80, abs=0.01)


def test_draw_is_the_same_each_time_and_hangs_on_the_seed():
    np.testing.assert_array_equal(resample_counts(30, seed=4), resample_counts(30, seed=4))
    assert (resample_counts(30, seed=4) != resample_counts(30, seed=5)).any()
    # NumPy's frozen stream: these never change.
    assert resample_counts(5, resamples=2).tolist() == FIRST_DRAWS


FIRST_DRAWS = [[1, 1, 1, 1, 1], [1, 1, 1, 2, 0]]


def test_equal_sides_differ_by_nothing():
    values = np.random.default_rng(0).random(50)
    assert mean_interval(values, values) == (0, 0)


def test_swapped_sides_have_the_mirrored_interval():
    random = np.random.default_rng(1)
    one, other = random.random(60), random.random(60)
    low, high = mean_interval(one, other)
    assert mean_interval(other, one) == pytest.approx((-high, -low), abs=1e-12)
    assert low < (one - other).mean() < high


def test_pairing_takes_out_what_both_sides_share():
    random = np.random.default_rng(2)
    hard = random.random(80)
    one, other = hard + 0.02, hard + random.normal(0, 0.001, 80)
    low, high = mean_interval(one, other)
    assert high - low < 0.002
    assert low < 0.02 < high


def test_interval_shrinks_with_the_root_of_the_number_of_images():
    random = np.random.default_rng(3)
    widths = []
    for images in (100, 400):
        low, high = mean_interval(random.normal(0, 1, images), np.zeros(images))
        widths.append(high - low)
    assert widths[0] / widths[1] == pytest.approx(2, rel=0.25)


@pytest.mark.parametrize("images", [MIN_IMAGES, 80])
def test_interval_holds_the_true_drop_as_often_as_it_says(images):
    random = np.random.default_rng(images)
    held = 0
    for trial in range(400):
        right = random.random((images, 2)) < (0.7, 0.6)  # the true drop is 0.1
        low, high = mean_interval(right[:, 0] * 1.0, right[:, 1] * 1.0, seed=trial)
        held += low <= 0.1 <= high
    # 95 % is promised; percentile intervals of few images are a little short of it.
    assert 0.90 <= held / 400 <= 0.98


@pytest.mark.parametrize(
    ("drop", "interval", "limit", "needed"),
    [
        (0.004, (-0.001, 0.009), 0.01, None),  # decided: within
        (0.02, (0.015, 0.025), 0.01, None),  # decided: beyond
        (0.004, (-0.008, 0.016), 0.01, 321),  # 80 * (0.012 / 0.006)**2 = 320, and one more
        (0.02, (-0.01, 0.05), 0.01, 721),
        (0.01, (0.0, 0.02), 0.01, None),  # the drop is the limit: no number ever decides
    ],
)
def test_images_needed_extrapolates_the_width(drop, interval, limit, needed):
    found = images_needed(drop, interval, 80, limit)
    assert found == needed or (needed is not None and abs(found - needed) <= 1)


@given(
    st.floats(-0.2, 0.2),
    st.floats(0, 0.2),
    st.floats(0, 0.2),
    st.integers(20, 5000),
    st.floats(0, 0.1),
)
def test_that_many_images_would_decide(drop, below, above, images, limit):
    interval = (drop - below, drop + above)
    needed = images_needed(drop, interval, images, limit)
    if needed is None:
        decided = interval[1] <= limit or interval[0] > limit
        # More than a million images are no answer to anybody.
        hopeless = images**0.5 * max(below, above) >= 990 * abs(drop - limit)
        assert decided or hopeless
        return
    assert needed >= images
    shrunk = (images / needed) ** 0.5
    assert drop + above * shrunk <= limit + 1e-9 or drop - below * shrunk >= limit - 1e-9
