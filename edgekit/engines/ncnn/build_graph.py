"""ncnn's two files as one graph: its layers, and which bytes of the second file are whose.

Runs inside the toolbox. The second file says nowhere where one layer's weights end: only the
layers' own code knows. So each layer is loaded alone, and what it asks for is written down.

Source: https://github.com/Tencent/ncnn/wiki/param-and-model-file-structure
"""

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import ncnn

_MAGIC: Final = "7767517"


@dataclass
class Layer:
    """One layer.

    Attributes:
        kind: such as ``Convolution``.
        inputs, outputs: names of blobs.
        parameters: by number, as the file writes them.
        weights: the pieces of the second file that the layer reads, in its order.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: dict[str, str]
    weights: list[bytes] = field(default_factory=list)

    def number(self, parameter: int, default: int) -> int:
        """Return a parameter that is a whole number."""
        return int(self.parameters.get(str(parameter), default))


@dataclass
class Graph:
    """A model of ncnn's."""

    layers: list[Layer]

    def source(self, blob: str) -> str:
        """Return what ``blob`` is a copy of: pnnx gives each reader a copy of its own."""
        copies = {
            name: layer.inputs[0]
            for layer in self.layers
            if layer.kind == "Split"
            for name in layer.outputs
        }
        while blob in copies:
            blob = copies[blob]
        return blob

    def write(self, param: Path, weights: Path) -> None:
        """Write the two files."""
        blobs = sum(len(layer.outputs) for layer in self.layers)
        lines = [_MAGIC, f"{len(self.layers)} {blobs}", *map(_line, self.layers)]
        param.write_text("\n".join(lines) + "\n", encoding="utf-8")
        weights.write_bytes(b"".join(piece for layer in self.layers for piece in layer.weights))


def read_graph(param: Path, weights: Path) -> Graph:
    """Read the two files.

    Raises:
        RuntimeError: the second file is longer or shorter than the layers of the first need.
    """
    lines = param.read_text(encoding="utf-8").splitlines()[2:]
    layers = [_layer(line) for line in lines if line.strip()]
    reader = _Reader(weights.read_bytes())
    for layer in layers:
        reader.pieces = layer.weights
        net = ncnn.Net()
        # Nothing is computed with it: the weights need no other form.
        net.opt.use_winograd_convolution = net.opt.use_sgemm_convolution = False
        if net.load_param_mem(_alone(layer)) != 0 or net.load_model(reader) != 0:
            raise RuntimeError(f"ncnn cannot load layer {layer.name} ({layer.kind}) by itself")
    if reader.left:
        raise RuntimeError(f"{reader.left} bytes of {weights.name} belong to no layer")
    return Graph(layers)


class _Reader(ncnn.DataReader):  # type: ignore[misc] # ncnn has no types
    """Gives bytes as they are asked for, and keeps them in ``pieces``."""

    def __init__(self, data: bytes) -> None:
        super().__init__()
        self._data = memoryview(data)
        self.pieces: list[bytes] = []

    @property
    def left(self) -> int:
        """How many bytes nobody has read."""
        return len(self._data)

    def read(self, buffer: Any, size: int) -> int:  # noqa: ANN401 - a bare address
        """Fill ``size`` bytes at ``buffer``; tell how many there were."""
        piece, self._data = bytes(self._data[:size]), self._data[size:]
        ctypes.memmove(_address(buffer), piece, len(piece))
        self.pieces.append(piece)
        return len(piece)


def _address(capsule: Any) -> int:  # noqa: ANN401 - PyCapsule has no public type
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    return int(pointer(capsule, None))


def _layer(line: str) -> Layer:
    kind, name, inputs, outputs, *rest = line.split()
    first, second = int(inputs), int(inputs) + int(outputs)
    parameters = dict(item.split("=", 1) for item in rest[second:])
    return Layer(kind, name, tuple(rest[:first]), tuple(rest[first:second]), parameters)


def _line(layer: Layer) -> str:
    counts = f"{len(layer.inputs)} {len(layer.outputs)}"
    parameters = (f"{number}={value}" for number, value in layer.parameters.items())
    blobs = (*layer.inputs, *layer.outputs)
    return " ".join((f"{layer.kind:<24} {layer.name:<24} {counts}", *blobs, *parameters))


def _alone(layer: Layer) -> str:
    """Return a graph of this layer and the inputs that it needs."""
    inputs = tuple(f"i{number}" for number in range(len(layer.inputs)))
    outputs = tuple(f"o{number}" for number in range(len(layer.outputs)))
    lone = Layer(layer.kind, layer.name, inputs, outputs, layer.parameters)
    feeds = [_line(Layer("Input", name, (), (name,), {})) for name in inputs]
    head = [_MAGIC, f"{len(feeds) + 1} {len(inputs) + len(outputs)}"]
    return "\n".join([*head, *feeds, _line(lone)]) + "\n"
