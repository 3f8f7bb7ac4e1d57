"""A graph as the layers that engines make of it; imports onnx.

Engines fuse what follows a convolution elementwise into it. Whoever looks between them sees what
never exists on the device, or keeps the engine from fusing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import onnx

from edgekit.prepare.downstream import reads
from edgekit.prepare.sensitivity import WEIGHTED_OPERATORS

_ACTIVATIONS: Final = frozenset(
    {
        "Celu", "Clip", "Elu", "Erf", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Mish",
        "PRelu", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Tanh", "ThresholdedRelu",
    }
)  # fmt: skip
# With weights of their own for the other operands they are arithmetic of a layer's constants.
_BY_CONSTANTS: Final = frozenset({"Add", "BatchNormalization", "Div", "Mul", "Sub"})
# Between such a node and an activation behind it nobody looks either.
_JOINING: Final = frozenset({"Add", "BatchNormalization", "Mul", "Sub"})


@dataclass(frozen=True)
class LayerGroup:
    """A node and those behind it that belong to it.

    Attributes:
        nodes: in the order of the graph; the first names the layer.
        given: tensors that it reads and that are no constants.
        made: tensors of it that others read, or that the graph gives.
    """

    nodes: tuple[onnx.NodeProto, ...]
    given: tuple[str, ...]
    made: tuple[str, ...]

    @property
    def name(self) -> str:
        """Name of its first node."""
        return str(self.nodes[0].name)

    @property
    def operators(self) -> tuple[str, ...]:
        """Types of its nodes."""
        return tuple(str(node.op_type) for node in self.nodes)


def layer_groups(graph: onnx.GraphProto) -> tuple[LayerGroup, ...]:
    """Split a graph into layers; every node belongs to one at most.

    Left out is what hangs on no input, and what nobody reads.
    """
    return _Grouping(graph).groups()


def constants_of(graph: onnx.GraphProto) -> frozenset[str]:
    """Return the names of tensors that hang on no input."""
    held = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if held.issuperset(reads(node)):
            held.update(node.output)
    return frozenset(held)


class _Grouping:
    def __init__(self, graph: onnx.GraphProto) -> None:
        self._nodes: Sequence[onnx.NodeProto] = list(graph.node)
        self._constants = constants_of(graph)
        self._outputs = {value.name for value in graph.output}
        self._readers: dict[str, list[int]] = {}
        for place, node in enumerate(self._nodes):
            for name in reads(node):
                self._readers.setdefault(name, []).append(place)

    def groups(self) -> tuple[LayerGroup, ...]:
        """Begin a layer at each node that is in none yet."""
        taken: set[int] = set()
        found = []
        for place, node in enumerate(self._nodes):
            if place in taken or self._constants.issuperset(node.output):
                continue
            places = sorted(self._members(place))
            taken.update(places)
            found.append(self._group([self._nodes[each] for each in places], set(places)))
        return tuple(group for group in found if group.made)

    def _group(self, nodes: Sequence[onnx.NodeProto], places: set[int]) -> LayerGroup:
        inside = {name for node in nodes for name in node.output}
        given = dict.fromkeys(
            name
            for node in nodes
            for name in (*node.input, *sorted(reads(node)))
            if name and name not in inside and name not in self._constants
        )
        made = tuple(
            name
            for node in nodes
            for name in node.output
            if name in self._outputs or not places.issuperset(self._readers.get(name, places))
        )
        return LayerGroup(tuple(nodes), tuple(given), made)

    def _members(self, place: int) -> set[int]:
        node = self._nodes[place]
        members = {place}
        # A gate that the exporter put first: x * sigmoid(x), where x is somebody else's.
        if node.op_type in _ACTIVATIONS and len(node.output) == 1:
            members.update(self._gated(node.input[0], place))
        while len(node.output) == 1:
            behind = self._behind(members, node)
            if not behind:
                break
            members.update(behind)
            node = self._nodes[behind[-1]]
        return members

    def _behind(self, members: set[int], node: onnx.NodeProto) -> list[int]:
        """Return the nodes that are one with ``node``, in order; empty where it ends there."""
        first = self._nodes[min(members)]
        weighted = first.op_type in WEIGHTED_OPERATORS
        if not weighted and first.op_type not in _JOINING:
            return []
        tensor = node.output[0]
        if tensor in self._outputs:
            return []
        readers = self._readers.get(tensor, [])
        if len(readers) == 1:
            return readers if self._follows(readers[0], tensor, weighted=weighted) else []
        for reader in readers:
            gated = self._gated(tensor, reader)
            if gated and {reader, gated[-1]} == set(readers):
                return [reader, *gated]
        return []

    def _follows(self, place: int, tensor: str, *, weighted: bool) -> bool:
        node = self._nodes[place]
        kinds = _ACTIVATIONS | _BY_CONSTANTS if weighted else _ACTIVATIONS
        others = [name for name in node.input if name and name != tensor]
        fits = node.op_type in kinds and len(node.output) == 1
        return fits and self._constants.issuperset(others)

    def _gated(self, tensor: str, gate: int) -> list[int]:
        """Return what leads from a gate to the product with ``tensor``; empty if nothing does."""
        if not self._follows(gate, tensor, weighted=True):
            return []
        chain: list[int] = []
        node = self._nodes[gate]
        for place in self._line(node):
            following = self._nodes[place]
            chain.append(place)
            if following.op_type == "Mul" and tensor in following.input:
                return chain
            if not self._follows(place, node.output[0], weighted=True):
                return []
            node = following
        return []

    def _line(self, node: onnx.NodeProto) -> Iterator[int]:
        """Give the nodes behind ``node`` as long as each has one reader only."""
        while node.output[0] not in self._outputs:
            readers = self._readers.get(node.output[0], [])
            if len(readers) != 1:
                return
            yield readers[0]
            node = self._nodes[readers[0]]
            if len(node.output) != 1:
                return
