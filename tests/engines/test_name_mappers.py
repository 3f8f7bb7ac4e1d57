"""Layers placed by names: OpenVINO's through its file, MNN's by what operations are called."""

import pytest

from edgekit.engines.mnn import layers as mnn_layers
from edgekit.engines.ncnn import layers as ncnn_layers
from edgekit.engines.onnx_layers import Claim, OnnxGraph, Row
from edgekit.engines.openvino import layers as openvino_layers

# The tiny model as OpenVINO writes it: a convolution is two operations, the last one is named.
MODEL = """<net><layers>
<layer id="0" name="x" type="Parameter"><output><port names="x"/></output></layer>
<layer id="1" name="stem/WithoutBiases" type="Convolution"><output><port/></output></layer>
<layer id="2" name="stem" type="Add"><output><port names="c"/></output></layer>
<layer id="3" name="activation" type="ReLU"><output><port names="first"/></output></layer>
<layer id="4" name="pool" type="ReduceMean"><output><port names="p"/></output></layer>
<layer id="5" name="pool/fq" type="FakeQuantize"><output><port/></output></layer>
<layer id="6" name="flat" type="Reshape"><output><port names="second"/></output></layer>
</layers><edges>
<edge from-layer="0" to-layer="1"/><edge from-layer="1" to-layer="2"/>
<edge from-layer="2" to-layer="3"/><edge from-layer="3" to-layer="4"/>
<edge from-layer="4" to-layer="5"/><edge from-layer="5" to-layer="6"/>
</edges></net>"""


@pytest.fixture
def graph(tiny):
    return OnnxGraph(tiny.onnx.path)


def row(name, operator="Convolution", **facts):
    return Row(name, operator, "CPU", 1, facts=facts)


@pytest.fixture
def openvino_nodes(graph, tmp_path):
    path = tmp_path / "model.xml"
    path.write_text(MODEL)

    def find(*rows):
        found = openvino_layers.claims(rows, graph, {"model.xml": path})
        return [group.nodes for group in graph.grouped(found)]

    return find


def test_openvino_layer_is_what_its_operations_make(openvino_nodes):
    assert openvino_nodes(
        row("images_abcd", "Reorder", parts=[], reads=["x"]),
        row("conv", parts=["stem/WithoutBiases", "stem", "activation"], reads=["images_abcd"]),
        row("pool", "Reduce", parts=["pool"], reads=["conv"]),
    ) == [(), ("stem", "activation"), ("pool",)]


def test_openvino_operation_without_a_name_goes_with_what_it_feeds(openvino_nodes):
    nodes = openvino_nodes(
        row("conv", parts=["stem/WithoutBiases"], reads=["x"]),
        row("bias", "Eltwise", parts=["stem"], reads=["conv"]),
    )
    assert nodes == [("stem",)]


def test_openvino_quantisation_between_two_nodes_is_neither(openvino_nodes):
    nodes = openvino_nodes(
        row("pool", parts=["pool"], reads=["x"]),
        row("fq", "FakeQuantize", parts=["pool/fq"], reads=["pool"]),
        row("flat", "Reshape", parts=["flat"], reads=["fq"]),
    )
    assert nodes == [("pool",), (), ("flat",)]


def test_openvino_layer_behind_an_unknown_one_takes_no_more_than_its_own(openvino_nodes):
    nodes = openvino_nodes(
        row("unknown", "Subgraph", parts=["made up"], reads=["x"]),
        row("pool", parts=["flat"], reads=["unknown"]),
    )
    assert nodes == [(), ("flat",)]


def test_mnn_raster_goes_with_the_operation_that_it_moves_data_for(graph):
    rows = [row("c_raster_0", "Raster"), row("c"), row("first", "ReLU"), row("second", "Reshape")]
    groups = graph.grouped(mnn_layers.claims(rows, graph, {}))
    assert [(group.rows, group.nodes) for group in groups] == [
        ((0, 1), ("stem",)),
        ((2,), ("activation",)),
        ((3,), ("pool", "flat")),
    ]


def test_mnn_unknown_operation_keeps_the_others_to_their_own_nodes(graph):
    rows = [row("c"), row("BinaryOp297", "BinaryOp"), row("second", "Reshape")]
    groups = graph.grouped(mnn_layers.claims(rows, graph, {}))
    assert [group.nodes for group in groups] == [("stem",), (), ("flat",)]


def test_ncnn_split_computes_nothing_and_hides_nothing(graph, tmp_path):
    (tmp_path / "twins.json").write_text(
        '{"in0": ["x"], "1": ["c"], "2": ["c"], "3": ["first"], "4": []}'
    )
    rows = [
        row("conv_0", bottoms=["in0"], tops=["1"]),
        row("split", "Split", bottoms=["1"], tops=["2", "9"]),
        row("relu_0", "ReLU", bottoms=["2"], tops=["3"]),
        row("odd", "Noise", bottoms=["3"], tops=["4"]),
    ]
    found = ncnn_layers.claims(rows, graph, {"twins.json": tmp_path / "twins.json"})
    assert found[1] == found[3] == Claim()
    assert [group.nodes for group in graph.grouped(found)] == [("stem",), (), ("activation",), ()]
