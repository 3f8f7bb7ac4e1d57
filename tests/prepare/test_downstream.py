"""A change in one tensor, run through what lies behind it alone."""

import numpy as np
import onnx
import pytest
import tiny_models
from onnx import TensorProto, helper

from edgekit.prepare.downstream import Recording, Run, reads
from edgekit.prepare.onnx_file import specs, true_inputs
from edgekit.prepare.session import Reference, seeded_inputs


@pytest.fixture
def recording(tmp_path):
    graph = onnx.shape_inference.infer_shapes(tiny_models.yolov5())
    recording = Recording(graph, tmp_path, "tiny")
    for seed in range(2):
        recording.record(seeded_inputs(specs(true_inputs(graph.graph)), seed))
    return recording


def test_every_tensor_is_recorded_for_each_sample(recording):
    whole = Reference(recording.graph, "tiny")
    for sample in range(2):
        image = recording.value(sample, "images")
        want = whole.run({"images": image})["output0"]
        np.testing.assert_array_equal(recording.value(sample, "output0"), want)


def test_part_behind_an_unchanged_tensor_gives_the_same_outputs(recording):
    for node in recording.graph.graph.node[2:-1:7]:
        name = node.output[0]
        same = [recording.value(sample, name) for sample in range(2)]
        behind = recording.behind(name)
        assert 0 < len(behind) < len(recording.graph.graph.node)
        for sample, found in enumerate(Run(recording, behind, {name: same}).outputs()):
            want = recording.value(sample, "output0")
            np.testing.assert_allclose(found["output0"], want, rtol=1e-4, atol=1e-4)


def test_changed_weights_count(recording):
    node = recording.graph.graph.node[0]
    weights = np.zeros((8, 3, 3, 3), np.float32)
    changed = {node.input[1]: [weights, weights + 1]}
    first, second = Run(recording, [node], changed).outputs()
    assert np.ptp(first[node.output[0]][0, 0]) == 0  # nothing but the bias is left
    assert np.ptp(second[node.output[0]][0, 0]) > 0


def test_body_of_a_branch_reads_from_outside():
    def body(value):
        nodes = [
            helper.make_node("Neg", ["outer"], ["inner"]),
            helper.make_node("Add", ["inner", value], ["out"]),
        ]
        out = helper.make_tensor_value_info("out", TensorProto.FLOAT, [1])
        return helper.make_graph(nodes, "body", [], [out])

    node = helper.make_node("If", ["choice"], ["y"], then_branch=body("a"), else_branch=body("b"))
    assert reads(node) == {"choice", "outer", "a", "b"}
