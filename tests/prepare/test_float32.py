"""Half precision in every corner of a graph."""

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.prepare.float32 import make_float32


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16])
def test_weights_constants_casts_and_bodies_become_float32(dtype):
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    value = numpy_helper.from_array(np.array([1.5, -2.0]).astype(dtype), "w")
    body = helper.make_graph(
        [helper.make_node("Constant", [], ["inner"], value=value)],
        "body",
        [],
        [helper.make_tensor_value_info("inner", kind, [2])],
    )
    nodes = [
        helper.make_node("Cast", ["x"], ["half"], to=kind),
        helper.make_node("Add", ["half", "w"], ["sum"]),
        helper.make_node("If", ["flag"], ["chosen"], then_branch=body, else_branch=body),
        helper.make_node("ConstantOfShape", ["shape"], ["filled"], value=value),
        helper.make_node("Cast", ["sum"], ["y"], to=TensorProto.INT64),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info("x", kind, [2])],
            [helper.make_tensor_value_info("y", TensorProto.INT64, [2])],
            [value],
            value_info=[helper.make_tensor_value_info("half", kind, [2])],
        )
    )
    assert make_float32(model)
    graph = model.graph
    assert graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert graph.value_info[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert graph.node[0].attribute[0].i == TensorProto.FLOAT
    assert graph.node[4].attribute[0].i == TensorProto.INT64
    weight = numpy_helper.to_array(graph.initializer[0])
    assert (weight.dtype, weight.tolist()) == (np.float32, [1.5, -2.0])
    for branch in graph.node[2].attribute:
        assert branch.g.node[0].attribute[0].t.data_type == TensorProto.FLOAT
        assert branch.g.output[0].type.tensor_type.elem_type == TensorProto.FLOAT
    assert graph.node[3].attribute[0].t.data_type == TensorProto.FLOAT
    assert not make_float32(model)


def test_float32_graph_is_left_as_it_is():
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("Relu", ["x"], ["y"])],
            "g",
            [helper.make_tensor_value_info("x", TensorProto.DOUBLE, [2])],
            [helper.make_tensor_value_info("y", TensorProto.DOUBLE, [2])],
        )
    )
    before = model.SerializeToString()
    assert not make_float32(model)
    assert model.SerializeToString() == before
    onnx.checker.check_model(model)
