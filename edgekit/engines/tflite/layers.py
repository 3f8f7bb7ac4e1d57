"""TFLite's layers in the names of the ONNX model.

XNNPACK tells of its operators what they are, in the order of the file's; some of these it fuses
into others. Both rows of operators are laid beside each other, delegate by delegate; where they do
not fit throughout, nothing of that delegate is placed. What the file's tensors are in the model,
their values tell (``edgekit.toolbox.twins``).
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.engines.onnx_layers import Claim, OnnxGraph, Row

# How XNNPACK calls a table of int8 values, by a slip of its own.
_TABLE: Final = "Invalid Unary Op"
# What XNNPACK calls an operator, and what TFLite does. Source: xnnpack/operator-type-defs.h, and
# tflite/delegates/xnnpack/xnnpack_delegate.cc
_SAME: Final[Mapping[str, tuple[str, ...]]] = {
    "Abs": ("ABS",),
    "Add": ("ADD",),
    "ApproxGELU": ("GELU",),
    "Average Pooling": ("AVERAGE_POOL_2D", "MEAN"),
    "Batch Matrix Multiply": ("BATCH_MATMUL",),
    "Ceiling": ("CEIL",),
    "Clamp": ("RELU", "RELU6", "RELU_N1_TO_1", "RELU_0_TO_1"),
    "Constant Pad": ("PAD", "PADV2"),
    "Convert": ("QUANTIZE", "DEQUANTIZE"),
    "Convolution": ("CONV_2D", "DEPTHWISE_CONV_2D"),
    "Copy": ("CONCATENATION", "RESHAPE", "SPLIT", "SLICE", "STRIDED_SLICE", "QUANTIZE"),
    "Cosine": ("COS",),
    "Deconvolution": ("TRANSPOSE_CONV",),
    "Depth To Space": ("DEPTH_TO_SPACE",),
    "Divide": ("DIV",),
    "Dynamic Fully Connected": ("FULLY_CONNECTED", "BATCH_MATMUL"),
    "ELU": ("ELU",),
    "Exp": ("EXP",),
    "Floor": ("FLOOR",),
    "Fully Connected": ("CONV_2D", "FULLY_CONNECTED", "BATCH_MATMUL"),
    "GELU": ("GELU",),
    "HardSwish": ("HARD_SWISH",),
    "LeakyReLU": ("LEAKY_RELU",),
    "Log": ("LOG",),
    "Max Pooling": ("MAX_POOL_2D",),
    "Maximum": ("MAXIMUM",),
    "Mean": ("MEAN", "AVERAGE_POOL_2D"),
    "Minimum": ("MINIMUM",),
    "Multiply": ("MUL",),
    "Negate": ("NEG",),
    "PReLU": ("PRELU",),
    "Power": ("POW",),
    "Reciprocal Square Root": ("RSQRT",),
    "Reduce Max": ("REDUCE_MAX",),
    "Reduce Min": ("REDUCE_MIN",),
    "Resize Bilinear": ("RESIZE_BILINEAR",),
    "Sigmoid": ("LOGISTIC",),
    "Sine": ("SIN",),
    "Slice": ("SLICE", "SPLIT", "STRIDED_SLICE"),
    "Softmax": ("SOFTMAX",),
    "Space To Depth": ("SPACE_TO_DEPTH",),
    "Square": ("SQUARE", "POW"),
    "Square Root": ("SQRT",),
    "Squared Difference": ("SQUARED_DIFFERENCE",),
    "Static Expand Dims": ("EXPAND_DIMS", "RESHAPE"),
    "Static Reshape": ("RESHAPE", "EXPAND_DIMS", "SQUEEZE"),
    "Subtract": ("SUB",),
    "Sum": ("SUM", "MEAN"),
    "TanH": ("TANH",),
    "Transpose": ("TRANSPOSE",),
    _TABLE: ("LOGISTIC", "TANH", "HARD_SWISH"),
}
# What XNNPACK may fuse into another operator, or need not compute at all.
_VANISHING: Final = frozenset(
    {
        "PAD",
        "RESHAPE",
        "EXPAND_DIMS",
        "SQUEEZE",
        "CONCATENATION",
        "DEQUANTIZE",
        "QUANTIZE",
        "RELU",
        "RELU6",
        "RELU_0_TO_1",
    }
)
# What XNNPACK may add: it computes nothing, and takes the place of no operator.
_MOVING: Final = frozenset(
    {
        "Constant Pad",
        "Convert",
        "Copy",
        "Fuse Dims",
        "Split Dims",
        "Static Expand Dims",
        "Static Reshape",
        "Transpose",
    }
)
_DELEGATE: Final = "DELEGATE"


@dataclass(frozen=True)
class _Operator:
    """One operator of the file; tensors by their names."""

    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


def claims(rows: Sequence[Row], graph: OnnxGraph, files: Mapping[str, Path]) -> tuple[Claim, ...]:
    """Find the tensors at which each layer ends."""
    twins = json.loads(files["twins.json"].read_text(encoding="utf-8"))
    told = json.loads(files["operators.json"].read_text(encoding="utf-8"))
    operators = [
        _Operator(item["name"], tuple(item["inputs"]), tuple(item["outputs"])) for item in told
    ]
    computed = dict(_placed(rows, operators))
    made = {name for item in operators for name in item.outputs}
    return tuple(_claim(computed.get(at, ()), twins, made, graph) for at, _row in enumerate(rows))


def _claim(
    operators: Sequence[_Operator],
    twins: Mapping[str, Sequence[str]],
    made: "set[str]",
    graph: OnnxGraph,
) -> Claim:
    if not operators:
        return Claim()
    own = {name for item in operators for name in item.outputs}
    ends = {end for name in operators[-1].outputs for end in twins.get(name, ())}
    # Constants are made by nobody.
    reads = {name for item in operators for name in item.inputs if name in made} - own
    return Claim(frozenset(ends & graph.makers.keys()), all(twins.get(name) for name in reads))


def _placed(
    rows: Sequence[Row], operators: Sequence[_Operator]
) -> Iterator[tuple[int, Sequence[_Operator]]]:
    """Give the operators of the file that a row computes, the last one last."""
    within: dict[int, list[int]] = {}
    for at, row in enumerate(rows):
        delegate, number = int(row.facts["delegate"]), int(row.facts["number"])
        if delegate >= 0:
            within.setdefault(delegate, []).append(at)
        elif number < len(operators) and operators[number].name == row.operator:
            yield at, (operators[number],)
    plain = [item for item in operators if item.name != _DELEGATE]
    delegates = [item for item in operators if item.name == _DELEGATE]
    for number, places in within.items():
        if number >= len(delegates):
            continue
        own = _replaced(plain, delegates[number])
        kinds = [rows[at].operator for at in places]
        found = _aligned(kinds, own) or _aligned(kinds, _tabled(own)) or ()
        yield from zip(places, found, strict=False)


def _replaced(operators: Sequence[_Operator], delegate: _Operator) -> list[list[_Operator]]:
    """Return what a delegate computes: all between its inputs and its outputs."""
    makers = {name: at for at, item in enumerate(operators) for name in item.outputs}
    found: set[int] = set()
    left = list(delegate.outputs)
    while left:
        name = left.pop()
        at = makers.get(name)
        if at is not None and at not in found and name not in delegate.inputs:
            found.add(at)
            left += operators[at].inputs
    return [[operators[at]] for at in sorted(found)]


def _tabled(steps: Sequence[Sequence[_Operator]]) -> list[list[_Operator]]:
    """Join ``x * sigmoid(x)``, of which XNNPACK makes one table in int8."""
    makers = {name: at for at, step in enumerate(steps) for name in step[-1].outputs}
    joined: dict[int, int] = {}
    for at, step in enumerate(steps):
        if step[-1].name != "MUL":
            continue
        for name in step[-1].inputs:
            before = makers.get(name)
            if before is not None and steps[before][-1].name == "LOGISTIC":
                joined[before] = at
    whole = {after: [*steps[before], *steps[after]] for before, after in joined.items()}
    return [whole.get(at, list(step)) for at, step in enumerate(steps) if at not in joined]


def _aligned(
    kinds: Sequence[str], steps: Sequence[Sequence[_Operator]]
) -> "list[list[_Operator]] | None":
    """Lay XNNPACK's operators beside the file's; ``None`` where they do not fit throughout."""
    found: list[list[_Operator]] = []
    at = 0
    for place, kind in enumerate(kinds):
        # One operator joins as many parts as it has to move.
        again = place and kind == "Copy" == kinds[place - 1]
        if again and found[-1] and found[-1][-1].name == "CONCATENATION":
            found.append(found[-1])
            continue
        end = _next(kind, steps, at)
        if end is not None:
            fused = [item for step in steps[at:end] for item in step]
            found.append([*_feeding(fused, steps[end]), *steps[end]])
            at = end + 1
        elif kind == "Clamp" and found and found[-1]:
            found.append(found[-1])  # the activation that is part of an operator of the file
        elif kind in _MOVING:
            found.append([])  # XNNPACK's own
        else:
            return None
    return found if all(step[-1].name in _VANISHING for step in steps[at:]) else None


def _next(kind: str, steps: Sequence[Sequence[_Operator]], at: int) -> int | None:
    """Return the place of what XNNPACK calls so, with only what may vanish before it."""
    for place in range(at, len(steps)):
        if _fits(kind, steps[place]):
            return place
        if steps[place][-1].name not in _VANISHING:
            return None
    return None


def _fits(kind: str, step: Sequence[_Operator]) -> bool:
    if len(step) > 1:
        return kind == _TABLE
    (own,) = step
    squared = own.name == "MUL" and len(set(own.inputs)) == 1
    return own.name in _SAME.get(kind, ()) or (kind == "Square" and squared)


def _feeding(fused: Sequence[_Operator], step: Sequence[_Operator]) -> list[_Operator]:
    """Return those of the operators left out that the next one reads: they are part of it."""
    reads = {name for item in step for name in item.inputs}
    return [item for item in fused if reads.intersection(item.outputs)]
