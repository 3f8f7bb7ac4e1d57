"""Write EfficientNet-lite0 as ONNX from its published PyTorch weights, without PyTorch.

Usage: ``export.py WEIGHTS OUTPUT``, in a Python that has what ``requirements.txt`` lists.

The weights are in PyTorch's legacy file format: a state dict, pickled, then the tensors' bytes.
They are read with an unpickler that knows four names and refuses every other, so nothing in the
file is run. Batch normalisation is folded into the convolutions in float64. The output is the
same, byte by byte, wherever it is made.

Source of the architecture: https://github.com/tensorflow/tpu, models/official/efficientnet/lite.
Source of the file format: https://github.com/pytorch/pytorch, torch/serialization.py
(``_legacy_load``).
"""

import pickle
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

Weights = dict[str, npt.NDArray[Any]]

_MAGIC: Final = 0x1950A86A20F9469CFC6C
_PROTOCOL: Final = 1001
_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "FloatStorage": np.dtype("<f4"),
    "LongStorage": np.dtype("<i8"),
}
_SIZE: Final = 224
_CLASSES: Final = 1000
_EPSILON: Final = 1e-3
# (repeats, kernel, stride of the first, expansion, output channels)
_STAGES: Final = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


@dataclass(frozen=True)
class _Pending:
    """A tensor whose bytes come later in the file."""

    storage: str
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def of(self, storage: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the tensor; converted weights lie in memory as TensorFlow laid them."""
        reach = sum((n - 1) * step for n, step in zip(self.shape, self.strides, strict=True))
        if min((*self.shape, *self.strides, 1)) < 0 or self.offset + reach >= len(storage):
            raise ValueError("a tensor reaches beyond its storage")
        steps = [step * storage.itemsize for step in self.strides]
        return np.lib.stride_tricks.as_strided(storage[self.offset :], self.shape, steps)


class _StateDict(pickle.Unpickler):
    """Reads a pickled state dict; names it does not know are refused, not imported."""

    def find_class(self, module: str, name: str) -> Any:  # noqa: ANN401 - pickle's own signature
        known: dict[str, Any] = {
            "collections.OrderedDict": OrderedDict,
            "torch._utils._rebuild_tensor_v2": _rebuild,
            "torch.FloatStorage": "FloatStorage",
            "torch.LongStorage": "LongStorage",
        }
        try:
            return known[f"{module}.{name}"]
        except KeyError:
            raise pickle.UnpicklingError(f"refused: {module}.{name}") from None

    def persistent_load(self, pid: Any) -> tuple[str, str]:  # noqa: ANN401 - pickle's own signature
        _, kind, key, _location, _elements, _view = pid
        return kind, key


def _rebuild(
    storage: tuple[str, str],
    offset: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...],
    *_rest: object,
) -> _Pending:
    kind, key = storage
    return _Pending(key, _DTYPES[kind], offset, shape, strides)


def read_weights(stream: BinaryIO) -> Weights:
    """Read a state dict in PyTorch's legacy file format.

    Raises:
        ValueError: it is not that format, or ends too early.
        pickle.UnpicklingError: it names something other than tensors.
    """
    if _StateDict(stream).load() != _MAGIC or _StateDict(stream).load() != _PROTOCOL:
        raise ValueError("not a file of PyTorch's legacy format")
    _StateDict(stream).load()  # the writer's integer sizes; the dtypes here fix them
    pending: dict[str, _Pending] = _StateDict(stream).load()
    keys: list[str] = _StateDict(stream).load()
    dtypes = {entry.storage: entry.dtype for entry in pending.values()}
    storages = {}
    for key in keys:
        elements = int.from_bytes(stream.read(8), "little")
        data = stream.read(elements * dtypes[key].itemsize)
        if len(data) != elements * dtypes[key].itemsize:
            raise ValueError("the weights file ends too early")
        storages[key] = np.frombuffer(data, dtypes[key])
    return {name: entry.of(storages[entry.storage]) for name, entry in pending.items()}


class _Graph:
    """Collects nodes and initializers; each method returns the name of what it made."""

    def __init__(self, weights: Weights) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers = [
            numpy_helper.from_array(np.array(bound, np.float32), name)
            for name, bound in (("relu6.min", 0.0), ("relu6.max", 6.0))
        ]

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self.initializers.append(numpy_helper.from_array(value.astype(np.float32), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:  # noqa: ANN401 - ONNX has many kinds
        self.nodes.append(helper.make_node(kind, inputs, [output], output, **attributes))
        return output

    def convolve(self, before: str, prefix: str, norm: str, edge: int, stride: int = 1) -> str:
        """A convolution with its batch normalisation folded in, padded as TensorFlow pads."""
        kernel = self.weights[f"{prefix}.weight"].astype(np.float64)
        scale, shift, mean, variance = (
            self.weights[f"{norm}.{part}"].astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        gain = scale / np.sqrt(variance + _EPSILON)
        size = kernel.shape[-1]
        needed = max((-(-edge // stride) - 1) * stride + size - edge, 0)
        pads = [needed // 2, needed // 2, needed - needed // 2, needed - needed // 2]
        depthwise = kernel.shape[1] == 1
        return self.node(
            "Conv",
            [
                before,
                self.constant(f"{prefix}.weight", kernel * gain[:, None, None, None]),
                self.constant(f"{prefix}.bias", shift - mean * gain),
            ],
            prefix,
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=pads,
            group=kernel.shape[0] if depthwise else 1,
        )

    def relu6(self, before: str) -> str:
        return self.node("Clip", [before, "relu6.min", "relu6.max"], f"{before}.relu6")

    def block(self, before: str, prefix: str, edge: int, stride: int, *, skip: bool) -> str:
        """A mobile inverted bottleneck; the first stage has no expansion."""
        inner = before
        if f"{prefix}._expand_conv.weight" in self.weights:
            inner = self.convolve(inner, f"{prefix}._expand_conv", f"{prefix}._bn0", edge)
            inner = self.relu6(inner)
        inner = self.convolve(inner, f"{prefix}._depthwise_conv", f"{prefix}._bn1", edge, stride)
        inner = self.relu6(inner)
        edge = -(-edge // stride)
        inner = self.convolve(inner, f"{prefix}._project_conv", f"{prefix}._bn2", edge)
        return self.node("Add", [inner, before], f"{prefix}.add") if skip else inner


def build(weights: Weights) -> onnx.ModelProto:
    """Return the network: ``images float32[1, 3, 224, 224]`` to ``logits float32[1, 1000]``."""
    graph = _Graph(weights)
    edge, channels, index = _SIZE // 2, 32, 0
    tensor = graph.relu6(graph.convolve("images", "_conv_stem", "_bn0", _SIZE, 2))
    for repeats, _kernel, first_stride, _expansion, outputs in _STAGES:
        for repeat in range(repeats):
            stride = first_stride if repeat == 0 else 1
            skip = stride == 1 and channels == outputs
            tensor = graph.block(tensor, f"_blocks.{index}", edge, stride, skip=skip)
            edge, channels, index = -(-edge // stride), outputs, index + 1
    tensor = graph.relu6(graph.convolve(tensor, "_conv_head", "_bn1", edge))
    tensor = graph.node("GlobalAveragePool", [tensor], "pooled")
    tensor = graph.node("Flatten", [tensor], "features", axis=1)
    head = [graph.constant(f"_fc.{part}", weights[f"_fc.{part}"]) for part in ("weight", "bias")]
    graph.node("Gemm", [tensor, *head], "logits", transB=1)
    described = helper.make_graph(
        graph.nodes,
        "efficientnet-lite0",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, [1, 3, _SIZE, _SIZE])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, _CLASSES])],
        graph.initializers,
    )
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(
        described, opset_imports=[opset], ir_version=8, producer_name="edgekit"
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def main(weights_file: str, output: str) -> None:
    """Read the weights, write the ONNX file."""
    with Path(weights_file).open("rb") as stream:
        weights = read_weights(stream)
    Path(output).write_bytes(build(weights).SerializeToString(deterministic=True))


if __name__ == "__main__":
    if len(sys.argv) != 3:  # noqa: PLR2004 - the program and its two arguments
        sys.exit("usage: export.py WEIGHTS OUTPUT")
    main(sys.argv[1], sys.argv[2])
