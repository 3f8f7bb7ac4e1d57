"""ONNX files as people bring them: small, lawful and odd, or no ONNX at all."""

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SHAPE = (1, 3, 8, 8)


def value(name, shape=SHAPE):
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)


def save(path: Path, nodes, inputs, outputs, weights=()) -> Path:
    """Write a graph of float32 tensors to ``path``."""
    graph = helper.make_graph(list(nodes), "odd", list(inputs), list(outputs), list(weights))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


def unary(path: Path, operator="Relu", *, x="x", y="y", shape=SHAPE, output=None) -> Path:
    """Write one operator with one input and one output."""
    node = helper.make_node(operator, [x], [y])
    return save(path, [node], [value(x, shape)], [value(y, output or shape)])


def total(path: Path, *names: str) -> Path:
    """Write a sum of inputs."""
    sums = [names[0], *(f"sum{number}" for number in range(len(names) - 2)), "y"]
    nodes = [
        helper.make_node("Add", [left, name], [right])
        for left, name, right in zip(sums[:-1], names[1:], sums[1:], strict=True)
    ]
    return save(path, nodes, [value(name) for name in names], [value("y")])


def not_a_number(path: Path) -> Path:
    """Write a logarithm of what is negative."""
    nodes = [helper.make_node("Neg", ["x"], ["n"]), helper.make_node("Log", ["n"], ["y"])]
    return save(path, nodes, [value("x")], [value("y")])


def classifier(path: Path, *, size: int | str = 32, channels: int = 8) -> Path:
    """Write a convolution net from ``[1, 3, size, size]`` to ``[1, 10]``."""
    random = np.random.default_rng(1)
    weights = [
        numpy_helper.from_array(random.standard_normal(shape).astype(np.float32), name)
        for name, shape in (("w", (channels, 3, 3, 3)), ("v", (10, channels, 3, 3)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1] * 4, strides=[2, 2]),
        helper.make_node("Conv", ["c", "v"], ["d"], pads=[1] * 4),
        helper.make_node("GlobalAveragePool", ["d"], ["p"]),
        helper.make_node("Flatten", ["p"], ["y"]),
    ]
    return save(path, nodes, [value("x", (1, 3, size, size))], [value("y", (1, 10))], weights)
