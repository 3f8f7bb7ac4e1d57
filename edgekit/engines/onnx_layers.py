"""From an engine's layers to the nodes of the ONNX model that they compute.

What all engines share: each engine's own ``layers.py`` says at which tensors of the ONNX graph its
layers end (:class:`Claim`); which nodes lie behind these is found here, and nothing is guessed:
a node goes to a layer if all that reads its results does.
"""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgekit.engines import engine_names


@dataclass(frozen=True)
class Row:
    """One layer as the engine told it on the device (``edgekit.onboard.profiling``).

    Attributes:
        facts: what the runner told besides, for its mapper.
    """

    name: str
    operator: str
    unit: str
    time_ns: int
    kernel: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Claim:
    """Which tensors of the ONNX graph a layer makes.

    Attributes:
        ends: their names; none where the layer makes no tensor that ONNX knows.
        reaches: whether it may compute more than the nodes that make them: everything that it
            reads is known, so that no other layer can hide on the way.
    """

    ends: frozenset[str] = frozenset()
    reaches: bool = True


@dataclass(frozen=True)
class Group:
    """Rows that compute some nodes together; most often one row."""

    rows: tuple[int, ...]
    nodes: tuple[str, ...]


class Mapper(Protocol):
    """What an engine's ``layers.py`` offers as ``claims``."""

    def __call__(
        self, rows: Sequence[Row], graph: "OnnxGraph", files: Mapping[str, Path]
    ) -> Sequence[Claim]:
        """Return one claim for each row; ``files`` are the bundle's and the runner's by name."""


def load_mapper(engine: str) -> Mapper | None:
    """Return an engine's mapper; ``None`` where its runner tells nothing of layers."""
    own = Path(__file__).parent / engine / "layers.py"
    if engine not in engine_names() or not own.is_file():
        return None
    mapper: Mapper = importlib.import_module(f"edgekit.engines.{engine}.layers").claims
    return mapper


@dataclass(frozen=True)
class Node:
    """One node of the ONNX graph; its inputs without what is constant."""

    name: str
    operator: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


class OnnxGraph:
    """The nodes of an ONNX file in their order, without what is computed from constants alone.

    Attributes:
        nodes: in the file's order, which is one in which they can be computed.
        makers: the place of the node that makes a tensor.
    """

    def __init__(self, file: Path) -> None:
        import onnx

        graph = onnx.load(str(file), load_external_data=False).graph
        constants = {tensor.name for tensor in graph.initializer}
        nodes = []
        for node in graph.node:
            inputs = tuple(name for name in node.input if name and name not in constants)
            outputs = tuple(name for name in node.output if name)
            if inputs:
                nodes.append(Node(node.name, node.op_type, inputs, outputs))
            else:
                constants.update(outputs)
        self.nodes = tuple(nodes)
        self.outputs = frozenset(value.name for value in graph.output)
        self.constants = frozenset(constants)
        self.makers = {name: at for at, node in enumerate(nodes) for name in node.outputs}
        self._readers: dict[str, list[int]] = {}
        for at, node in enumerate(nodes):
            for name in node.inputs:
                self._readers.setdefault(name, []).append(at)

    def readers(self, name: str) -> tuple[int, ...]:
        """Return the places of the nodes that read a tensor."""
        return tuple(self._readers.get(name, ()))

    def grouped(self, claims: Sequence[Claim]) -> tuple[Group, ...]:
        """Give every node to one layer at most; layers that end in one node are one group."""
        heads = list(range(len(claims)))

        def head(row: int) -> int:
            while heads[row] != row:
                row = heads[row]
            return row

        owners: dict[int, int] = {}
        for row, claim in enumerate(claims):
            for end in claim.ends:
                at = self.makers.get(end)
                if at is not None and at in owners:
                    first, second = sorted((head(owners[at]), head(row)))
                    heads[second] = first
                elif at is not None:
                    owners[at] = row
        self._reach_back(owners, claims)
        groups: dict[int, list[int]] = {}
        for row in range(len(claims)):
            groups.setdefault(head(row), []).append(row)
        nodes: dict[int, list[str]] = {}
        for at in sorted(owners):
            nodes.setdefault(head(owners[at]), []).append(self.nodes[at].name)
        return tuple(Group(tuple(rows), tuple(nodes.get(at, ()))) for at, rows in groups.items())

    def _reach_back(self, owners: dict[int, int], claims: Sequence[Claim]) -> None:
        for at in reversed(range(len(self.nodes))):
            node = self.nodes[at]
            if at in owners or self.outputs.intersection(node.outputs):
                continue
            after = {owners.get(reader) for name in node.outputs for reader in self.readers(name)}
            if len(after) == 1 and (row := after.pop()) is not None and claims[row].reaches:
                owners[at] = row
