"""OpenVINO's layers in the names of the ONNX model, through the file that was built.

Its plug-in tells which operations of ``model.xml`` it made a layer of. Of these, some have outputs
that bear the names of tensors of the model; one that has none goes with the one that it feeds.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

from edgekit.engines.onnx_layers import Claim, OnnxGraph, Row

_LAYOUT: Final = ("Reorder", "Convert")


def claims(rows: Sequence[Row], graph: OnnxGraph, files: Mapping[str, Path]) -> tuple[Claim, ...]:
    """Find the tensors at which each layer ends."""
    operations = _Operations(files["model.xml"], graph)
    ends = {row.name: operations.ends(row.facts["parts"]) for row in rows}
    by_name = {row.name: row for row in rows}

    def is_known(layer: str) -> bool:
        # What was not computed is an input, or a constant.
        if layer not in by_name or ends[layer]:
            return True
        row = by_name[layer]
        return row.operator in _LAYOUT and all(map(is_known, row.facts["reads"]))

    return tuple(Claim(ends[row.name], all(map(is_known, row.facts["reads"]))) for row in rows)


class _Operations:
    """The operations of the file, and the tensors of the model that each goes with."""

    def __init__(self, file: Path, graph: OnnxGraph) -> None:
        # Written here, by OpenVINO itself.
        root = ET.parse(file).getroot()  # noqa: S314
        self._graph = graph
        self._numbers: dict[str, str] = {}
        self._kinds: dict[str, str] = {}
        self._outputs: dict[str, set[str]] = {}
        for layer in root.iter("layer"):
            number = layer.attrib["id"]
            self._numbers[layer.attrib["name"]] = number
            self._kinds[number] = layer.attrib["type"]
            names = [port.get("names", "") for port in layer.findall("./output/port")]
            self._outputs[number] = {name for each in names for name in each.split(",") if name}
        self._readers: dict[str, set[str]] = {}
        for edge in root.iter("edge"):
            source = edge.attrib["from-layer"]
            self._readers.setdefault(source, set()).add(edge.attrib["to-layer"])

    def ends(self, operations: Sequence[str]) -> frozenset[str]:
        """Return the tensors of the model that operations make, or else what they feed makes."""
        numbers = [self._numbers[name] for name in operations if name in self._numbers]
        named = {name for number in numbers for name in self._outputs[number]}
        if not named:
            named = {name for number in numbers for name in self._fed(number)}
        return frozenset(named & self._graph.makers.keys())

    def _fed(self, number: str) -> set[str]:
        # What NNCF puts between two operations is neither of them, and what feeds several nobody's.
        readers = self._readers.get(number, set())
        if self._kinds[number] == "FakeQuantize" or len(readers) != 1:
            return set()
        (reader,) = readers
        return self._outputs[reader] or self._fed(reader)
