"""How far a tensor lies from another."""

import math

import numpy as np
import pytest

from edgekit.prepare.layer_errors import tensor_error


def test_error_is_a_share_of_the_range_that_holds_zero():
    expected = np.array([1.0, 2.0, 4.0], np.float32)
    error = tensor_error(expected, expected + np.array([0, 0.5, -1], np.float32))
    assert error.max_abs == 1
    assert error.relative == 0.25
    assert error.rms == pytest.approx(math.sqrt(1.25 / 3) / 4)
    assert error.decibels == pytest.approx(10 * math.log10(21 / 1.25))
    both_signs = np.array([-4.0, 4.0], np.float32)
    assert tensor_error(both_signs, both_signs + 1).relative == 0.125


def test_equal_tensors_have_no_error():
    values = np.linspace(-1, 1, 9, dtype=np.float32)
    error = tensor_error(values, values.copy())
    assert (error.max_abs, error.relative, error.decibels, error.cosine) == (0, 0, None, 1)
    assert error.within(0, "largest")


def test_error_against_nothing_counts_by_itself():
    error = tensor_error(np.zeros(3, np.float32), np.array([0, 0.5, 0], np.float32))
    assert error.relative == 0.5
    assert error.cosine == 0
    assert error.decibels is not None
    assert math.isfinite(error.decibels)


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_counted_and_passes_nowhere(broken):
    expected = np.ones(4, np.float32)
    found = np.array([1, broken, 1, broken], np.float32)
    error = tensor_error(expected, found)
    assert error.non_finite == 2
    assert error.max_abs == 0
    assert not error.within(1, "rms")
    # Minus infinity in a mask is the model's own affair.
    assert tensor_error(found, found).non_finite == 0
