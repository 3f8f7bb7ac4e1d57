import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.onboard.arrays import Form, Quantised, to_form

SHAPES = [(1, 3, 4, 5), (1, 7), (2, 3, 4), (1,)]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_a_form_and_back_is_the_array_within_half_a_quantum(shape, layout):
    array = np.random.RandomState(0).uniform(-1, 1, shape).astype(np.float32)
    form = Form(layout, "int8", 1 / 100, -5)
    whole = to_form(array, form)
    assert whole.dtype == np.int8
    assert whole.flags.c_contiguous
    output = Quantised(whole, form.scale, form.zero_point, layout)
    back = output.to_float()
    assert output.shape == back.shape == shape
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, array, atol=0.5 / 100 + 1e-6)


def test_a_float_form_only_moves_axes():
    array = np.random.RandomState(0).rand(1, 3, 4, 5).astype(np.float32)
    moved = to_form(array, Form("NHWC", "float32", None, None))
    np.testing.assert_array_equal(moved, array.transpose(0, 2, 3, 1))
    assert moved.flags.c_contiguous
    np.testing.assert_array_equal(Quantised(moved, None, None, "NHWC").to_float(), array)


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=1), st.sampled_from(["int8", "uint8"]))
def test_what_lies_outside_is_clipped_to_the_nearest_end(values, dtype):
    array = np.array(values, np.float32)
    whole = to_form(array, Form("NCHW", dtype, 2.0, 10))
    limits = np.iinfo(dtype)
    expected = np.clip(np.rint(array / np.float32(2) + 10), limits.min, limits.max)
    np.testing.assert_array_equal(whole, expected)


def test_rounding_is_half_to_even():
    array = np.array([0.5, 1.5, 2.5, -0.5, -1.5], np.float32)
    assert to_form(array, Form("NCHW", "int8", 1.0, 0)).tolist() == [0, 2, 2, 0, -2]
