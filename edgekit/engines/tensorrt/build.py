"""What a Jetson builds its engine from: the ONNX file, for int8 with its ranges written into it.

Runs inside the toolbox. An engine is bound to one module, JetPack and TensorRT, so the board
builds it (``runner.py``). For int8 the ranges that calibration saw travel as pairs of
QuantizeLinear and DequantizeLinear, which TensorRT 8 and newer take as they stand: no
calibrator on the board, and what is judged here in ONNX Runtime is what the board builds.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekit.core.contracts import BuildJob, Ranges

# Scales for each channel, as QuantizeLinear and DequantizeLinear have them, begin here.
_OPSET = 13
# The conversion between operator sets computes nothing anew.
_TOLERANCE = 1e-4
_LIMIT = 127
# Weighted operators -> axis of the output channels in their weights.
_CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}
_SMALLEST = 1e-8


def build(job: "BuildJob") -> None:
    """Write ``model.onnx``: the file in normal form, quantised explicitly for int8."""
    import onnx

    path = job.output / "model.onnx"
    if job.quantisation is None:
        path.write_bytes(job.model.read_bytes())
        return
    model = _of_opset(onnx.load(job.model))
    onnx.save(model, path)
    job.verify(_runner(job, str(path)), tolerance=_TOLERANCE)
    quantised = _Explicit(model, job.quantisation.float_layers)
    quantised.write(job.observed(model, quantised.activations))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, path)
    job.grade(_runner(job, str(path)))


def _of_opset(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Return the model in an operator set that knows scales for each channel."""
    from onnx import version_converter

    versions = [entry.version for entry in model.opset_import if not entry.domain]
    if not versions or versions[0] >= _OPSET:
        return model
    names = [node.name for node in model.graph.node]
    converted = version_converter.convert_version(model, _OPSET)
    left = {node.name for node in converted.graph.node}
    lost = [name for name in names if name not in left]
    if lost:
        raise RuntimeError(f"operator set {_OPSET} has no form of {', '.join(lost[:3])}")
    return converted


class _Explicit:
    """A model about to carry its own ranges: which tensors, and the nodes that say so."""

    def __init__(self, model: "onnx.ModelProto", float_layers: tuple[str, ...]) -> None:
        self._model = model
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer}
        unknown = set(float_layers) - {node.name for node in model.graph.node}
        if unknown:
            raise RuntimeError(f"no layer is named {', '.join(sorted(unknown))}")
        weighted = list(self._weighted())
        if not weighted:
            raise RuntimeError("no layer has constant weights: there is nothing to quantise")
        self._nodes = [node for node in weighted if node.name not in float_layers]

    def _weighted(self) -> "Iterator[onnx.NodeProto]":
        """Give the nodes that multiply with constant weights."""
        for node in self._model.graph.node:
            if node.op_type in _CHANNEL_AXIS and node.input[1] in self._weights:
                yield node

    @property
    def activations(self) -> tuple[str, ...]:
        """The tensors that those nodes take in, each once."""
        return tuple(dict.fromkeys(node.input[0] for node in self._nodes))

    def write(self, ranges: "Ranges") -> None:
        """Put a pair of nodes before every quantised tensor and every weight."""
        import onnx

        before: list[onnx.NodeProto] = []
        renamed = {}
        for name in self.activations:
            low, high = ranges.of(name)
            scale = np.asarray(max(abs(low), abs(high), _SMALLEST) / _LIMIT, np.float32)
            renamed[name] = self._pair(name, scale, None, before)
        for weight, axis in self._channels().items():
            values = onnx.numpy_helper.to_array(self._weights[weight])
            others = tuple(other for other in range(values.ndim) if other != axis % values.ndim)
            largest = np.maximum(np.abs(values).max(axis=others), _SMALLEST)
            scales = (largest / _LIMIT).astype(np.float32)
            renamed[weight] = self._pair(weight, scales, axis % values.ndim, before)
        for node in self._nodes:
            node.input[0] = renamed[node.input[0]]
            node.input[1] = renamed[node.input[1]]
        self._insert(before)

    def _channels(self) -> dict[str, int]:
        """Return each weight's axis of output channels."""
        found = {}
        for node in self._nodes:
            axis = _CHANNEL_AXIS[node.op_type]
            turned = any(entry.name == "transB" and entry.i for entry in node.attribute)
            found[node.input[1]] = 0 if turned else axis
        return found

    def _pair(
        self, name: str, scale: "NDArray[Any]", axis: int | None, nodes: "list[onnx.NodeProto]"
    ) -> str:
        import onnx

        helper = onnx.helper
        scale_name, zero_name = f"{name}::scale", f"{name}::zero"
        zero = np.zeros(scale.shape, np.int8)  # TensorRT takes no other zero point
        for each, values in ((scale_name, scale), (zero_name, zero)):
            self._model.graph.initializer.append(onnx.numpy_helper.from_array(values, each))
        inputs, quantised, back = [scale_name, zero_name], f"{name}::int8", f"{name}::float"
        pair = (
            helper.make_node("QuantizeLinear", [name, *inputs], [quantised], f"{name}::quantise"),
            helper.make_node(
                "DequantizeLinear", [quantised, *inputs], [back], f"{name}::dequantise"
            ),
        )
        if axis is not None:
            for node in pair:
                node.attribute.append(helper.make_attribute("axis", axis))
        nodes += pair
        return back

    def _insert(self, pairs: "list[onnx.NodeProto]") -> None:
        """Put each pair behind the node that makes its tensor; the others come first."""
        ordered: list[onnx.NodeProto] = []
        waiting: dict[str, list[onnx.NodeProto]] = {}
        made = {name for node in self._model.graph.node for name in node.output}
        for quantise, dequantise in zip(pairs[::2], pairs[1::2], strict=True):
            source = quantise.input[0]
            place = waiting.setdefault(source, []) if source in made else ordered
            place += (quantise, dequantise)
        for node in self._model.graph.node:
            ordered.append(node)
            for name in node.output:
                ordered += waiting.get(name, ())
        # Copies: clearing the graph's own list would empty them.
        copies = [type(node).FromString(node.SerializeToString()) for node in ordered]
        del self._model.graph.node[:]
        self._model.graph.node.extend(copies)


def _runner(job: "BuildJob", path: str) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    """Return ``infer`` over ONNX Runtime, computing exactly what stands in the file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    # No fusion to integer kernels: x86 saturates where a Jetson does not.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [spec.name for spec in job.outputs]

    def infer(inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        return dict(zip(names, session.run(names, dict(inputs)), strict=True))

    return infer
