"""ONNX Runtime's layers in the names of the ONNX model, by the graph that it made of the file.

It fuses nodes, gives them names of its own and lays convolutions out by blocks, between which
``ReorderInput`` and ``ReorderOutput`` stand; names of tensors it keeps but for those. Such changes
of layout, and those between float and int8, are no node of the model.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edgekit.engines.onnx_layers import Claim, Node, OnnxGraph, Row

_CONVERSIONS: Final = ("ReorderInput", "ReorderOutput", "QuantizeLinear", "DequantizeLinear")
# What its rewrites append to the name of a tensor, or of the node that ended what was fused.
# Source: onnxruntime/core/optimizer: nchwc_transformer.cc, quick_gelu_fusion.cc; Graph's
# GenerateUniqueNodeName; onnxruntime/python/tools/quantization/quant_utils.py
_SUFFIX: Final = re.compile(
    r"(_nchwc|/\w+Fusion/|_(Quantize|Dequantize)Linear(_Output)?|_quant)?(_token_\d+)?$"
)


def claims(rows: Sequence[Row], graph: OnnxGraph, files: Mapping[str, Path]) -> tuple[Claim, ...]:
    """Find the tensors at which each layer ends."""
    made = _Made(OnnxGraph(files["optimised.onnx"]), graph)
    return tuple(made.claim(row.name) for row in rows)


class _Made:
    """The graph that ONNX Runtime computes, beside the one that it was given."""

    def __init__(self, own: OnnxGraph, source: OnnxGraph) -> None:
        self._own = own
        self._source = source
        self._nodes = {node.name: node for node in own.nodes if node.name}
        self._by_name = {node.name: node for node in source.nodes}
        self._known = {name for node in source.nodes for name in (*node.inputs, *node.outputs)}

    def claim(self, layer: str) -> Claim:
        """Return what the layer of this name makes."""
        node = self._nodes.get(layer)
        if node is None or node.operator in _CONVERSIONS:
            return Claim()
        ends = {end for output in node.outputs for end in self._named(output)}
        ends = ends or self._by_own_name(node)
        known = all(self._is_known(name) for name in node.inputs)
        return Claim(frozenset(ends & self._source.makers.keys()), reaches=known)

    def _named(self, tensor: str) -> set[str]:
        """Return what the model calls a tensor that may be laid out otherwise."""
        if tensor in self._known:
            return {tensor}
        plain = _SUFFIX.sub("", tensor)
        if plain in self._known:
            return {plain}
        readers = (self._own.nodes[at] for at in self._own.readers(tensor))
        reordered = [node.outputs[0] for node in readers if node.operator in _CONVERSIONS]
        return {name for each in reordered for name in self._named(each)}

    def _by_own_name(self, node: Node) -> set[str]:
        """Return what a node makes that is called after the tensor or node in whose place it is."""
        plain = _SUFFIX.sub("", node.name)
        source = self._by_name.get(plain)
        ends = set(source.outputs) if source is not None else {plain} & self._known
        if node.operator == "Conv" and len(node.inputs) > 1:
            # It was called so before a sum with its second input was fused into it.
            return {after for end in ends for after in self._sum_of(end)}
        return ends

    def _sum_of(self, tensor: str) -> tuple[str, ...]:
        readers = [self._source.nodes[at] for at in self._source.readers(tensor)]
        if len(readers) == 1 and readers[0].operator == "Add":
            return readers[0].outputs
        return (tensor,)

    def _is_known(self, tensor: str) -> bool:
        """Tell whether the model has a tensor, or the layer that makes it has an end."""
        if self._named(tensor):
            return True
        maker = self._own.makers.get(tensor)
        if maker is None:
            return False
        node = self._own.nodes[maker]
        if node.operator in _CONVERSIONS:
            return all(self._is_known(name) for name in node.inputs)
        return bool(self._by_own_name(node))
