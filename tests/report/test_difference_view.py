"""A difference for people."""

from dataclasses import replace

from edgekit.core.difference import Difference, LayerDifference, TensorError, Tolerance
from edgekit.report.difference import difference_lines, difference_table


def layer(name, alone, accumulated):
    def error(relative):
        return TensorError(relative * 10, relative, 40.0, 0.99)

    return LayerDifference(
        name, (name,), ("Conv", "Relu"), (1, 4), error(alone), error(accumulated)
    )


FOUND = Difference(
    model="shapes",
    engine="ncnn",
    precision="fp16",
    target="rk3566",
    device="virtual",
    knobs=(),
    quantisation="",
    frame="0" * 64,
    tolerance=Tolerance(0.01, 0.05, "for a test"),
    layers=(
        layer("one", 0.001, 0.001),
        layer("two", 0.002, 0.002),
        layer("bad", 0.3, 0.3),
        layer("after", 0.001, 0.4),
    ),
    answer=TensorError(1.0, 0.2, 20.0, 0.9),
    looking=TensorError(0.0, 0.0, None, 1.0),
    builds=(1, 2),
    versions=(),
)


def test_table_shows_the_worst_in_the_order_of_the_graph():
    rows = difference_table(FOUND, 2).rows
    assert [row[0] for row in rows] == ["bad", "after"]
    assert rows[0][1] == "Conv+Relu"
    assert rows[0][-1] == "deviates alone; deviates in the net"
    assert rows[1][-1] == "deviates in the net"
    assert len(difference_table(FOUND, 99).rows) == 4


def test_lines_name_the_first_and_what_would_have_passed():
    text = "\n".join(difference_lines(FOUND))
    assert "first layer that deviates alone: bad (Conv+Relu): 3.00e-01 of its range" in text
    assert "first layer that deviates in the net: bad" in text
    assert "would have passed: 3.00e-01 alone, 4.00e-01 in the net" in text
    assert "looking at the layers changed nothing of it" in text
    assert "1 in the net, 2 alone" in text


def test_lines_tell_rounding_that_adds_up_from_a_layer_that_is_wrong():
    added = replace(FOUND, layers=(FOUND.layers[0], FOUND.layers[3]))
    text = "\n".join(difference_lines(added))
    assert "no layer deviates alone" in text
    assert "deviates alone:" not in text


def test_lines_tell_what_is_not_finite_and_what_is_missing():
    broken = replace(layer("nan", 0, 0), alone=TensorError(0, 0, None, 1, 7))
    missing = replace(layer("gone", 0, 0), alone=None, accumulated=None, remark="why not")
    found = replace(FOUND, layers=(broken, missing), looking=None)
    text = "\n".join(difference_lines(found))
    assert "nan (Conv+Relu): 7 values NaN or Inf" in text
    assert "none (NaN or infinity) alone" in text
    assert "1 of 2 layers not measured in full" in text
    cells = difference_table(found, 5).rows
    assert "7 NaN/Inf" in cells[0]
    assert cells[1][-1] == "why not"
