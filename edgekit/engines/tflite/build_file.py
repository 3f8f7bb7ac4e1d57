"""The .tflite file as an object, and back: what is edited in it lives here.

Runs inside the toolbox, beside ``build.py``.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from ai_edge_litert.schema_py_generated import ModelT, OperatorT, SubGraphT
    from numpy.typing import NDArray

# Layers whose weights are worth halving, and all of whose kernels take them back as float32.
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
# Source: tensorflow/lite/tools/optimize/reduced_precision_support.h
_HALF_ALLOWED = (b"reduced_precision_support", b"fp16accfp16")
# Source: tensorflow/lite/schema/schema.fbs, Buffer.data: force_align.
_ALIGNMENT = 16


def read(data: bytes) -> "ModelT":
    """Read a file, wherever in it the tensors' values are kept."""
    from ai_edge_litert.tools import flatbuffer_utils

    model: ModelT = flatbuffer_utils.read_model_from_bytearray(data)
    return model


def write(model: "ModelT") -> bytes:
    """Write a file in the first form of the format, which every runtime reads."""
    import flatbuffers
    import numpy as np

    class Aligned(flatbuffers.Builder):  # type: ignore[misc] # flatbuffers carries no types
        """Places byte vectors as the schema asks, which the Python library does not."""

        def StartVector(self, elemSize: int, numElems: int, alignment: int) -> Any:  # noqa: ANN401, N802, N803 - flatbuffers' own
            wide = elemSize == 1 and numElems >= _ALIGNMENT
            return super().StartVector(elemSize, numElems, _ALIGNMENT if wide else alignment)

    _drop_unused(model)
    for buffer in model.buffers:
        if buffer.data is not None:
            buffer.data = np.frombuffer(bytes(buffer.data), np.uint8)
    builder = Aligned(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def kind(model: "ModelT", operator: "OperatorT") -> str:
    """Return an operator's name, such as ``CONV_2D``."""
    return _KINDS.name(model.operatorCodes[operator.opcodeIndex])


class _Kinds:
    """Names of TFLite's operators, read from the schema once."""

    def __init__(self) -> None:
        self._names: dict[int, str] = {}

    def name(self, code: Any) -> str:  # noqa: ANN401 - an OperatorCodeT
        from ai_edge_litert import schema_py_generated as schema

        if not self._names:
            codes = vars(schema.BuiltinOperator)
            self._names = {value: name for name, value in codes.items() if isinstance(value, int)}
        # Old files have the code in a byte of its own.
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        own = code.customCode
        return own.decode() if own else self._names.get(number, f"operator {number}")


_KINDS = _Kinds()


def made(model: "ModelT") -> Iterator[tuple["SubGraphT", "OperatorT"]]:
    """Give every operator with its graph, in the order of execution."""
    for graph in model.subgraphs:
        for operator in graph.operators:
            yield graph, operator


def is_constant(model: "ModelT", graph: "SubGraphT", number: int) -> bool:
    """Tell whether a tensor's values stand in the file; so does an input that is left out."""
    if number < 0:
        return True
    stored = model.buffers[graph.tensors[number].buffer].data
    return stored is not None and len(stored) > 0


def name_of(graph: "SubGraphT", number: int) -> str:
    """Return a tensor's name."""
    return bytes(graph.tensors[number].name).decode()


def forbid_half(model: "ModelT") -> None:
    """Take back onnx2tf's leave to compute in half: fp32 would mean what the board makes of it."""
    notes = model.metadata or []
    model.metadata = [note for note in notes if bytes(note.name) != _HALF_ALLOWED[0]]


def halve(model: "ModelT") -> None:
    """Store weights in half, each behind an operator that makes them float32 again."""
    from ai_edge_litert import schema_py_generated as schema

    widen = _operator_code(model)
    for graph in model.subgraphs:
        widened: dict[int, int] = {}
        for operator in graph.operators:
            if kind(model, operator) not in _WEIGHTED:
                continue
            operator.inputs = [int(number) for number in operator.inputs]
            for place, number in enumerate(operator.inputs):
                if number not in widened:
                    halves = _halves(model, graph, number)
                    if halves is None:
                        continue
                    widened[number] = _widened(model, graph, number, halves)
                operator.inputs[place] = widened[number]
        # Before everything else: each reads constants only.
        graph.operators[:0] = [_widening(widen, *pair) for pair in widened.items()]
        for number in widened:
            graph.tensors[number].type = schema.TensorType.FLOAT16
    _allow_half(model)


def _operator_code(model: "ModelT") -> int:
    from ai_edge_litert import schema_py_generated as schema

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.DEQUANTIZE
    code.version = 3  # the first that reads half
    model.operatorCodes.append(code)
    return len(model.operatorCodes) - 1


def _halves(model: "ModelT", graph: "SubGraphT", number: int) -> "NDArray[np.float16] | None":
    """Return a constant float32 tensor's values in half; ``None`` for what is or fits no such."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    if number < 0:  # an input that is left out
        return None
    tensor = graph.tensors[number]
    stored = model.buffers[tensor.buffer].data
    if stored is None or len(stored) == 0 or tensor.type != schema.TensorType.FLOAT32:
        return None
    with np.errstate(over="ignore"):
        halves = np.frombuffer(bytes(stored), np.float32).astype(np.float16)
    return halves if np.isfinite(halves).all() else None


def _widened(
    model: "ModelT", graph: "SubGraphT", number: int, halves: "NDArray[np.float16]"
) -> int:
    """Store a tensor's values in half; return the new float32 tensor that stands for it."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    tensor = graph.tensors[number]
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(halves.tobytes(), np.uint8)
    model.buffers.append(buffer)
    tensor.buffer = len(model.buffers) - 1
    twin = schema.TensorT()
    twin.name = bytes(tensor.name) + b"/float32"
    twin.shape, twin.type, twin.buffer = tensor.shape, schema.TensorType.FLOAT32, 0
    graph.tensors.append(twin)
    return len(graph.tensors) - 1


def _widening(code: int, source: int, result: int) -> "OperatorT":
    from ai_edge_litert import schema_py_generated as schema

    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, [source], [result]
    operator.builtinOptionsType = schema.BuiltinOptions.DequantizeOptions
    operator.builtinOptions = schema.DequantizeOptionsT()
    return operator


def _allow_half(model: "ModelT") -> None:
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    buffer, note = schema.BufferT(), schema.MetadataT()
    note.name, text = _HALF_ALLOWED
    buffer.data = np.frombuffer(text, np.uint8)
    model.buffers.append(buffer)
    note.buffer = len(model.buffers) - 1
    model.metadata.append(note)


def _drop_unused(model: "ModelT") -> None:
    """Empty the buffers that nothing refers to any more."""
    used = {tensor.buffer for graph in model.subgraphs for tensor in graph.tensors}
    used.update(note.buffer for note in model.metadata or [])
    for number, buffer in enumerate(model.buffers):
        if number not in used:
            buffer.data = None
