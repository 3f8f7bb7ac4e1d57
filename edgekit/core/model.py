"""Tensors and models."""

from dataclasses import dataclass
from math import prod
from pathlib import Path


@dataclass(frozen=True)
class TensorSpec:
    """Name, dtype and static shape of one input or output.

    ``dtype`` is NumPy's name (``float32``, ``uint8``); ``shape`` holds positive integers.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def elements(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}[{', '.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class FileRef:
    """A file whose content is known by hash."""

    path: Path
    sha256: str
    size_bytes: int


@dataclass(frozen=True)
class StepSpec:
    """One named step of pre- or postprocessing, with its parameters as JSON text.

    ``name`` is a key of ``edgekit.onboard.steps``; the parameters stay JSON so that the value
    is frozen, hashable, and travels to the board unchanged.
    """

    name: str
    parameters_json: str = "{}"


@dataclass(frozen=True)
class Pipeline:
    """What turns a frame (``uint8[H, W, 3]``, RGB) into tensors, and tensors into answers."""

    preprocess: StepSpec
    postprocess: StepSpec


@dataclass(frozen=True)
class Model:
    """A model in edgekit's normal form.

    The ONNX file is float32, of static shape, shape-inferred; where the recipe's decoder
    allows, its head is cut at the last convolutions (``head_cut``), so that the outputs are
    raw head tensors and the decode runs in float in the postprocess step.

    Attributes:
        name: recipe name, or the stem of the user's file.
        onnx: the file in normal form.
        reference: the whole float32 graph (equal to ``onnx`` where nothing was cut).
        source_sha256: hash of the file as it was published.
        inputs: specs in graph order.
        outputs: specs in graph order.
        operators: distinct operator types of ``onnx``, sorted.
        head_cut: whether decode was moved out of the graph.
        pipeline: pre- and postprocess for ``onnx``'s own inputs and outputs.
        reference_pipeline: the same for ``reference``.
        classes: names of the classes, empty where the model has none.
    """

    name: str
    onnx: FileRef
    reference: FileRef
    source_sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: tuple[str, ...]
    head_cut: bool
    pipeline: Pipeline
    reference_pipeline: Pipeline
    classes: tuple[str, ...] = ()
