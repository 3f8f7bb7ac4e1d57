"""Parameters from which MNN's converter makes an int8 model. Runs inside the toolbox.

The package's own quantiser is not used: fed tensors instead of pictures, it runs the first
sample over and over (``Calibration::_computeFeatureMapsRange`` hands on ``mInputs``, never the
``inputs`` just read). Its converter takes scales from outside instead: of each convolution's
weights, input and output.
Source: https://github.com/alibaba/MNN/blob/master/tools/quantization/calibration.cpp
Source: https://github.com/alibaba/MNN/blob/master/tools/converter/user_provide_quant_params.json
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.contracts import BuildJob, Ranges

# What MNN computes in int8: matrix products by constants are 1x1 convolutions to it.
_QUANTISED = ("Convolution", "ConvolutionDepthwise")
_PRODUCT = "__matmul_converted"
# What MNN never computes in int8, so that there is nothing to do to keep it in float.
_ALWAYS_FLOAT = "ConvTranspose"
_LEAST_SCALE = 1e-8

# Runs the model once; tells, of each operation by name, its first input and its first output.
Observe = Callable[[Mapping[str, Any], Mapping[str, tuple[str, str]]], "Mapping[str, NDArray[Any]]"]


@dataclass(frozen=True)
class Layer:
    """One convolution of MNN's graph.

    Attributes:
        name: the operation's; MNN takes it from the tensor that ONNX names as the output.
        source: tensor that it reads.
        target: tensor that it writes, after an activation that MNN merged into it.
        largest: largest magnitude among the weights of each output channel.
    """

    name: str
    source: str
    target: str
    largest: tuple[float, ...]


def read_layers(graph: Path) -> tuple[Layer, ...]:
    """Return the convolutions with constant weights of a model that MNN wrote as JSON."""
    net = json.loads(graph.read_text(encoding="utf-8"))
    names = net["tensorName"]
    return tuple(
        Layer(
            operation["name"],
            names[operation["inputIndexes"][0]],
            names[operation["outputIndexes"][0]],
            _largest(operation["main"]),
        )
        for operation in net["oplists"]
        if operation["type"] in _QUANTISED and len(operation["inputIndexes"]) == 1
    )


def _largest(convolution: Mapping[str, Any]) -> tuple[float, ...]:
    import numpy as np

    weights = np.abs(np.asarray(convolution["weight"], np.float32))
    channels = weights.reshape(convolution["common"]["outputCount"], -1)
    return tuple(float(value) for value in channels.max(axis=1, initial=0.0))


def without(layers: Sequence[Layer], names: Iterable[str], model: Path) -> tuple[Layer, ...]:
    """Leave out the layers that MNN made of some ONNX nodes.

    Raises:
        RuntimeError: there is no such node, or MNN made nothing of it that could be int8.
    """
    import onnx

    nodes = {n.name: n for n in onnx.load(str(model), load_external_data=False).graph.node}
    kept = {layer.name: layer for layer in layers}
    for name in names:
        node = nodes.get(name)
        if node is None:
            raise RuntimeError(f"the model has no layer {name} to keep in float")
        found = [layer for layer in (node.output[0], node.output[0] + _PRODUCT) if layer in kept]
        if not found and node.op_type != _ALWAYS_FLOAT:
            raise RuntimeError(
                f"{name} ({node.op_type}) is none of the layers that MNN makes int8: "
                "it follows its neighbours"
            )
        for layer in found:
            del kept[layer]
    return tuple(kept.values())


def observed(job: "BuildJob", layers: Sequence[Layer], observe: Observe) -> "Ranges":
    """Show all calibration samples to an observer of the layers' inputs and outputs.

    Raises:
        RuntimeError: there is no sample, or MNN ran without one of the layers.
    """
    wanted = {layer.name: (layer.source, layer.target) for layer in layers}
    ranges = job.ranges()
    for sample in job.samples():
        ranges.see(observe(sample, wanted))
    missing = sorted({name for pair in wanted.values() for name in pair} - {*ranges.names()})
    if missing:
        raise RuntimeError(f"calibration saw nothing of {', '.join(missing[:5])}")
    return ranges


def parameters(layers: Sequence[Layer], ranges: "Ranges") -> str:
    """Return what ``mnnconvert --compressionParamsFile`` reads."""
    entries = [
        {
            "op_name": layer.name,
            "method": 0,
            "weight": [
                {
                    "name": layer.name,
                    "bits": 8,
                    "scales": [max(value / 127, _LEAST_SCALE) for value in layer.largest],
                    "clamp_min": -127,
                    "clamp_max": 127,
                }
            ],
            "input": [_activation(layer.source, ranges)],
            "output": [_activation(layer.target, ranges)],
        }
        for layer in layers
    ]
    quantisation = {"type": 0, "quant_params": {"round_mode": 0, "layer": entries}}
    return json.dumps({"version": "0.0.0", "algo": [quantisation]})


def _activation(name: str, ranges: "Ranges") -> Mapping[str, Any]:
    low, high = ranges.of(name)
    scale = max((high - low) / 255, _LEAST_SCALE)
    zero_point = max(-128, min(127, round(-128 - low / scale)))
    return {
        "name": name,
        "bits": 8,
        "scales": [scale],
        "zero_point": zero_point,
        "clamp_min": -128,
        "clamp_max": 127,
    }
