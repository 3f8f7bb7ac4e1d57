"""What belongs to one layer."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.prepare.layer_groups import layer_groups


def graph(*nodes, outputs=("out",), weights=("w", "b", "c")):
    shaped = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
    image = helper.make_tensor_value_info("in", TensorProto.FLOAT, [1, 4, 8, 8])
    held = [numpy_helper.from_array(np.ones(4, np.float32), name) for name in weights]
    named = [
        helper.make_node(kind, given, made, name=f"{kind}-{made[0]}") for kind, given, made in nodes
    ]
    return helper.make_graph(named, "g", [image], shaped, held)


def operators(*nodes, **more):
    return [group.operators for group in layer_groups(graph(*nodes, **more))]


def conv(given, made):
    return ("Conv", [given, "w", "b"], [made])


@pytest.mark.parametrize("activation", ["Relu", "LeakyRelu", "Sigmoid", "HardSwish", "Clip"])
def test_activation_belongs_to_its_convolution(activation):
    found = operators(conv("in", "a"), (activation, ["a"], ["out"]))
    assert found == [("Conv", activation)]


def test_gate_and_product_belong_to_their_convolution():
    silu = (("Sigmoid", ["a"], ["s"]), ("Mul", ["a", "s"], ["out"]))
    assert operators(conv("in", "a"), *silu) == [("Conv", "Sigmoid", "Mul")]
    mish = (("Softplus", ["a"], ["p"]), ("Tanh", ["p"], ["t"]), ("Mul", ["a", "t"], ["out"]))
    assert operators(conv("in", "a"), *mish) == [("Conv", "Softplus", "Tanh", "Mul")]


def test_gate_on_its_own_is_one_layer():
    found = operators(
        ("MaxPool", ["in"], ["a"]), ("Sigmoid", ["a"], ["s"]), ("Mul", ["a", "s"], ["out"])
    )
    assert found == [("MaxPool",), ("Sigmoid", "Mul")]


def test_normalisation_and_constants_belong_to_their_convolution():
    found = operators(
        conv("in", "a"),
        ("BatchNormalization", ["a", "w", "b", "c", "c"], ["n"]),
        ("Mul", ["n", "c"], ["m"]),
        ("Relu", ["m"], ["out"]),
    )
    assert found == [("Conv", "BatchNormalization", "Mul", "Relu")]


def test_what_others_read_ends_a_layer():
    nodes = (conv("in", "a"), ("Relu", ["a"], ["r"]), ("Add", ["a", "r"], ["out"]))
    assert operators(*nodes) == [("Conv",), ("Relu",), ("Add",)]
    assert operators(conv("in", "a"), ("Relu", ["a"], ["out"]), outputs=("a", "out")) == [
        ("Conv",),
        ("Relu",),
    ]


def test_gate_with_another_reader_stays_outside():
    nodes = (
        conv("in", "a"),
        ("Sigmoid", ["a"], ["s"]),
        ("Mul", ["a", "s"], ["m"]),
        ("Add", ["m", "s"], ["out"]),
    )
    assert operators(*nodes) == [("Conv",), ("Sigmoid",), ("Mul",), ("Add",)]


def test_layer_tells_what_it_is_given_and_makes():
    nodes = (
        conv("in", "a"),
        ("Sigmoid", ["a"], ["s"]),
        ("Mul", ["a", "s"], ["m"]),
        ("Add", ["m", "in"], ["out"]),
        ("Relu", ["m"], ["unread"]),
    )
    first, second = layer_groups(graph(*nodes))
    assert (first.name, first.given, first.made) == ("Conv-a", ("in",), ("m",))
    assert (second.given, second.made) == (("m", "in"), ("out",))


def test_every_node_of_the_shipped_detector_is_in_one_layer(shapes_model):
    proto = onnx.load(shapes_model.onnx.path)
    groups = layer_groups(proto.graph)
    names = [node.name for group in groups for node in group.nodes]
    assert sorted(names) == sorted(node.name for node in proto.graph.node)
    kinds = {group.operators for group in groups}
    assert ("Conv", "Sigmoid", "Mul") in kinds
    assert ("Sigmoid",) not in kinds
    made = {"images"}
    for group in groups:
        assert made.issuperset(group.given)
        made.update(group.made)
