"""Cutting a YOLOv5 detector at its last convolutions.

The tail of the graph, from the raw heads to the decoded ``float32[1, N, 5 + C]``, is not
matched node by node (every exporter writes it differently) but *probed*: it is run on heads
that are all zero. There the sigmoid is one half, so that the decode

    xy = (2 sigmoid - 0.5 + grid) stride        wh = (2 sigmoid)^2 anchor

leaves the anchors in ``wh`` and the grid's centres, from which the strides follow, in ``xy``.
Source of the formula: ultralytics/yolov5 v7.0, models/yolo.py, Detect.forward.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.prepare.onnx_file import dimensions, true_inputs
from edgekit.prepare.session import Reference

if TYPE_CHECKING:
    import numpy as np
    import onnx
    from numpy.typing import NDArray

_BOX = 5  # x, y, width, height, objectness
_RANK_DECODED = 3
_RANK_HEAD = 4
_PROBE_TOLERANCE = 1e-3


class LayoutError(Exception):
    """The graph is not laid out as YOLOv5 is; the message says where it differs."""


@dataclass(frozen=True)
class Head:
    """One raw head ``float32[1, A * (5 + C), H, W]`` and what its decode needs.

    Attributes:
        output: name of the convolution's output.
        stride: input pixels per cell.
        anchors: width and height of each anchor in input pixels.
        height, width: cells, at the size at which the head was found.
    """

    output: str
    stride: int
    anchors: tuple[tuple[float, float], ...]
    height: int
    width: int


@dataclass(frozen=True)
class Layout:
    """The heads in the order of the decoded rows, and the number of classes."""

    heads: tuple[Head, ...]
    classes: int
    decoded: str

    @property
    def stride(self) -> int:
        """The coarsest stride: input sizes must be multiples of it."""
        return max(head.stride for head in self.heads)


def find_layout(model: "onnx.ModelProto") -> Layout:
    """Find heads, anchors and strides of a static, shape-inferred float32 graph.

    Raises:
        LayoutError: this is not YOLOv5's layout.
    """
    decoded = _decoded_output(model)
    names = _last_convolutions(model, decoded.name)
    if not names:
        raise LayoutError("no convolution feeds the output")
    known = {value.name: dimensions(value) for value in model.graph.value_info}
    shapes = [known.get(name, ()) for name in names]
    _, rows, columns = (int(dim) for dim in dimensions(decoded))
    height, width = _input_size(model)
    cells = [_cells(name, shape, columns) for name, shape in zip(names, shapes, strict=True)]
    if sum(a * h * w for a, h, w in cells) != rows:
        raise LayoutError(f"{rows} rows do not come from heads {shapes}")
    tail = tail_between(model, names, decoded.name)
    probed = _probe(tail, names, shapes, decoded.name)
    heads: list[Head] = []
    first = 0
    for name, (anchors, high, wide) in zip(names, cells, strict=True):
        count = anchors * high * wide
        block = probed[first : first + count].reshape(anchors, high, wide, columns)
        heads.append(_read_head(name, block, height // high))
        if (heads[-1].stride * high, heads[-1].stride * wide) != (height, width):
            raise LayoutError(f"head {name} does not tile the input")
        first += count
    return Layout(tuple(heads), columns - _BOX, decoded.name)


def tail_between(model: "onnx.ModelProto", heads: Sequence[str], decoded: str) -> "onnx.ModelProto":
    """Return the graph from the raw heads to the decoded rows; ``model`` is shape-inferred."""
    known = {value.name: dimensions(value) for value in model.graph.value_info}
    tail = _between(model, heads, [decoded])
    for value in tail.graph.input:
        _set_shape(value, known[value.name])
    return tail


def cut(model: "onnx.ModelProto", layout: Layout) -> "onnx.ModelProto":
    """Return the graph that ends in the raw heads, their shapes left open for inference."""
    inputs = [value.name for value in true_inputs(model.graph)]
    return _between(model, inputs, [head.output for head in layout.heads])


def _decoded_output(model: "onnx.ModelProto") -> "onnx.ValueInfoProto":
    for value in model.graph.output:
        dims = dimensions(value)
        # Older exports list the raw heads as further outputs, of another rank.
        if len(dims) != _RANK_DECODED or not all(isinstance(dim, int) for dim in dims):
            continue
        if dims[0] == 1 and int(dims[2]) > _BOX:
            found: onnx.ValueInfoProto = value
            return found
    raise LayoutError("no output of shape [1, N, 5 + classes]")


def _input_size(model: "onnx.ModelProto") -> tuple[int, int]:
    inputs = true_inputs(model.graph)
    dims = dimensions(inputs[0])
    if len(inputs) != 1 or len(dims) != _RANK_HEAD:
        raise LayoutError("not one image input")
    return int(dims[2]), int(dims[3])


def _last_convolutions(model: "onnx.ModelProto", output: str) -> list[str]:
    """Walk back from ``output``; stop at convolutions; return them in the order of the rows."""
    makers = {name: node for node in model.graph.node for name in node.output if name}
    found: list[str] = []
    seen: set[str] = set()
    # A stack, inputs pushed last to first, visits the inputs of a Concat in their order.
    stack = [output]
    while stack:
        name = stack.pop()
        node = makers.get(name)
        if node is None or name in seen:
            continue
        seen.add(name)
        if node.op_type == "Conv":
            found.append(name)
        else:
            stack.extend(reversed(node.input))
    return found


def _cells(name: str, shape: tuple[int | str, ...], columns: int) -> tuple[int, int, int]:
    """Return anchors, height and width of a head."""
    fits = len(shape) == _RANK_HEAD and all(isinstance(dim, int) for dim in shape)
    if not fits or int(shape[1]) % columns:
        raise LayoutError(f"convolution {name} {list(shape)} is no head of {columns} columns")
    return int(shape[1]) // columns, int(shape[2]), int(shape[3])


def _probe(
    tail: "onnx.ModelProto",
    names: list[str],
    shapes: list[tuple[int | str, ...]],
    output: str,
) -> "NDArray[np.float32]":
    import numpy as np

    zeros = {
        name: np.zeros([int(dim) for dim in shape], np.float32)
        for name, shape in zip(names, shapes, strict=True)
    }
    decoded = Reference(tail, "the tail of the detector").run(zeros)[output]
    return np.asarray(decoded[0], np.float32)


def _read_head(name: str, block: "NDArray[np.float32]", stride: int) -> Head:
    """Read stride and anchors of one head off the probe, ``block`` is [A, H, W, 5 + C]."""
    import numpy as np

    _, high, wide, _ = block.shape
    rows, columns = np.mgrid[0:high, 0:wide].astype(np.float32)
    centres = (np.stack((columns, rows), axis=-1) + 0.5) * stride
    if not np.allclose(block[..., 0:2], centres, atol=_PROBE_TOLERANCE * stride):
        raise LayoutError(f"head {name} has another grid")
    anchors = block[:, 0, 0, 2:4]
    if not np.allclose(block[..., 2:4], anchors[:, None, None, :], rtol=_PROBE_TOLERANCE):
        raise LayoutError(f"head {name} has anchors that change from cell to cell")
    if not np.allclose(block[..., 4:], 0.5, atol=_PROBE_TOLERANCE):
        raise LayoutError(f"head {name} has scores that are no sigmoid")
    pairs = tuple((float(width), float(height)) for width, height in anchors)
    return Head(name, stride, pairs, high, wide)


def _between(
    model: "onnx.ModelProto", inputs: Sequence[str], outputs: Sequence[str]
) -> "onnx.ModelProto":
    """Return the part of the graph that makes ``outputs`` from ``inputs`` and weights."""
    import onnx

    nodes = list(model.graph.node)
    makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    wanted: set[int] = set()
    reached: set[str] = set(inputs)
    stack = [name for name in outputs if name not in reached]
    while stack:
        name = stack.pop()
        if name in reached:
            continue
        reached.add(name)
        if name in makers:
            wanted.add(makers[name])
            stack.extend(nodes[makers[name]].input)
    part = onnx.ModelProto()
    part.CopyFrom(model)
    graph = part.graph
    kept = [node for index, node in enumerate(nodes) if index in wanted]
    weights = [tensor for tensor in model.graph.initializer if tensor.name in reached]
    open_inputs = {value.name for value in true_inputs(model.graph)} - set(inputs)
    if reached & open_inputs:
        raise LayoutError("the tail reads the model's own input")
    for field in ("node", "initializer", "input", "output", "value_info"):
        graph.ClearField(field)
    graph.node.extend(kept)
    graph.initializer.extend(weights)
    known = {value.name: value for value in model.graph.input}
    for name in inputs:
        graph.input.append(known.get(name) or _float_value(name))
    for name in outputs:
        graph.output.append(_float_value(name))
    return part


def _float_value(name: str) -> "onnx.ValueInfoProto":
    import onnx

    value = onnx.ValueInfoProto()
    value.name = name
    value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return value


def _set_shape(value: "onnx.ValueInfoProto", shape: tuple[int | str, ...]) -> None:
    for dim in shape:
        value.type.tensor_type.shape.dim.add().dim_value = int(dim)
