"""One scale for tensors that are joined, where that costs none of them a bit.

Runs inside the toolbox, beside ``build.py``. Where scales differ, the quantiser puts an operator
between that only changes a scale: one more rounding, and one more walk through memory.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from . import build_file as file

if TYPE_CHECKING:
    from ai_edge_litert.schema_py_generated import ModelT, OperatorT, SubGraphT


Limits = dict[str, tuple[float, float]]  # by tensor: lowest and highest value

# Their results have the values of their inputs, and in int8 the same scale.
_MOVING = frozenset(
    [
        "AVERAGE_POOL_2D",
        "BROADCAST_TO",
        "GATHER",
        "GATHER_ND",
        "MAX_POOL_2D",
        "MIRROR_PAD",
        "PAD",
        "REDUCE_MIN",
        "RESHAPE",
        "RESIZE_BILINEAR",
        "RESIZE_NEAREST_NEIGHBOR",
        "SLICE",
        "SPACE_TO_DEPTH",
        "SPLIT",
        "STRIDED_SLICE",
        "TRANSPOSE",
        "UNPACK",
    ]
)
# They bring their inputs to their result's scale.
_JOINING = frozenset(["CONCATENATION", "MAXIMUM", "PACK", "PADV2", "SELECT", "SELECT_V2"])
# Their results' scale is fixed by TFLite's kernels.
_FIXED = frozenset(["LOGISTIC", "SOFTMAX", "TANH"])
# Scales further apart than this are not made one: a bit would be lost.
_ONE_BIT = 2.0


def join(model: "ModelT", limits: Limits) -> None:
    """Widen ``limits`` so that tensors which are joined have one range."""
    groups = _Groups(limits)
    fixed = {
        file.name_of(graph, int(number))
        for graph, operator in file.made(model)
        if file.kind(model, operator) in _FIXED
        for number in operator.outputs
    }
    for graph, operator in file.made(model):
        kind = file.kind(model, operator)
        if kind not in _MOVING | _JOINING:
            continue
        for one, other in _pairs(graph, operator):
            if {one, other} <= limits.keys() - fixed:
                groups.merge(one, other, far=kind in _MOVING)
    limits.update({name: groups.limits(name) for name in limits})


def _pairs(graph: "SubGraphT", operator: "OperatorT") -> Iterator[tuple[str, str]]:
    for result in operator.outputs:
        for number in operator.inputs:
            if number >= 0:
                yield file.name_of(graph, int(number)), file.name_of(graph, int(result))


class _Groups:
    """Tensors of one range."""

    def __init__(self, limits: Limits) -> None:
        self._limits = dict(limits)
        self._heads: dict[str, str] = {}

    def _head(self, name: str) -> str:
        while name in self._heads:
            name = self._heads[name]
        return name

    def limits(self, name: str) -> tuple[float, float]:
        """Return the range of a tensor's group."""
        return self._limits[self._head(name)]

    def merge(self, one: str, other: str, *, far: bool) -> None:
        """Make two groups one; unless ``far``, only if their ranges are much alike."""
        one, other = self._head(one), self._head(other)
        (low, high), (floor, top) = self._limits[one], self._limits[other]
        both = min(low, floor), max(high, top)
        near = both[1] - both[0] <= _ONE_BIT * min(high - low, top - floor)
        if one != other and (far or near):
            self._limits[other] = both
            self._heads[one] = other
