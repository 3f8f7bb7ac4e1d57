"""Which layer is the first, and what would have passed."""

import json

import pytest

from edgekit.core.difference import (
    Difference,
    LayerDifference,
    TensorError,
    Tolerance,
    asked_tolerance,
    default_tolerance,
    worst,
)


def error(relative, non_finite=0):
    return TensorError(relative, relative, relative / 9, 40.0, 0.99, non_finite)


def layer(name, alone, accumulated, remark="", feeds=()):
    return LayerDifference(name, (name,), ("Conv",), (1, 4), feeds, alone, accumulated, remark)


def difference(*layers, tolerance=None, answer=0.0):
    return Difference(
        model="m",
        engine="ncnn",
        precision="fp16",
        target="local",
        device="local",
        knobs=(("threads", 2),),
        quantisation="",
        frame="0" * 64,
        tolerance=tolerance or Tolerance(0.01, 0.05, "largest", "for a test"),
        layers=layers,
        answer=error(answer),
        looking=None,
        builds=(1, 1),
        versions=(),
    )


def test_first_that_deviates_is_told_apart_alone_and_accumulated():
    found = difference(
        layer("a", error(0.001), error(0.001)),
        layer("b", error(0.001), error(0.06)),
        layer("c", error(0.5), error(0.4)),
    )
    assert found.first_alone.name == "c"
    assert found.first_accumulated.name == "b"
    assert (found.passing_alone, found.passing_accumulated) == (0.5, 0.4)
    assert not found.passed


def test_what_would_have_passed_lets_the_answer_pass_too():
    layers = (layer("a", error(0.02), error(0.03)),)
    refused = difference(*layers, answer=0.2)
    assert not refused.passed
    most = max(refused.passing_alone, refused.passing_accumulated)
    assert difference(*layers, answer=0.2, tolerance=asked_tolerance("fp16", most)).passed


def test_what_would_have_passed_does_pass():
    layers = (layer("a", error(0.02), error(0.3)), layer("b", None, error(0.25), "why"))
    refused = difference(*layers)
    assert not refused.passed
    most = max(refused.passing_alone, refused.passing_accumulated)
    assert difference(*layers, tolerance=asked_tolerance("fp16", most)).passed
    assert not difference(*layers, tolerance=asked_tolerance("fp16", most * 0.999)).passed


def test_nothing_passes_what_is_not_finite():
    found = difference(layer("a", error(0.0), error(0.0, non_finite=3)))
    assert found.first_accumulated.name == "a"
    assert found.first_alone is None
    assert found.passing_accumulated is None
    assert found.passing_alone == 0
    json.dumps(found.as_json(), allow_nan=False)


def test_answer_that_is_off_does_not_pass_either():
    assert not difference(layer("a", error(0), error(0)), answer=0.2).passed


def test_worst_of_several_tensors_is_the_worst_of_each_figure():
    one = TensorError(1.0, 0.1, 0.01, None, 1.0, 0)
    other = TensorError(0.5, 0.2, 0.005, 30.0, 0.9, 2)
    assert worst([one, other]) == TensorError(1.0, 0.2, 0.01, 30.0, 0.9, 2)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8"])
def test_default_tolerance_says_why(precision):
    found = default_tolerance(precision)
    assert 0 < found.alone <= found.accumulated < 1
    assert found.reason


def test_int8_is_held_against_the_mean_for_calibration_cuts_off_single_values():
    cut_off = TensorError(2.0, 0.2, 0.003, 30.0, 0.99)
    found = difference(layer("a", cut_off, cut_off), tolerance=default_tolerance("int8"))
    assert found.passed
    assert found.passing_alone == 0.003
    assert not difference(layer("a", cut_off, cut_off), tolerance=default_tolerance("fp16")).passed


def test_what_a_layer_reads_is_told_by_the_worst_of_it():
    last = layer("c", error(0), error(0.5), feeds=("a", "b"))
    found = difference(layer("a", error(0), error(0.1)), layer("b", None, error(0.2)), last)
    assert found.fed(last) == 0.2
    assert found.fed(found.layers[0]) == 0
