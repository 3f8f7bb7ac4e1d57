"""Tensors of two engines that are the same: told by what they hold, in whatever order."""

import numpy as np
import pytest

from edgekit.onboard.figures import figures
from edgekit.toolbox.twins import _equal


@pytest.fixture
def tensors():
    random = np.random.default_rng(3)
    return {name: random.standard_normal((2, 8, 9, 7), np.float32) for name in "abc"}


def held(tensors):
    return {name: figures(values) for name, values in tensors.items()}


def test_tensor_is_known_in_another_layout_and_after_rounding(tensors):
    other = np.ascontiguousarray(tensors["b"].transpose(0, 2, 3, 1)) * np.float32(1 + 1e-6)
    assert _equal(figures(other), held(tensors)) == ["b"]


def test_tensor_of_other_values_is_nobodys(tensors):
    ours = held(tensors)
    for other in (-tensors["b"], tensors["b"] * np.float32(1.01), tensors["b"][:1]):
        assert _equal(figures(other), ours) == []
    changed = tensors["b"].copy()
    changed[:, 0] = 0
    assert _equal(figures(changed), ours) == []


def test_tensors_that_hold_the_same_are_all_told(tensors):
    ours = held({**tensors, "view": tensors["c"].reshape(2, -1)})
    assert _equal(figures(tensors["c"]), ours) == ["c", "view"]


@pytest.mark.parametrize(
    "values", [np.zeros((2, 3), np.float32), np.arange(4), np.array([1.0, np.nan]), np.zeros(0)]
)
def test_what_tells_nothing_has_no_figures(values):
    assert figures(values) is None
