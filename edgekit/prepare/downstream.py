"""What a graph makes of one of its tensors: only the nodes behind it, fed with recorded values.

A change in one layer shows behind it alone. Running that part with all other values as they were
recorded is as right as running the whole graph, and for most layers much less work.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgekit.prepare.onnx_file import graphs
from edgekit.prepare.session import Reference

Array = NDArray[Any]
Tensors = Mapping[str, Array]


class Recording:
    """Every tensor of a graph, for each sample, on disk: together they are larger than memory.

    Args:
        graph: shape-inferred, of static shapes.
        folder: empty; the caller removes it.
        what: the graph's name, for messages.
    """

    def __init__(self, graph: onnx.ModelProto, folder: Path, what: str) -> None:
        self.graph = graph
        self.what = what
        self._folder = folder
        self._places: dict[str, int] = {}
        self._reads = [reads(node) for node in graph.graph.node]
        tapped = onnx.ModelProto()
        tapped.CopyFrom(graph)
        outputs = {value.name for value in graph.graph.output}
        for node in graph.graph.node:
            for name in node.output:
                if name and name not in outputs:
                    tapped.graph.output.append(helper.make_empty_tensor_value_info(name))
        self._session = Reference(tapped, what)
        self.count = 0

    def record(self, sample: Tensors) -> Tensors:
        """Run the graph on one sample; keep and return every tensor of it."""
        values = {**sample, **self._session.run(sample)}
        for name, value in values.items():
            place = self._places.setdefault(name, len(self._places))
            np.save(self._folder / f"{self.count}-{place}.npy", value)
        self.count += 1
        return values

    def value(self, sample: int, name: str) -> Array:
        """Return one tensor of one sample."""
        place = self._places[name]
        loaded: Array = np.load(self._folder / f"{sample}-{place}.npy", allow_pickle=False)
        return loaded

    def behind(self, name: str) -> list[onnx.NodeProto]:
        """Return the nodes that depend on a tensor, in the order of the graph."""
        reached = {name}
        found = []
        for node, read in zip(self.graph.graph.node, self._reads, strict=True):
            if not reached.isdisjoint(read):
                found.append(node)
                reached.update(node.output)
        return found


class Run:
    """Some nodes of a recorded graph, run with some tensors changed.

    Args:
        recording: of the graph.
        nodes: in its order.
        changed: other values for some tensors, weights among them, for each sample.
    """

    def __init__(
        self,
        recording: Recording,
        nodes: Sequence[onnx.NodeProto],
        changed: Mapping[str, Sequence[Array]],
    ) -> None:
        self._recording = recording
        self._changed = changed
        graph = recording.graph.graph
        weights = {tensor.name: tensor for tensor in graph.initializer}
        made = {name for node in nodes for name in node.output}
        read = dict.fromkeys(name for node in nodes for name in reads(node))
        kept = {name: weights[name] for name in read if name in weights and name not in changed}
        self._fed = [name for name in read if name not in made and name not in kept]
        wanted = {value.name for value in graph.output} & made
        if not wanted:
            wanted = set(nodes[-1].output)
        part = helper.make_graph(
            list(nodes),
            "part",
            [self._described(name) for name in self._fed],
            [helper.make_empty_tensor_value_info(name) for name in sorted(wanted)],
            list(kept.values()),
        )
        model = helper.make_model(
            part, opset_imports=recording.graph.opset_import, ir_version=recording.graph.ir_version
        )
        self._session = Reference(model, f"a part of {recording.what}")

    def _described(self, name: str) -> onnx.ValueInfoProto:
        value = self._value(0, name)
        kind = helper.np_dtype_to_tensor_dtype(value.dtype)
        return helper.make_tensor_value_info(name, kind, value.shape)

    def _value(self, sample: int, name: str) -> Array:
        if name in self._changed:
            return self._changed[name][sample]
        return self._recording.value(sample, name)

    def outputs(self) -> Iterator[Tensors]:
        """Give what the nodes make of each sample."""
        for sample in range(self._recording.count):
            yield self._session.run({name: self._value(sample, name) for name in self._fed})


def reads(node: onnx.NodeProto) -> set[str]:
    """Return the names that a node reads; the bodies of If and Loop read from outside too."""
    names = {name for name in node.input if name}
    inner = [graph for each in node.attribute if each.HasField("g") for graph in graphs(each.g)]
    inner += [graph for each in node.attribute for one in each.graphs for graph in graphs(one)]
    inside = {name for graph in inner for one in graph.node for name in one.output}
    inside |= {value.name for graph in inner for value in (*graph.input, *graph.initializer)}
    body = {name for graph in inner for one in graph.node for name in one.input if name}
    return names | (body - inside)
