"""A difference for people."""

from dataclasses import replace

import pytest

from edgekit.core.difference import Difference, LayerDifference, TensorError, Tolerance
from edgekit.report.difference import difference_lines, difference_table


def layer(name, alone, accumulated):
    def error(relative):
        return TensorError(relative * 10, relative, relative / 10, 40.0, 0.99)

    return LayerDifference(
        name, (name,), ("Conv", "Relu"), (1, 4), (), error(alone), error(accumulated)
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
    tolerance=Tolerance(0.01, 0.05, "largest", "for a test"),
    layers=(
        layer("one", 0.001, 0.001),
        layer("two", 0.002, 0.002),
        layer("bad", 0.3, 0.3),
        layer("after", 0.001, 0.4),
    ),
    answer=TensorError(1.0, 0.2, 0.02, 20.0, 0.9),
    looking=TensorError(0.0, 0.0, 0.0, None, 1.0),
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


def test_lines_tell_rounding_that_adds_up_from_a_layer_that_the_net_has_otherwise():
    feeding, fed = FOUND.layers[0], replace(FOUND.layers[3], feeds=("one",))
    text = "\n".join(difference_lines(replace(FOUND, layers=(feeding, fed))))
    assert "no layer deviates alone; what after reads is off by no more than 1.00e-03" in text
    near = replace(feeding, accumulated=replace(feeding.accumulated, relative=0.045))
    below = replace(fed, accumulated=replace(fed.accumulated, relative=0.06))
    text = "\n".join(difference_lines(replace(FOUND, layers=(near, below))))
    assert "no layer deviates alone; what each rounds off adds up" in text


def test_lines_tell_what_is_not_finite_and_what_is_missing():
    broken = replace(layer("nan", 0, 0), alone=TensorError(0, 0, 0, None, 1, 7))
    missing = replace(layer("gone", 0, 0), alone=None, accumulated=None, remark="why not")
    found = replace(FOUND, layers=(broken, missing), looking=None)
    text = "\n".join(difference_lines(found))
    assert "nan (Conv+Relu): 7 values NaN or Inf" in text
    assert "none (NaN or infinity) alone" in text
    assert "1 of 2 layers not measured in full" in text
    cells = difference_table(found, 5).rows
    assert "7 NaN/Inf" in cells[0]
    assert cells[1][-1] == "why not"


def test_figures_are_those_that_the_tolerance_is_of():
    rms = replace(FOUND, tolerance=replace(FOUND.tolerance, measure="rms"))
    assert difference_table(FOUND, 1).rows[0][2] == "3.00e-01"
    assert difference_table(rms, 1).rows[0][2] == "3.00e-02"
    text = "\n".join(difference_lines(rms))
    assert "root mean square of the difference" in text
    assert "would have passed: 3.00e-02 alone, 4.00e-02 in the net" in text


@pytest.mark.parametrize("off", [3.434e-4, 9.9949e-4, 9.999e-4, 0.3, 1e-30, 0.0])
def test_tolerance_that_is_shown_does_let_all_pass(off):
    found = replace(FOUND, layers=(layer("one", off, off),), answer=FOUND.looking)
    (line,) = [line for line in difference_lines(found) if "would have passed" in line]
    shown = float(line.split(": ")[1].split()[0])
    assert shown == pytest.approx(off, rel=0.01)
    assert replace(found, tolerance=Tolerance(shown, shown, "largest", "as shown")).passed
