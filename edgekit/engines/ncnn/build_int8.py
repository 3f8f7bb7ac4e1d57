"""Post-training int8 for ncnn, whose own tools are in no package registry.

Runs inside the toolbox. Weights have one scale per output channel and inputs one per tensor, all
symmetric. What ``ncnn2table`` and ``ncnn2int8`` make is made here too, with one difference: they
give the weights of every 3x3 convolution 6 bits, so that Winograd's sums stay within 32 bits. Here
each channel gets as many levels as provably stay within them, which most often is all 8 bits, and
never fewer than there.

Source: https://github.com/Tencent/ncnn/tree/master/tools/quantize
"""

import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from .build_graph import Graph, Layer

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.contracts import Ranges

_FLOAT_TAG: Final = b"\0\0\0\0"
_INT8_TAG: Final = struct.pack("<I", 0x000D4B38)
_LEVELS: Final = 127
_CONVOLUTIONS: Final = ("Convolution", "ConvolutionDepthWise")
# Layers whose files hold the scale of their input. Gemm finds it at run time.
_CALIBRATED: Final = (*_CONVOLUTIONS, "InnerProduct")
# F(4, 3) computes 576 times the sum, in 32 bits, and divides. Sums wrap around on the way without
# harm: what counts is that the last one fits.
# Source: ncnn, src/layer/*/convolution_3x3_winograd_int8.h
_WINOGRAD_SUM: Final = (2**31 - 1) // 576
# What the official tool gives the channels in question, whatever their sums.
_WINOGRAD_LEVELS: Final = 31
_REQUANTISE: Final = 100


def quantisable(layer: Layer) -> bool:
    """Tell whether ncnn has this layer in int8: its weights must be constant, and float yet."""
    if not layer.weights or layer.weights[0] != _FLOAT_TAG:
        return False
    if layer.kind == "Gemm":
        # One weight, which is the second operand, as [N, K].
        terms = [layer.number(parameter, 0) for parameter in (4, 5, 3)]
        return terms == [0, 1, 1]
    if layer.kind == "ConvolutionDepthWise" and layer.number(7, 1) != layer.number(0, 0):
        # ncnn 20261020 leaves much of the output of a grouped convolution unwritten in int8.
        return False
    return layer.kind in _CALIBRATED and layer.number(19, 0) == 0


def observed(graph: Graph, layers: list[Layer]) -> tuple[str, ...]:
    """Return the blobs whose ranges ``layers`` need."""
    inputs = {graph.source(layer.inputs[0]) for layer in layers if layer.kind in _CALIBRATED}
    return tuple(sorted(inputs))


def quantise(graph: Graph, layers: list[Layer], ranges: "Ranges") -> None:
    """Make ``layers`` of ``graph`` int8, in place; two in a row hand int8 on between them."""
    scales = {blob: _input_scale(ranges.of(blob)) for blob in observed(graph, layers)}
    handed_on = _handed_on(graph, layers)
    for layer in layers:
        weights = weight_matrix(layer)
        steps = _weight_scales(layer, weights)
        whole = np.clip(np.rint(weights * steps[:, None]), -_LEVELS, _LEVELS).astype(np.int8)
        data = whole.tobytes()
        padding = bytes(-len(data) % 4)
        layer.weights[:2] = [_INT8_TAG, data + padding]
        if layer.kind == "Gemm":
            layer.parameters["18"] = "2"
            layer.weights.append(_floats(steps[:1]))
            continue
        term = 1 if layer.kind == "ConvolutionDepthWise" else 2
        layer.weights += [_floats(steps), _floats(scales[graph.source(layer.inputs[0])])]
        if layer.outputs[0] in handed_on:
            term += _REQUANTISE
            layer.weights.append(_floats(scales[layer.outputs[0]]))
        layer.parameters["8"] = str(term)


def weight_matrix(layer: Layer) -> "NDArray[np.float32]":
    """Return a layer's weights as ``float32[output channels, the rest]``."""
    rows = layer.number(8 if layer.kind == "Gemm" else 0, 1)
    return np.frombuffer(layer.weights[1], "<f4").reshape(rows, -1)


def _input_scale(limits: tuple[float, float]) -> "NDArray[np.float32]":
    widest = max(-limits[0], limits[1])
    return np.array([_LEVELS / widest if widest > 0 else 1], np.float32)


def _weight_scales(layer: Layer, weights: "NDArray[np.float32]") -> "NDArray[np.float32]":
    """Return what each row is multiplied by before it is rounded."""
    largest = np.abs(weights).max(axis=1)
    if layer.kind == "Gemm":  # which has one scale for all, and divides by it
        return np.full(len(weights), _LEVELS / (largest.max() or _LEVELS), np.float32)
    levels = np.full(len(weights), float(_LEVELS))
    if _may_use_winograd(layer):
        # The largest sum that inputs of 127 can reach, at all levels.
        reach = _LEVELS * _LEVELS * np.abs(weights).sum(axis=1) / np.maximum(largest, 1e-30)
        # Rounding may lengthen each weight by a half.
        spare = _WINOGRAD_SUM - _LEVELS * 0.5 * weights.shape[1]
        fitting = np.floor(_LEVELS * spare / np.maximum(reach, 1e-30))
        levels = np.clip(fitting, _WINOGRAD_LEVELS, _LEVELS)
    # Convolutions take 0 for a channel that is all zeros.
    scales = np.zeros(len(weights), np.float32)
    np.divide(levels, largest, out=scales, where=largest > 0, casting="same_kind")
    return scales


def _may_use_winograd(layer: Layer) -> bool:
    """Tell whether this is a 3x3 convolution of stride and dilation 1."""
    if layer.kind != "Convolution":
        return False
    width, dilation, stride = (layer.number(parameter, 1) for parameter in (1, 2, 3))
    heights = (layer.number(11, width), layer.number(12, dilation), layer.number(13, stride))
    return (width, dilation, stride) == (3, 1, 1) == heights


def _handed_on(graph: Graph, layers: list[Layer]) -> set[str]:
    """Return the blobs that int8 convolutions make and that nothing else than such ones read."""
    names = {layer.name for layer in layers if layer.kind in _CONVOLUTIONS}
    readers: dict[str, list[Layer]] = {}
    for layer in graph.layers:
        for blob in layer.inputs:
            readers.setdefault(blob, []).append(layer)

    def int8_only(blob: str) -> bool:
        if len(readers.get(blob, [])) != 1:
            return False  # nobody reads it: it is an output of the model
        (reader,) = readers[blob]
        if reader.kind == "Split":
            return all(map(int8_only, reader.outputs))
        return reader.name in names

    makers = (layer for layer in layers if layer.name in names)
    return {layer.outputs[0] for layer in makers if int8_only(layer.outputs[0])}


def _floats(values: "NDArray[np.float32]") -> bytes:
    return values.astype("<f4").tobytes()


def kept_in_float(layers: list[Layer], model: Path, nodes: Sequence[str]) -> frozenset[str]:
    """Return which ``layers`` compute ``nodes`` of an ONNX file; pnnx gives all new names.

    A layer is known by its weights. pnnx may have multiplied whole rows (a batch normalisation
    that it folded), so rows are compared by their direction. Layers that share their weights
    cannot be told apart and stay in float together. What has no weights, or weights that none of
    ``layers`` has, is in float anyway.

    Raises:
        RuntimeError: the file has no such node.
    """
    kept: set[str] = set()
    for weights in _weights_of(model, nodes):
        kept |= {layer.name for layer in layers if _parallel(weight_matrix(layer), weights)}
    return frozenset(kept)


def _weights_of(model: Path, names: Sequence[str]) -> Iterator["NDArray[np.float32]"]:
    """Give the weights of those named nodes that have any, as ``weight_matrix`` has them."""
    import onnx
    from onnx import numpy_helper

    graph = onnx.load(str(model)).graph
    nodes = {node.name: node for node in graph.node}
    missing = sorted(set(names) - set(nodes))
    if missing:
        raise RuntimeError(f"the model has no layer named {', '.join(missing)}")
    constants = {tensor.name: tensor for tensor in graph.initializer}
    for name in names:
        node = nodes[name]
        held = constants.get(node.input[1]) if len(node.input) > 1 else None
        if held is not None and node.op_type in {"Conv", "Gemm", "MatMul"}:
            settings = {item.name: item.i for item in node.attribute}
            yield _as_rows(node.op_type, settings, numpy_helper.to_array(held))


def _as_rows(
    kind: str, settings: Mapping[str, int], weights: "NDArray[Any]"
) -> "NDArray[np.float32]":
    if kind == "Conv":
        return weights.reshape(len(weights), -1)
    return weights if settings.get("transB", 0) else weights.T


def _parallel(own: "NDArray[np.float32]", other: "NDArray[np.float32]") -> bool:
    if own.shape != other.shape:
        return False
    return np.allclose(_directions(own), _directions(other), atol=1e-5)


def _directions(weights: "NDArray[np.float32]") -> "NDArray[Any]":
    """Scale each row so that the largest of its values is 1, whatever its sign."""
    rows = np.arange(len(weights))
    largest = weights[rows, np.abs(weights).argmax(axis=1)]
    return weights / np.where(largest == 0, 1, largest)[:, None]
