"""ncnn's layers in the names of the ONNX model, by the values that its blobs hold.

pnnx gives all new names; ``twins.json`` (``edgekit.toolbox.twins``) tells which blob is which
tensor. Blobs are called alike at every precision.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgekit.engines.onnx_layers import Claim, OnnxGraph, Row


def claims(rows: Sequence[Row], graph: OnnxGraph, files: Mapping[str, Path]) -> tuple[Claim, ...]:
    """Find the tensors at which each layer ends."""
    twins = json.loads(files["twins.json"].read_text(encoding="utf-8"))
    found = []
    for row in rows:
        ends = {end for blob in row.facts["tops"] for end in twins.get(blob, ())}
        if row.operator == "Split":
            # It gives a blob more names, and computes nothing.
            ends = set()
        known = all(twins.get(blob) for blob in row.facts["bottoms"])
        found.append(Claim(frozenset(ends & graph.makers.keys()), known))
    return tuple(found)
