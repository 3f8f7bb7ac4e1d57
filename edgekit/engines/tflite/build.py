"""ONNX to TFLite through onnx2tf, then run once with LiteRT and compared with ONNX Runtime.

Runs inside the toolbox. onnx2tf writes the file itself (``flatbuffer_direct``): TensorFlow is
not there. Inputs keep the model's layout, one transposition stands in the graph; outputs may
come out with channels last, which ``tensors.json`` records.

onnx2tf's own float16 file computes in float16 only, which few CPUs can. Here fp16 means:
weights stored in half, tensors between layers float32, and a note in the file by which XNNPACK
may compute in half where the CPU has the instructions.
"""

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from ai_edge_litert.interpreter import Interpreter
    from ai_edge_litert.schema_py_generated import ModelT, OperatorT, SubGraphT
    from numpy.typing import NDArray

    from edgekit.core.contracts import BuildJob
    from edgekit.core.model import TensorSpec

# Shares of an output's largest value. fp16 holds 11 bits; deep nets add up a few of them.
_TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2}
# Layers whose weights are worth halving, and all of whose kernels take them back as float32.
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")
# Source: tensorflow/lite/tools/optimize/reduced_precision_support.h
_HALF_ALLOWED = (b"reduced_precision_support", b"fp16accfp16")
_SEED = 20261121


def build(job: "BuildJob") -> None:
    """Write ``model.tflite`` and ``tensors.json``."""
    model = job.output / "model.tflite"
    model.write_bytes(_finish(_convert(job), half=job.precision == "fp16"))
    net = _Net(job, model)
    tensors = {"inputs": net.inputs, "outputs": net.outputs}
    text = json.dumps(tensors, sort_keys=True)
    (job.output / "tensors.json").write_text(text, encoding="utf-8")
    job.verify(net.infer, tolerance=_TOLERANCE[job.precision])


def _convert(job: "BuildJob") -> bytes:
    import onnx2tf

    folder = job.scratch / "tflite"
    try:
        onnx2tf.convert(
            input_onnx_file_path=str(_with_plain_names(job)),
            output_folder_path=str(folder),
            keep_shape_absolutely_input_names=_plain("input", job.inputs),
            # The model has been simplified already.
            not_use_onnxsim=True,
            non_verbose=True,
        )
    except SystemExit as error:  # how onnx2tf ends on what it cannot do
        raise RuntimeError("onnx2tf cannot convert this graph; its log has the operator") from error
    made = list(folder.glob("*_float32.tflite"))
    if len(made) != 1:
        raise RuntimeError("onnx2tf ended without an error and left no float32 model")
    return made[0].read_bytes()


def _plain(kind: str, specs: "tuple[TensorSpec, ...]") -> list[str]:
    return [f"{kind}_{number}" for number in range(len(specs))]


def _with_plain_names(job: "BuildJob") -> Path:
    """Write the model with inputs and outputs called ``input_0``, ``output_0`` and so on.

    onnx2tf rewrites names such as ``x:0``, and would then change the layout of an input that it
    was told to keep.
    """
    import onnx

    model = onnx.load(str(job.model))
    names = dict(zip((s.name for s in job.inputs), _plain("input", job.inputs), strict=True))
    names |= zip((s.name for s in job.outputs), _plain("output", job.outputs), strict=True)
    for value in (*model.graph.input, *model.graph.output):
        value.name = names.get(value.name, value.name)
    _rename(model.graph.node, names)
    path = job.scratch / "plain.onnx"
    onnx.save(model, str(path))
    return path


def _rename(nodes: Iterable[Any], names: Mapping[str, str]) -> None:
    for node in nodes:
        for place, name in enumerate(node.input):
            node.input[place] = names.get(name, name)
        for place, name in enumerate(node.output):
            node.output[place] = names.get(name, name)
        for attribute in node.attribute:
            # A branch or a loop's body may read the whole graph's tensors.
            _rename(attribute.g.node, names)


def _finish(data: bytes, *, half: bool) -> bytes:
    """Make the file hold, and allow, the precision that was asked for."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data, 0))
    # onnx2tf allows half even in its float32 file: fp32 would mean what the board makes of it.
    notes = model.metadata or []
    model.metadata = [note for note in notes if bytes(note.name) != _HALF_ALLOWED[0]]
    if half:
        _halve(model)
        _allow_half(model)
    _drop_unused(model)
    builder = flatbuffers.Builder(len(data))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _halve(model: "ModelT") -> None:
    """Store weights in half, each behind an operator that makes them float32 again."""
    from ai_edge_litert import schema_py_generated as schema

    kinds = {getattr(schema.BuiltinOperator, name) for name in _WEIGHTED}
    widen = _operator_code(model)
    for graph in model.subgraphs:
        widened: dict[int, int] = {}
        for operator in graph.operators:
            code = model.operatorCodes[operator.opcodeIndex]
            if max(code.builtinCode, code.deprecatedBuiltinCode) not in kinds:
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
    used.update(note.buffer for note in model.metadata)
    for number, buffer in enumerate(model.buffers):
        if number not in used:
            buffer.data = None


class _Net:
    """The built model under LiteRT on the host.

    Attributes:
        inputs: the model's names, each with its place among the file's inputs.
        outputs: likewise, with the axes that bring the file's layout to the model's.
    """

    def __init__(self, job: "BuildJob", model: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        self._net = Interpreter(model_path=str(model), num_threads=1)
        _allocate(self._net)
        self._given = self._net.get_input_details()
        self._made = self._net.get_output_details()
        self.inputs = _places(job.inputs, _plain("input", job.inputs), self._given)
        self.outputs = _places(job.outputs, _plain("output", job.outputs), self._made)
        self._choose_axes(job)

    def _choose_axes(self, job: "BuildJob") -> None:
        """Of the layouts that shapes allow, take the one whose values are right."""
        import numpy as np

        inputs = _seeded(job.inputs)
        # Only values tell their shapes for certain: TFLite knows some no earlier.
        values = self._run(inputs)
        ways = [
            _ways(values[item["place"]].shape, spec)
            for item, spec in zip(self.outputs, job.outputs, strict=True)
        ]
        plain = all(len(found) == 1 for found in ways)
        expected = [None] * len(ways) if plain else _reference(job, inputs)
        for item, found, wanted in zip(self.outputs, ways, expected, strict=True):
            value = values[item["place"]]
            item["axes"] = found[0]
            if len(found) > 1:
                far = [np.abs(value.transpose(axes) - wanted).max() for axes in found]
                item["axes"] = found[int(np.argmin(far))]

    def _run(self, inputs: Mapping[str, Any]) -> list[Any]:
        for item in self.inputs:
            detail = self._given[item["place"]]
            value = inputs[item["name"]].astype(detail["dtype"], copy=False)
            self._net.set_tensor(detail["index"], value)
        self._net.invoke()
        return [self._net.get_tensor(detail["index"]) for detail in self._made]

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Infer once."""
        values = self._run(inputs)
        return {
            item["name"]: values[item["place"]].transpose(item["axes"]) for item in self.outputs
        }


def _allocate(net: "Interpreter") -> None:
    try:
        net.allocate_tensors()
    except RuntimeError as error:
        # onnx2tf passes on what it has no counterpart for under names such as ONNX_ATTENTION.
        foreign = sorted(set(re.findall(r"\(ONNX_(\w+)\)", str(error))))
        if not foreign:
            raise
        raise RuntimeError(f"TFLite has no operator for {', '.join(foreign)}") from error


def _places(
    specs: "tuple[TensorSpec, ...]", plain: list[str], details: list[Any]
) -> list[dict[str, Any]]:
    """Find the model's tensors in the file: by name, or where names were changed by order."""
    if len(specs) != len(details):
        raise RuntimeError(f"onnx2tf made {len(details)} tensors of the model's {len(specs)}")
    names = [detail["name"] for detail in details]
    by_name = set(plain) == set(names)
    return [
        {"name": spec.name, "place": names.index(name) if by_name else order}
        for order, (spec, name) in enumerate(zip(specs, plain, strict=True))
    ]


def _ways(found: tuple[int, ...], spec: "TensorSpec") -> list[list[int]]:
    """Return the transpositions that turn one shape into the model's, the likely ones first."""
    rank = len(found)
    axes = list(range(rank))
    usual = [axes, [0, rank - 1, *axes[1:-1]], [0, *axes[2:], 1]] if rank > 1 else [axes]
    ways: list[list[int]] = []
    for way in itertools.chain(usual, map(list, itertools.permutations(axes))):
        if tuple(found[axis] for axis in way) == spec.shape and way not in ways:
            ways.append(way)
    if not ways:
        raise RuntimeError(f"onnx2tf gave output {spec.name} the shape {found}, not {spec.shape}")
    return ways


def _seeded(specs: "tuple[TensorSpec, ...]") -> dict[str, Any]:
    import numpy as np

    random = np.random.default_rng(_SEED)
    return {
        spec.name: random.random(spec.shape, np.float32)
        if spec.dtype == "float32"
        else np.zeros(spec.shape, spec.dtype)
        for spec in specs
    }


def _reference(job: "BuildJob", inputs: Mapping[str, Any]) -> list[Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(job.model), providers=["CPUExecutionProvider"])
    values: list[Any] = session.run([spec.name for spec in job.outputs], dict(inputs))
    return values
