"""MNN's operations in the names of the ONNX model: each is called after the tensor it makes.

A ``Raster`` moves data for the operation that it is called after, such as the parts of a
``Concat`` or into another layout, and goes with it.
"""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from edgekit.engines.onnx_layers import Claim, OnnxGraph, Row

# What MNN appends: to what moves data for an operation, and to what its converter made of one.
_SUFFIX: Final = re.compile(r"(__before_tr|__matmul_converted)?(_raster_\d+)?$")


def claims(rows: Sequence[Row], graph: OnnxGraph, files: Mapping[str, Path]) -> tuple[Claim, ...]:
    """Find the tensors at which each operation ends."""
    del files
    names = [_SUFFIX.sub("", row.name) for row in rows]
    # MNN does not tell what reads what: one operation that cannot be placed may hide anywhere.
    reaches = all(name in graph.makers for name in names)
    return tuple(Claim(frozenset({name} & graph.makers.keys()), reaches) for name in names)
