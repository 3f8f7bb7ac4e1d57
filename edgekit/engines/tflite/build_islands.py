"""Which operators of a .tflite file are a layer of the ONNX model: told by their values.

Runs inside the toolbox, beside ``build.py``. onnx2tf names tensors after whoever reads them,
fuses activations and splits grouped convolutions; the numbers that flow do not change by that.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from . import build_file as file
from . import build_int8 as int8

if TYPE_CHECKING:
    import numpy as np
    from ai_edge_litert.schema_py_generated import ModelT, SubGraphT
    from numpy.typing import NDArray

    from edgekit.core.contracts import BuildJob

# Share of a tensor's largest value by which both engines may differ in it.
_TOLERANCE = 1e-3


def scopes(job: "BuildJob", model: "ModelT", found: Mapping[str, Any]) -> frozenset[str]:
    """Return the scopes of all operators that belong to ``job.quantisation.float_layers``.

    Args:
        job: its first calibration sample was inferred.
        model: the float file.
        found: what that sample made of the file's tensors.

    Raises:
        RuntimeError: the model has no such layer, or the file nothing that computes it.
    """
    layers = job.quantisation.float_layers if job.quantisation else ()
    if not layers:
        return frozenset()
    onnx_graph = _Onnx(job)
    unknown = [name for name in layers if name not in onnx_graph.nodes]
    if unknown:
        raise RuntimeError(f"the model has no layer named {', '.join(unknown)}")
    graph = model.subgraphs[0]
    twins = _Twins(onnx_graph.values, found, [file.name_of(graph, n) for n in _order(graph)])
    kept: set[str] = set()
    for layer in layers:
        ends = _ends(onnx_graph, twins, layer)
        if not ends:
            raise RuntimeError(f"no operator of the TFLite file computes layer {layer}")
        kept.update(_between(model, graph, ends, twins.known))
    return frozenset(kept)


class _Onnx:
    """The ONNX model, and what its nodes made of the first calibration sample."""

    def __init__(self, job: "BuildJob") -> None:
        import onnx
        import onnxruntime

        model = onnx.load(str(job.model))
        self.nodes = {node.name: node for node in model.graph.node}
        made = [name for node in model.graph.node for name in node.output if name]
        del model.graph.output[:]
        model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in made)
        options = onnxruntime.SessionOptions()
        # Fused layers would give other values than those of the file.
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(
            model.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        sample = dict(next(iter(job.samples())))
        self.values = sample | dict(zip(made, session.run(made, sample), strict=True))

    def readers(self, name: str) -> list[Any]:
        """Return the nodes that read a tensor."""
        return [node for node in self.nodes.values() if name in node.input]


def _ends(graph: _Onnx, twins: "_Twins", layer: str) -> list[str]:
    """Name the file's tensors that a layer makes, alone or together with the layers after it."""
    node = graph.nodes[layer]
    while True:
        ends = [twin for name in node.output if name for twin in twins.of(name)[:1]]
        after = graph.readers(node.output[0])
        if ends or len(after) != 1:
            return ends
        # Fused into what follows, as activations are.
        node = after[0]


def _order(graph: "SubGraphT") -> Iterator[int]:
    yield from map(int, graph.inputs)
    for operator in graph.operators:
        yield from map(int, operator.outputs)


def _between(
    model: "ModelT", graph: "SubGraphT", ends: Iterable[str], known: frozenset[str]
) -> set[str]:
    """Return the scopes of what computes ``ends`` from the nearest tensors that ONNX has too."""
    makers = {
        file.name_of(graph, int(number)): operator
        for operator in graph.operators
        for number in operator.outputs
    }
    scopes: set[str] = set()
    left = list(ends)
    while left:
        operator = makers.get(left.pop())
        if operator is None or int8.scope(graph, operator) in scopes:
            continue
        scopes.add(int8.scope(graph, operator))
        sources = [n for n in operator.inputs if not file.is_constant(model, graph, int(n))]
        names = [file.name_of(graph, int(number)) for number in sources]
        left += [name for name in names if name not in known]
    return scopes


class _Twins:
    """Tensors of both graphs that hold the same values, whatever the order of their axes.

    Attributes:
        known: all tensors of the file that have a twin.
    """

    def __init__(
        self, onnx: Mapping[str, Any], tflite: Mapping[str, Any], order: Iterable[str]
    ) -> None:
        import numpy as np

        self._twins: dict[str, list[str]] = {name: [] for name in onnx}
        by_size: dict[int, list[str]] = {}
        for name, value in onnx.items():
            if np.issubdtype(value.dtype, np.floating):
                by_size.setdefault(value.size, []).append(name)
        sums = {name: float(np.abs(onnx[name]).sum(dtype=np.float64)) for name in onnx}
        for twin in order:
            value = tflite.get(twin)
            if value is None:
                continue
            total = float(np.abs(value).sum(dtype=np.float64))
            for name in by_size.get(value.size, []):
                near = abs(total - sums[name]) <= _TOLERANCE * max(total, sums[name])
                if near and _same(onnx[name], value):
                    self._twins[name].append(twin)
        self.known = frozenset(twin for twins in self._twins.values() for twin in twins)

    def of(self, name: str) -> list[str]:
        """Return the file's tensors that equal one of ONNX, the first computed first."""
        return self._twins[name]


def _same(one: "NDArray[np.float32]", other: "NDArray[np.float32]") -> bool:
    import numpy as np

    limit = _TOLERANCE * max(float(np.abs(one).max(initial=0.0)), 1e-6)
    ways = (
        [other.transpose(axes) for axes in itertools.permutations(range(other.ndim))]
        if one.ndim == other.ndim
        else [other.reshape(one.shape)]
    )
    return any(
        way.shape == one.shape and np.abs(one - way).max(initial=0.0) <= limit for way in ways
    )
