"""Convolutions in 8-bit integers: quantised, laid out for dot products, and scheduled for them.

Runs inside the toolbox. TVM imports quantised files as float arithmetic on rounded numbers, which
gains nothing. Here a convolution becomes ``int32 = uint8 x int8`` (ARM: ``int8 x int8``) whose
innermost step is one instruction of the processor; what is around it stays float and is fused
into it. Activations have one scale and zero point for each tensor, weights a scale for each
output channel. All of these are arguments of the fused functions, never part of their code: one
tuning record serves every calibration.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .build_dot import CONVOLUTION, Dot, Geometry, convolution, dot_of, packed

if TYPE_CHECKING:
    import onnx
    from numpy.typing import NDArray

    from edgekit.core.contracts import BuildJob

# TVM has no types where this is checked.
IRModule = Any
Target = Any
Expression = Any
Builder = Any  # tvm.relax.BlockBuilder

_LIMIT = 127  # of a weight: symmetric
_LEVELS = 255  # of an activation: asymmetric
_SMALLEST = 1e-8
_IMAGE = 4  # axes of a batch of images


@dataclass(frozen=True)
class Scale:
    """How a float tensor becomes 0 to 255: ``round(value / step) + zero_point``."""

    step: float
    zero_point: int


def scales_of(job: "BuildJob") -> dict[str, Scale]:
    """Run the calibration samples; return the scale of what each convolution takes in, by node.

    Layers that are to stay in float have none.

    Raises:
        RuntimeError: a layer that should stay in float does not exist, there are no samples, or
            there is nothing to quantise.
    """
    import onnx

    assert job.quantisation is not None  # noqa: S101 - the worker gives one for every int8
    model = onnx.load(job.model)
    unknown = set(job.quantisation.float_layers) - {node.name for node in model.graph.node}
    if unknown:
        raise RuntimeError(f"no layer is named {', '.join(sorted(unknown))}")
    dense = [node for node in _convolutions(model) if _is_dense(node)]
    if not dense:
        raise RuntimeError("no convolution of this model can be made of dot products")
    nodes = [node for node in dense if node.name not in job.quantisation.float_layers]
    names = tuple(dict.fromkeys(node.input[0] for node in nodes))
    ranges = job.observed(model, names)
    return {node.name: _scale(*ranges.of(node.input[0])) for node in nodes}


def _scale(low: float, high: float) -> Scale:
    step = max((high - low) / _LEVELS, _SMALLEST)
    return Scale(step, int(np.clip(round(-low / step), 0, _LEVELS)))


def _convolutions(model: "onnx.ModelProto") -> "Iterator[onnx.NodeProto]":
    """Give the convolutions of images whose weights are constants, in the file's order."""
    weights = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        held = weights.get(node.input[1]) if node.op_type == "Conv" else None
        if held is not None and len(held.dims) == _IMAGE:
            yield node


def _is_dense(node: "onnx.NodeProto") -> bool:
    """Tell whether each output sees all channels: in groups, dot products would be of zeros."""
    return not any(entry.name == "group" and entry.i != 1 for entry in node.attribute)


def unit_scales(model: "onnx.ModelProto") -> dict[str, Scale]:
    """Return some scale for every convolution that can be quantised."""
    return {node.name: Scale(1.0, 0) for node in _convolutions(model) if _is_dense(node)}


def quantise(
    module: IRModule, model: "onnx.ModelProto", target: Target, scales: Mapping[str, Scale]
) -> IRModule:
    """Make integer arithmetic of a module's convolutions.

    Args:
        module: Relax, laid out, not fused.
        model: the file that it was imported from.
        target: what the code is for.
        scales: of each convolution to be made so, by its node's name; none of them grouped.

    Raises:
        RuntimeError: the module's convolutions are not the file's.
    """
    from tvm import relax

    nodes, dot = list(_convolutions(model)), dot_of(target)

    @relax.expr_functor.mutator
    class Quantiser(relax.PyExprMutator):  # type: ignore[misc] # TVM has no types
        """Replaces one call after the other, in the file's order."""

        def __init__(self) -> None:
            super().__init__(module)
            self.held: dict[tuple[Any, Scale], Expression] = {}
            self.passed = 0

        def visit_call_(self, call: Expression) -> Expression:
            call = self.visit_expr_post_order(call)
            if not _is_convolution(call):
                return call
            node = _same(nodes, self.passed, model, call)
            self.passed += 1
            scale = scales.get(node.name)
            if scale is None:
                return call
            key = (call.args[0], scale)
            if key not in self.held:
                self.held[key] = _rounded(self.builder_, call, scale, dot)
            return _integer(self.builder_, call, self.held[key], scale, dot)

    quantiser = Quantiser()
    for variable, function in module.functions_items():
        if isinstance(function, relax.Function):
            quantiser.builder_.update_func(variable, quantiser.visit_expr(function))
    if quantiser.passed != len(nodes):
        raise RuntimeError(f"TVM imported {quantiser.passed} of {len(nodes)} convolutions")
    return quantiser.builder_.finalize()


def _is_convolution(call: Expression) -> bool:
    from tvm import ir

    return call.op == ir.Op.get("relax.nn.conv2d") and hasattr(call.args[1], "value")


def _same(
    nodes: "Sequence[onnx.NodeProto]", number: int, model: "onnx.ModelProto", call: Expression
) -> "onnx.NodeProto":
    """Return the file's node that a call was imported from: the order is the file's."""
    import onnx

    if number < len(nodes):
        name = nodes[number].input[1]
        (held,) = (tensor for tensor in model.graph.initializer if tensor.name == name)
        if np.array_equal(onnx.numpy_helper.to_array(held), _oihw(call)):
            return nodes[number]
    raise RuntimeError(f"TVM's convolution {number} is not the file's")


def _oihw(call: Expression) -> "NDArray[Any]":
    weights: NDArray[Any] = call.args[1].value.numpy()
    return weights.transpose(3, 2, 0, 1) if call.attrs.kernel_layout == "HWIO" else weights


def _rounded(builder: Builder, call: Expression, scale: Scale, dot: Dot) -> Expression:
    """Return what a convolution takes in as integers, channels last."""
    from tvm import relax

    # To the nearest, by cutting off: rounding itself is slow on some processors.
    factor = np.asarray([1 / scale.step], np.float32)
    half_up = np.asarray([scale.zero_point + 0.5], np.float32)
    found = builder.emit(relax.op.multiply(call.args[0], relax.const(factor)))
    found = builder.emit(relax.op.add(found, relax.const(half_up)))
    found = builder.emit(relax.op.clip(found, 0, _LEVELS))
    if dot.shift:
        found = builder.emit(relax.op.astype(found, "int32"))
        found = builder.emit(relax.op.subtract(found, relax.const(dot.shift, "int32")))
    found = builder.emit(relax.op.astype(found, dot.dtype))
    if call.attrs.data_layout == "NCHW":
        found = builder.emit(relax.op.permute_dims(found, [0, 2, 3, 1]))
    return found


def _integer(
    builder: Builder, call: Expression, data: Expression, scale: Scale, dot: Dot
) -> Expression:
    """Return the convolution of integers, its result in float again."""
    from tvm import relax

    weights = _oihw(call)
    largest = np.maximum(np.abs(weights).max(axis=(1, 2, 3)), _SMALLEST)
    steps = (largest / _LIMIT).astype(np.float32)
    whole = np.rint(weights / steps[:, None, None, None]).astype(np.int8)
    zero = scale.zero_point - dot.shift
    factors = steps * np.float32(scale.step)
    # What the zero point adds to each sum is known beforehand.
    excess = whole.astype(np.int64).sum(axis=(1, 2, 3)) * zero * factors.astype(np.float64)
    geometry = Geometry.of(call.attrs, whole.shape)
    sums = builder.emit_te(
        lambda *tensors: convolution(*tensors, geometry=geometry, dot=dot),
        data,
        relax.const(packed(whole, dot)),
        relax.const(np.asarray([zero], dot.dtype)),
        primfunc_name_hint=CONVOLUTION,
    )
    found = builder.emit(relax.op.astype(sums, "float32"))
    found = builder.emit(relax.op.multiply(found, relax.const(factors)))
    found = builder.emit(relax.op.subtract(found, relax.const(excess.astype(np.float32))))
    if call.attrs.data_layout == "NCHW":
        found = builder.emit(relax.op.permute_dims(found, [0, 3, 1, 2]))
    return found
