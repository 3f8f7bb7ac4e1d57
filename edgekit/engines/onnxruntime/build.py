"""ONNX Runtime takes the model as it is; half the bytes or eight bits are made of it here.

Runs inside the toolbox. The graph is not optimised offline: what ONNX Runtime would save is
made for this machine's instruction set, and the board has another.
"""

import shutil
from collections.abc import Callable, Iterator, Mapping
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import onnx

    from edgekit.core.contracts import BuildJob, Ranges

# Shares of an output's largest value. fp32 is equal by construction: what is checked is that it
# runs and gives finite values.
_TOLERANCE = {"fp32": 1e-5, "fp16": 2e-2}
# float16's largest value; a weight beyond it stays in float32.
_LARGEST_HALF = 65504.0
# What one sample's tensors may take while ranges are observed; the rest waits for another pass.
_PASS_BYTES = 256 << 20
_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def build(job: "BuildJob") -> None:
    """Write ``model.onnx``."""
    path = job.output / "model.onnx"
    if job.precision == "int8":
        _quantise(job, path)
        job.grade(_infer(job, path))
        return
    if job.precision == "fp16":
        _halve_weights(job.model, path)
    else:
        shutil.copyfile(job.model, path)
    job.verify(_infer(job, path), tolerance=_TOLERANCE[job.precision])


def _infer(job: "BuildJob", path: Path) -> Callable[[Mapping[str, Any]], Mapping[str, Any]]:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [spec.name for spec in job.outputs]
    return lambda inputs: dict(zip(names, session.run(names, dict(inputs)), strict=True))


def _halve_weights(source: Path, path: Path) -> None:
    """Store weights as float16 and cast them to float32, which is folded when it is loaded."""
    import numpy as np
    import onnx

    model = onnx.load(source)
    casts = []
    for tensor in model.graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = onnx.numpy_helper.to_array(tensor)
        # A vector's few bytes are not worth a bias's accuracy.
        if values.ndim < 2 or np.abs(values).max(initial=0.0) > _LARGEST_HALF:  # noqa: PLR2004
            continue
        name, stored = tensor.name, f"{tensor.name}/float16"
        tensor.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), stored))
        casts.append(
            onnx.helper.make_node(
                "Cast", [stored], [name], name=f"{name}/cast", to=onnx.TensorProto.FLOAT
            )
        )
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    onnx.save(model, path)


def _quantise(job: "BuildJob", path: Path) -> None:
    """Write the model with quantised tensors around its layers (QDQ)."""
    import numpy as np
    import onnx
    from onnxruntime.quantization.calibrate import CalibrationMethod, TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer
    from onnxruntime.quantization.quant_utils import QuantType
    from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry
    from onnxruntime.quantization.shape_inference import quant_pre_process

    assert job.quantisation is not None  # noqa: S101 - the worker gives one for every int8
    folded = job.scratch / "folded.onnx"
    # Shapes are static: what symbolic inference would find is there. BatchNormalization goes
    # into convolutions, which it could not once they are quantised.
    quant_pre_process(job.model, folded, skip_symbolic_shape=True)
    source, model = onnx.load(job.model), onnx.load(folded)
    excluded = _excluded(source, model, job.quantisation.float_layers)
    ranges = _observe(job, model)
    found = {}
    for name in ranges.names():
        low, high = ranges.of(name)
        found[name] = TensorData(lowest=np.float32(low), highest=np.float32(high))
    quantiser = QDQQuantizer(
        model,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType[job.settings["activations"]],
        # The method's name is kept by the quantiser and not looked at: the ranges are ours.
        tensors_range=TensorsData(CalibrationMethod.MinMax, found),
        nodes_to_quantize=[],
        nodes_to_exclude=excluded,
        op_types_to_quantize=sorted({*QDQRegistry, *QLinearOpsRegistry}),
        extra_options={},
    )
    quantiser.quantize_model()
    made = quantiser.model.model
    if not excluded:
        _check_quantised(made)
    _restore_header(made, source)
    onnx.save(made, path)


def _excluded(
    source: "onnx.ModelProto", model: "onnx.ModelProto", float_layers: tuple[str, ...]
) -> list[str]:
    """Return the nodes of the folded ``model`` that compute what ``float_layers`` compute."""
    nodes = {node.name: node for node in source.graph.node}
    missing = [name for name in float_layers if name not in nodes]
    if missing:
        raise RuntimeError(f"the model has no layer named {', '.join(missing)}")
    producers = {output: node.name for node in model.graph.node for output in node.output}
    kept = {node.name for node in model.graph.node}
    excluded: set[str] = set()
    for name in float_layers:
        # A node that swallowed another gives that one's output, or has its name.
        by_output = [producers[output] for output in nodes[name].output if output in producers]
        excluded.update(by_output or kept.intersection({name}))
        if not by_output and name not in kept:
            print(f"layer {name} was folded into constants: nothing to keep in float")  # noqa: T201 - standard output is the build's log
    return sorted(excluded)


def _observe(job: "BuildJob", model: "onnx.ModelProto") -> "Ranges":
    """Run the float model on every sample; show its tensors to the observer."""
    import onnx
    import onnxruntime

    ranges = job.ranges()
    inputs = {spec.name for spec in job.inputs if spec.dtype == "float32"}
    for sample in job.samples():
        ranges.see({name: values for name, values in sample.items() if name in inputs})
    for names in _passes(model):
        shown = onnx.ModelProto()
        shown.CopyFrom(model)
        infos = {info.name: info for info in (*model.graph.value_info, *model.graph.output)}
        del shown.graph.output[:]
        shown.graph.output.extend(infos[name] for name in names)
        session = onnxruntime.InferenceSession(
            shown.SerializeToString(), providers=["CPUExecutionProvider"]
        )
        for sample in job.samples():
            ranges.see(dict(zip(names, session.run(names, dict(sample)), strict=True)))
    return ranges


def _passes(model: "onnx.ModelProto") -> Iterator[list[str]]:
    """Give the names of the float tensors that nodes make, so many as fit one pass."""
    import onnx

    names: list[str] = []
    size = 0
    made = {output for node in model.graph.node for output in node.output}
    for info in (*model.graph.value_info, *model.graph.output):
        kind = info.type.tensor_type
        if info.name not in made or kind.elem_type != onnx.TensorProto.FLOAT:
            continue
        own = 4 * prod(side.dim_value for side in kind.shape.dim)
        if names and size + own > _PASS_BYTES:
            yield names
            names, size = [], 0
        names.append(info.name)
        size += own
    if names:
        yield names


def _check_quantised(model: "onnx.ModelProto") -> None:
    restored = {node.output[0] for node in model.graph.node if node.op_type == "DequantizeLinear"}
    layers = [node for node in model.graph.node if node.op_type in _WEIGHTED]
    if not any(restored.issuperset(node.input[:2]) for node in layers):
        raise RuntimeError("no layer of this model can be quantised")


def _restore_header(made: "onnx.ModelProto", source: "onnx.ModelProto") -> None:
    """Name only what is used: older releases refuse younger operator sets, used or not."""
    used = {node.domain for node in made.graph.node}
    kept = {entry.domain: entry.version for entry in made.opset_import if entry.domain in used}
    del made.opset_import[:]
    for domain, version in kept.items():
        made.opset_import.add(domain=domain, version=version)
    made.ir_version = source.ir_version
