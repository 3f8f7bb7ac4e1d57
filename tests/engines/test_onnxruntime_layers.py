"""What ONNX Runtime made of a graph, in the names of the graph that it was given."""

import pytest
from onnx import TensorProto, helper, save

from edgekit.engines.onnx_layers import Claim, OnnxGraph, Row
from edgekit.engines.onnxruntime.layers import claims

SHAPE = (1, 4, 2, 2)


def write(path, *nodes):
    """Write nodes, each an operator, a name, inputs and outputs; ``W`` is a constant."""
    made = [
        helper.make_node(operator, inputs, outputs, name=name, domain=domain)
        for operator, name, inputs, outputs, domain in (
            (*node, "") if len(node) == 4 else node for node in nodes
        )
    ]
    constant = helper.make_tensor("W", TensorProto.FLOAT, [1], [1.0])
    values = [helper.make_tensor_value_info(n, TensorProto.FLOAT, SHAPE) for n in ("x", "y")]
    save(helper.make_model(helper.make_graph(made, "g", values[:1], values[1:], [constant])), path)
    return path


@pytest.fixture
def find(tmp_path):
    source = write(
        tmp_path / "source.onnx",
        ("Conv", "first", ["x", "W"], ["a"]),
        ("Sigmoid", "gate", ["a"], ["s"]),
        ("Mul", "swish", ["a", "s"], ["b"]),
        ("Conv", "second", ["b", "W"], ["c"]),
        ("Add", "sum", ["c", "b"], ["d"]),
        ("MaxPool", "pool", ["d"], ["y"]),
    )

    def run(*nodes):
        optimised = write(tmp_path / "optimised.onnx", *nodes)
        rows = [Row(node[1], node[0], "CPU", 1) for node in nodes]
        graph = OnnxGraph(source)
        found = claims(rows, graph, {"optimised.onnx": optimised})
        return found, [group.nodes for group in graph.grouped(found)]

    return run


def test_fused_and_blocked_layers_are_their_nodes(find):
    found, nodes = find(
        ("ReorderInput", "ReorderInput", ["x"], ["reorder"]),
        ("Conv", "a_nchwc", ["reorder", "W"], ["reorder_token_1"]),
        ("QuickGelu", "swish/QuickGeluFusion/", ["reorder_token_1"], ["reorder_token_2"]),
        ("Conv", "c_nchwc_token_3", ["reorder_token_2", "W", "W", "reorder_token_2"], ["r4"]),
        ("MaxPool", "y_nchwc", ["r4"], ["r5"]),
        ("ReorderOutput", "ReorderOutput", ["r5"], ["y"]),
    )
    assert found[0] == found[-1] == Claim()
    assert nodes == [(), ("first",), ("gate", "swish"), ("second", "sum"), ("pool",), ()]


def test_node_that_is_named_after_nothing_hides_what_it_may_be(find):
    _found, nodes = find(
        ("Conv", "first", ["x", "W"], ["a"]),
        ("Mystery", "fused 17", ["a"], ["m"]),
        ("MaxPool", "pool", ["m"], ["y"]),
    )
    assert nodes == [("first",), (), ("pool",)]


def test_changes_between_float_and_int8_are_no_nodes(find):
    ints, floats = "a_QuantizeLinear_Output", "a_DequantizeLinear_Output"
    _found, nodes = find(
        ("QuantizeLinear", "x_QuantizeLinear", ["x", "W"], ["x_QuantizeLinear_Output"]),
        ("QLinearConv", "first_quant", ["x_QuantizeLinear_Output", "W"], [ints]),
        ("DequantizeLinear", "a_DequantizeLinear", [ints, "W"], [floats]),
        ("Mul", "swish", [floats, "W"], ["b"]),
    )
    assert nodes == [(), ("first",), (), ("gate", "swish")]
