"""Half-precision graphs made float32: weights, constants, casts, inputs and outputs."""

from typing import TYPE_CHECKING

from edgekit.prepare.onnx_file import graphs

if TYPE_CHECKING:
    import onnx

# Attributes that hold a TensorProto.DataType, by operator (onnx/docs/Operators.md).
_TYPE_ATTRIBUTES = frozenset({"to", "dtype", "output_dtype", "stash_type"})


def make_float32(model: "onnx.ModelProto") -> bool:
    """Turn every float16 and bfloat16 of ``model`` into float32, in place.

    Returns:
        Whether anything was half precision.
    """
    changed = False
    for graph in graphs(model.graph):
        changed |= _values(graph)
        for tensor in graph.initializer:
            changed |= _tensor(tensor)
        for node in graph.node:
            changed |= _attributes(node)
    for function in model.functions:
        for node in function.node:
            changed |= _attributes(node)
    return changed


def _is_half(kind: int) -> bool:
    import onnx

    return kind in (onnx.TensorProto.FLOAT16, onnx.TensorProto.BFLOAT16)


def _values(graph: "onnx.GraphProto") -> bool:
    import onnx

    changed = False
    for value in (*graph.input, *graph.output, *graph.value_info):
        if _is_half(value.type.tensor_type.elem_type):
            value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
            changed = True
    return changed


def _tensor(tensor: "onnx.TensorProto") -> bool:
    import numpy as np
    from onnx import numpy_helper

    if not _is_half(tensor.data_type):
        return False
    values = numpy_helper.to_array(tensor).astype(np.float32)
    tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    return True


def _attributes(node: "onnx.NodeProto") -> bool:
    import onnx

    changed = False
    for attribute in node.attribute:
        if attribute.type == onnx.AttributeProto.TENSOR:
            changed |= _tensor(attribute.t)
        elif attribute.type == onnx.AttributeProto.TENSORS:
            for tensor in attribute.tensors:
                changed |= _tensor(tensor)
        elif attribute.name in _TYPE_ATTRIBUTES and _is_half(attribute.i):
            attribute.i = onnx.TensorProto.FLOAT
            changed = True
    return changed
