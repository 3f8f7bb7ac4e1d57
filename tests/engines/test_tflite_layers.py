"""XNNPACK's operators laid beside those of the file: all of a delegate fits, or nothing is said."""

import json

import pytest

from edgekit.engines.onnx_layers import Claim, OnnxGraph, Row
from edgekit.engines.tflite.layers import claims

PAD = ("PAD", ["in"], ["padded"])
CONV = ("CONV_2D", ["padded", "w"], ["conv"])
SIGMOID = ("LOGISTIC", ["conv"], ["gate"])
MUL = ("MUL", ["conv", "gate"], ["swish"])
POOL = ("MEAN", ["swish"], ["pooled"])
DELEGATE = ("DELEGATE", ["in", "w"], ["pooled"])
# The tiny model's tensors stand for the file's.
TWINS = {"in": ["x"], "conv": ["c"], "swish": ["first"], "pooled": ["p", "second"]}


@pytest.fixture
def ends(tiny, tmp_path):
    """Return what each of XNNPACK's operators ends at."""

    def find(*kinds, operators=(PAD, CONV, SIGMOID, MUL, POOL, DELEGATE)):
        told = [dict(zip(("name", "inputs", "outputs"), each, strict=True)) for each in operators]
        files = {"operators.json": told, "twins.json": TWINS}
        for name, value in files.items():
            (tmp_path / name).write_text(json.dumps(value))
        rows = [
            Row(kind, kind, "CPU", 1, facts={"delegate": 0, "number": number})
            for number, kind in enumerate(kinds)
        ]
        return claims(rows, OnnxGraph(tiny.onnx.path), {name: tmp_path / name for name in files})

    return find


def made(*names, reaches=True):
    return Claim(frozenset(names), reaches)


def test_padding_goes_with_the_convolution_that_it_was_fused_into(ends):
    found = ends("Convolution", "Sigmoid", "Multiply", "Mean")
    assert found[0] == made("c")
    # Nobody knows what the gate is in the model.
    assert found[1:] == (made(), made("first", reaches=False), made("p", "second"))


def test_table_of_int8_is_both_operators_of_a_swish(ends):
    assert ends("Convolution", "Invalid Unary Op", "Mean") == (
        made("c"),
        made("first"),
        made("p", "second"),
    )


@pytest.mark.parametrize(
    "kinds",
    [
        ("Convolution", "Multiply", "Mean"),
        ("Convolution", "Sigmoid", "Multiply"),
        ("Convolution", "Sigmoid", "Multiply", "Mean", "Add"),
        ("Convolution", "Something New", "Mean"),
    ],
)
def test_operators_that_do_not_fit_throughout_are_not_placed(ends, kinds):
    assert set(ends(*kinds)) == {Claim()}


def test_what_xnnpack_adds_to_move_data_is_no_node_and_shifts_nothing(ends):
    found = ends("Convolution", "Sigmoid", "Multiply", "Static Reshape", "Mean")
    assert found[3:] == (made(), made("p", "second"))


def test_activation_of_an_operator_is_one_layer_with_it(ends):
    found = ends("Convolution", "Clamp", "Sigmoid", "Multiply", "Mean")
    assert found[0] == found[1] == made("c")


def test_parts_that_are_copied_one_by_one_are_one_join(ends):
    join = ("CONCATENATION", ["swish", "conv"], ["pooled"])
    found = ends(
        "Convolution", "Sigmoid", "Multiply", "Copy", "Copy",
        operators=(PAD, CONV, SIGMOID, MUL, join, DELEGATE),
    )  # fmt: skip
    assert found[3] == found[4] == made("p", "second")
