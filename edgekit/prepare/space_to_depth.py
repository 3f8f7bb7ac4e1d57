"""The stem of a network of images on 2x2 blocks of pixels; imports onnx and ONNX Runtime.

A convolution of stride 2 meets every 2x2 block of pixels at the same place of its kernel, so
that it equals a convolution of stride 1 over the blocks, whose kernel is half as large and four
times as deep. Kernels of odd size, or with odd padding, are filled up with zeros first.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekit.core.model import Model
from edgekit.prepare.session import Reference, seeded_inputs
from edgekit.prepare.static_shapes import complete_outputs, infer

Weights = NDArray[np.float32]

_EQUAL: Final = 1e-4  # of the output's largest value; float32 noise is about 1e-6
_STRIDE: Final = 2
_SMALLEST_SIGNAL: Final = 1e-6


def blocks_of(planes: Weights) -> Weights:
    """Turn ``float32[1, C, H, W]`` into ``float32[1, 4 C, H/2, W/2]``."""
    _, channels, height, width = planes.shape
    split = planes.reshape(channels, height // 2, 2, width // 2, 2)
    ordered = split.transpose(2, 4, 0, 1, 3)
    return np.ascontiguousarray(ordered.reshape(1, 4 * channels, height // 2, width // 2))


def proven_graph(model: Model) -> onnx.ModelProto | None:
    """Return the graph on blocks if there is one and it answers as the original does."""
    original = onnx.load(model.onnx.path)
    graph = _on_blocks(original, model.inputs[0].name)
    if graph is None or not _answers_alike(model, original, graph):
        return None
    return graph


def _answers_alike(model: Model, original: onnx.ModelProto, graph: onnx.ModelProto) -> bool:
    inputs = seeded_inputs(model.inputs)
    name = model.inputs[0].name
    blocks = blocks_of(np.asarray(inputs[name], np.float32))
    expected = Reference(original, model.name).run(inputs)
    found = Reference(graph, f"{model.name} on blocks").run({name: blocks})
    return all(_alike(np.asarray(expected[key]), np.asarray(found[key])) for key in expected)


def _alike(want: NDArray[Any], got: NDArray[Any]) -> bool:
    if want.shape != got.shape or not np.isfinite(want).all():
        return False
    largest = max(float(np.abs(want).max(initial=0)), _SMALLEST_SIGNAL)
    return float(np.abs(want - got).max(initial=0)) <= _EQUAL * largest


@dataclass(frozen=True)
class _Axis:
    """One axis of the convolution: kernel taps, padding before, and size of input and output."""

    taps: int
    before: int
    size: int
    out: int

    @property
    def shift(self) -> int:
        """Zeros to put before the kernel so that it begins where a block does."""
        return self.before % _STRIDE

    @property
    def blocks(self) -> int:
        """Taps of the kernel over blocks."""
        return -(-(self.taps + self.shift) // _STRIDE)

    @property
    def pad_before(self) -> int:
        """Blocks of padding before."""
        return (self.before + self.shift) // _STRIDE

    @property
    def pad_after(self) -> int:
        """Blocks of padding after, such that the output keeps its size."""
        return self.out - 1 + self.blocks - self.pad_before - self.size // _STRIDE


def _on_blocks(original: onnx.ModelProto, name: str) -> onnx.ModelProto | None:
    """Rewrite every convolution on the input ``name``; ``None`` if something else reads it."""
    model = onnx.ModelProto()
    model.CopyFrom(original)
    graph = model.graph
    readers = [node for node in graph.node if name in node.input]
    shapes = {value.name: value for value in (*graph.value_info, *graph.output)}
    weights = {tensor.name: tensor for tensor in graph.initializer}
    if not readers or any(value.name == name for value in graph.output):
        return None
    source = next(value for value in graph.input if value.name == name)
    size = [dim.dim_value for dim in source.type.tensor_type.shape.dim]
    for node in readers:
        axes = _axes(node, size, shapes, weights)
        if axes is None or node.input[0] != name:
            return None
        kernel = _kernel_on_blocks(numpy_helper.to_array(weights[node.input[1]]), axes)
        _replace(graph, node, kernel, axes)
    used = {each for node in graph.node for each in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    for dim, value in zip(
        source.type.tensor_type.shape.dim, (1, 4 * size[1], size[2] // 2, size[3] // 2), strict=True
    ):
        dim.dim_value = value
    del graph.value_info[:]
    model = infer(model)
    complete_outputs(model)
    return model


def _axes(
    node: onnx.NodeProto,
    size: list[int],
    shapes: dict[str, onnx.ValueInfoProto],
    weights: dict[str, onnx.TensorProto],
) -> tuple[_Axis, _Axis] | None:
    """Return both axes of a convolution that can be rewritten, else ``None``."""
    if node.op_type != "Conv" or node.input[1] not in weights or node.output[0] not in shapes:
        return None
    attributes = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
    plain = attributes.get("group", 1) == 1 and set(attributes.get("dilations", [1])) == {1}
    if not plain or list(attributes.get("strides", [])) != [_STRIDE, _STRIDE]:
        return None
    taps = list(weights[node.input[1]].dims[2:])
    out = [dim.dim_value for dim in shapes[node.output[0]].type.tensor_type.shape.dim[2:]]
    before = _padding_before(attributes, taps, size[2:], out)
    rows, columns = (
        _Axis(taps[axis], before[axis], size[2 + axis], out[axis]) for axis in range(2)
    )
    if min(rows.pad_after, columns.pad_after) < 0 or max(taps) == 1:
        return None
    return rows, columns


def _padding_before(
    attributes: dict[str, object], taps: list[int], size: list[int], out: list[int]
) -> list[int]:
    """Return the padding above and to the left; ``auto_pad`` says it in words."""
    said = attributes.get("auto_pad", b"NOTSET")
    if said in (b"SAME_UPPER", b"SAME_LOWER"):
        missing = [max(0, (out[i] - 1) * _STRIDE + taps[i] - size[i]) for i in range(2)]
        return [-(-each // 2) if said == b"SAME_LOWER" else each // 2 for each in missing]
    pads = attributes.get("pads", (0, 0, 0, 0))
    assert isinstance(pads, list | tuple)  # noqa: S101 - for the type checker: ints, says ONNX
    return [int(pads[0]), int(pads[1])]


def _kernel_on_blocks(kernel: Weights, axes: tuple[_Axis, _Axis]) -> Weights:
    """Turn ``float32[O, C, h, w]`` into ``float32[O, 4 C, h/2, w/2]``, zeros filled in."""
    rows, columns = axes
    outputs, channels, _, _ = kernel.shape
    fill = [
        (axis.shift, _STRIDE * axis.blocks - axis.taps - axis.shift) for axis in (rows, columns)
    ]
    whole = np.pad(kernel, [(0, 0), (0, 0), *fill])
    split = whole.reshape(outputs, channels, rows.blocks, 2, columns.blocks, 2)
    ordered = split.transpose(0, 3, 5, 1, 2, 4)
    return ordered.reshape(outputs, 4 * channels, rows.blocks, columns.blocks)


def _replace(
    graph: onnx.GraphProto, node: onnx.NodeProto, kernel: Weights, axes: tuple[_Axis, _Axis]
) -> None:
    taken = {tensor.name for tensor in graph.initializer}
    name = f"{node.input[1]}.blocks"
    while name in taken:
        name += "_"
    graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(kernel), name))
    node.input[1] = name
    del node.attribute[:]
    pads = [axis.pad_before for axis in axes] + [axis.pad_after for axis in axes]
    for key, value in (
        ("kernel_shape", list(kernel.shape[2:])),
        ("pads", pads),
        ("strides", [1, 1]),
    ):
        node.attribute.append(onnx.helper.make_attribute(key, value))
