"""Which nodes of the ONNX model an engine's layers compute: told by where they end."""

import pytest

from edgekit.engines import engine_names
from edgekit.engines.onnx_layers import Claim, Group, OnnxGraph, load_mapper


@pytest.fixture
def graph(tiny):
    """Convolution ``stem`` (c), ``activation`` (first), ``pool`` (p), ``flat`` (second)."""
    return OnnxGraph(tiny.onnx.path)


def ends(*names, reaches=True):
    return Claim(frozenset(names), reaches)


def test_graph_leaves_out_constants(graph):
    assert [node.name for node in graph.nodes] == ["stem", "activation", "pool", "flat"]
    assert graph.nodes[0].inputs == ("x",)


def test_layer_computes_what_only_it_reads(graph):
    groups = graph.grouped([ends("first"), ends("second")])
    assert groups == (Group((0,), ("stem", "activation")), Group((1,), ("pool", "flat")))


def test_result_of_the_model_is_swallowed_by_nobody(graph):
    assert graph.grouped([ends("second")]) == (Group((0,), ("pool", "flat")),)


def test_layer_behind_what_nobody_knows_takes_its_own_node_alone(graph):
    groups = graph.grouped([ends("first"), Claim(), ends("second", reaches=False)])
    assert groups[1:] == (Group((1,), ()), Group((2,), ("flat",)))


def test_layers_that_end_in_one_node_are_one_group(graph):
    groups = graph.grouped([ends("c"), ends("first"), ends("first"), ends("second")])
    assert groups == (
        Group((0,), ("stem",)),
        Group((1, 2), ("activation",)),
        Group((3,), ("pool", "flat")),
    )


def test_layer_with_ends_in_two_groups_joins_them(graph):
    groups = graph.grouped([ends("c"), ends("first"), ends("c", "first"), ends("second")])
    assert groups[0] == Group((0, 1, 2), ("stem", "activation"))


def test_tensor_that_the_model_lacks_is_no_node(graph):
    assert graph.grouped([ends("reorder_token_1"), ends("x")]) == (Group((0,), ()), Group((1,), ()))


def test_engine_without_a_mapper_has_none():
    assert load_mapper("tensorrt") is None
    assert load_mapper("nothing") is None
    assert all(callable(load_mapper(name)) for name in ("onnxruntime", "openvino"))
    assert "onnxruntime" in engine_names()
