"""The runs behind :mod:`edgekit.prepare.sensitivity`; imports onnx and ONNX Runtime."""

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

from edgekit.core.contracts import Ranges
from edgekit.core.model import Model
from edgekit.core.quantisation import CalibrationSet, LayerLoss
from edgekit.prepare.downstream import Recording, Run, Tensors
from edgekit.prepare.sensitivity import WEIGHTED_OPERATORS

Array = NDArray[Any]

# What these give holds values of their input alone: it can have the input's scale.
_MOVES: Final = frozenset(
    {
        "Cast", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Pad", "Reshape", "Slice",
        "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
_BOX: Final = 4
_OBJECTNESS: Final = 5
_LEVELS: Final = 255
_LOWEST: Final = -128
_CEILING_DB: Final = 120.0
_FLOOR: Final = 1e-30
_FAINTEST: Final = 1e-30


@dataclass(frozen=True)
class _Part:
    """A part of the outputs that is judged by itself.

    Attributes:
        name: in words.
        output: of which it is a part.
        anchors: how many anchors lie side by side along the axis of columns; 0: no columns.
        axis: of the columns.
        first, end: of the columns that belong to the part.
    """

    name: str
    output: str
    anchors: int = 0
    axis: int = -1
    first: int = 0
    end: int | None = None

    def of(self, outputs: Tensors) -> Array:
        """Cut the part out of the outputs."""
        values = np.asarray(outputs[self.output], np.float64)
        if not self.anchors:
            return values
        values = np.moveaxis(values, self.axis, -1)
        values = values.reshape(*values.shape[:-1], self.anchors, -1)
        return values[..., self.first : self.end]


def layer_losses(
    model: Model,
    calibration: CalibrationSet,
    ranges: Ranges,
    samples: int,
    scratch: Path,
    told: Callable[[int, int], None],
) -> tuple[LayerLoss, ...]:
    """Return what each layer loses, the worst first; ``scratch`` is an empty folder."""
    graph = onnx.load(model.onnx.path)
    nodes = _layers(graph)
    recording = Recording(graph, scratch, model.name)
    outputs = {spec.name for spec in model.outputs}
    expected = []
    for sample in _samples(calibration, samples):
        values = recording.record(sample)
        ranges.see(_floats(values, nodes))
        expected.append({name: values[name] for name in outputs})
    observed = set(ranges.names())
    known = [node for node in nodes if node.output[0] in observed]
    parts = _parts(model)
    signal = [_power([part.of(each) for each in expected], centred=True) for part in parts]
    ratios = []
    for number, node in enumerate(known):
        found = _outputs_in_int8(recording, node, ranges.of(node.output[0]), expected)
        ratios.append(_noise_ratios(parts, signal, expected, found))
        told(number + 1, len(known))
    weights = {tensor.name for tensor in graph.graph.initializer}
    return _ranked(known, ratios, parts, weights)


def _floats(values: Tensors, nodes: Sequence[onnx.NodeProto]) -> dict[str, Array]:
    """Return what the layers gave; whole numbers are indices, of which no engine makes int8."""
    given = {node.output[0]: values[node.output[0]] for node in nodes}
    return {name: value for name, value in given.items() if value.dtype.kind == "f" and value.size}


def _noise_ratios(
    parts: Sequence[_Part],
    signal: Sequence[float],
    expected: Sequence[Tensors],
    found: Sequence[Tensors],
) -> list[float]:
    return [
        _power([part.of(a) - part.of(b) for a, b in zip(expected, found, strict=True)])
        / max(power, _FLOOR)
        for part, power in zip(parts, signal, strict=True)
    ]


def _outputs_in_int8(
    recording: Recording,
    node: onnx.NodeProto,
    limits: tuple[float, float],
    expected: Sequence[Tensors],
) -> list[Tensors]:
    """Return the graph's outputs for each sample with one layer's weights and output in int8."""
    name = node.output[0]
    weights = {tensor.name: tensor for tensor in recording.graph.graph.initializer}
    if is_weighted(node, weights):
        tensor = numpy_helper.to_array(weights[node.input[1]])
        rounded = rounded_weights(tensor, _channel_axis(node))
        changed = {node.input[1]: [rounded] * recording.count}
        plain = [each[name] for each in Run(recording, [node], changed).outputs()]
    else:
        plain = [recording.value(sample, name) for sample in range(recording.count)]
    given = [rounded_values(value, limits) for value in plain]
    behind = recording.behind(name)
    parts: Iterable[Tensors] = repeat({}, recording.count)
    if behind:
        parts = Run(recording, behind, {name: given}).outputs()
    return [
        {**before, **({name: value} if name in before else {}), **after}
        for before, value, after in zip(expected, given, parts, strict=True)
    ]


def _samples(calibration: CalibrationSet, count: int) -> Iterator[dict[str, Array]]:
    stacks = {
        name: np.load(file.path, mmap_mode="r", allow_pickle=False)
        for name, file in calibration.inputs
    }
    for number in range(count):
        yield {name: np.array(stack[number : number + 1]) for name, stack in stacks.items()}


def _layers(graph: onnx.ModelProto) -> list[onnx.NodeProto]:
    return [
        node
        for node in graph.graph.node
        if len(node.output) == 1 and node.op_type not in _MOVES and node.op_type != "Constant"
    ]


def _parts(model: Model) -> list[_Part]:
    """Split the outputs into boxes, objectness and classes where the decoder has such columns."""
    step = model.pipeline.postprocess
    parameters = json.loads(step.parameters_json)
    parts: list[_Part] = []
    for index, spec in enumerate(model.outputs):
        if step.name == "yolov5" and spec.name == parameters.get("output", model.outputs[0].name):
            parts += _columns(spec.name, 1, -1)
        elif step.name == "yolov5-heads":
            place = min(index, len(parameters["anchors"]) - 1)
            parts += _columns(spec.name, len(parameters["anchors"][place]) // 2, 1)
        else:
            parts.append(_Part(spec.name, spec.name))
    return parts


def _columns(output: str, anchors: int, axis: int) -> list[_Part]:
    return [
        _Part(f"{output} boxes", output, anchors, axis, 0, _BOX),
        _Part(f"{output} objectness", output, anchors, axis, _BOX, _OBJECTNESS),
        _Part(f"{output} classes", output, anchors, axis, _OBJECTNESS),
    ]


def _power(values: Sequence[Array], *, centred: bool = False) -> float:
    """Return the mean square; ``centred``: around the mean, for a bias carries no information."""
    count = sum(each.size for each in values)
    mean = sum(float(each.sum()) for each in values) / max(count, 1) if centred else 0.0
    return sum(float(((each - mean) ** 2).sum()) for each in values) / max(count, 1)


def is_weighted(node: onnx.NodeProto, weights: "Mapping[str, object] | set[str]") -> bool:
    """Tell whether a node multiplies by weights of its own."""
    return node.op_type in WEIGHTED_OPERATORS and node.input[1] in weights


def _channel_axis(node: onnx.NodeProto) -> int:
    """Return the axis of the output channels in a node's weights."""
    if node.op_type == "Gemm":
        transposed = any(each.name == "transB" and each.i for each in node.attribute)
        return 0 if transposed else 1
    return {"Conv": 0, "ConvTranspose": 1}.get(node.op_type, -1)


def rounded_weights(weights: Array, axis: int) -> Array:
    """Return what int8 leaves of weights, symmetric for each channel along ``axis``."""
    others = tuple(i for i in range(weights.ndim) if i != axis % weights.ndim)
    scale = np.abs(weights).max(axis=others, keepdims=True) / 127
    scale = np.where(scale > 0, scale, 1)
    return np.asarray(np.round(weights / scale) * scale, weights.dtype)


def rounded_values(values: Array, limits: tuple[float, float]) -> Array:
    """Return what int8 leaves of a tensor, asymmetric in a range that holds zero."""
    low, high = limits
    scale = max((high - low) / _LEVELS, _FAINTEST)
    zero = min(max(round(_LOWEST - low / scale), _LOWEST), _LOWEST + _LEVELS)
    steps = np.clip(np.rint(values / scale) + zero, _LOWEST, _LOWEST + _LEVELS)
    return np.asarray((steps - zero) * scale, values.dtype)


def _ranked(
    nodes: Sequence[onnx.NodeProto],
    ratios: Sequence[Sequence[float]],
    parts: Sequence[_Part],
    weights: set[str],
) -> tuple[LayerLoss, ...]:
    total = [math.fsum(each) for each in zip(*ratios, strict=True)]
    losses = []
    for node, noise in zip(nodes, ratios, strict=True):
        worst = max(range(len(parts)), key=noise.__getitem__)
        losses.append(
            LayerLoss(
                name=node.name,
                operator=node.op_type,
                weighted=is_weighted(node, weights),
                decibels=round(_decibels(noise[worst]), 2),
                suffers=parts[worst].name,
                share=round(noise[worst] / max(total[worst], _FLOOR), 4),
            )
        )
    return tuple(sorted(losses, key=lambda loss: (loss.decibels, loss.name)))


def _decibels(noise: float) -> float:
    return min(-10 * math.log10(max(noise, _FLOOR)), _CEILING_DB)
