"""TVM's calls in the names of the ONNX model, by the values of what they make.

A call is of a fused function, which writes one tensor; ``twins.json`` (``edgekit.toolbox.twins``)
tells which of the model's that is. At other precisions than fp32 its values are others, and most
calls cannot be placed. The calls of the virtual machine's own (``vm.builtin``) are no node.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.engines.onnx_layers import Claim, OnnxGraph, Row


def claims(rows: Sequence[Row], graph: OnnxGraph, files: Mapping[str, Path]) -> tuple[Claim, ...]:
    """Find the tensors at which each call ends."""
    twins = json.loads(files["twins.json"].read_text(encoding="utf-8"))
    found = []
    for row in rows:
        ends = frozenset(twins.get(row.name, ())) & graph.makers.keys()
        found.append(Claim(ends, all(twins.get(name) for name in row.facts["reads"])))
    return tuple(found)
