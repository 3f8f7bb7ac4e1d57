"""Reading ONNX files of any origin, and saying plainly what is wrong with those that are none."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.errors import ModelError
from edgekit.core.model import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx

_HEAD_BYTES = 64
# Operators that ONNX Runtime adds; whether another engine has them is for the engines to say.
_RUNTIME_DOMAINS = frozenset({"com.microsoft", "ai.onnx.ml"})


def load_onnx(path: Path) -> "onnx.ModelProto":
    """Read and check an ONNX file.

    Functions that the file defines are put in place of their calls.

    Raises:
        ModelError: the file is no ONNX model, is truncated, breaks ONNX's own rules, or holds an
            operator that nobody defines.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
    from onnx.inliner import inline_local_functions

    try:
        model = onnx.load(path)
    except DecodeError as error:
        raise ModelError(f"{path.name} is not a readable ONNX file", hint=_hint(path)) from error
    except (OSError, onnx.checker.ValidationError) as error:
        # onnx.load raises these where a file with the weights is missing or out of bounds.
        raise ModelError(
            f"{path.name} cannot be read: {error}",
            hint="keep the files with its external data beside the .onnx file",
        ) from error
    if not model.graph.node or not model.graph.output:
        raise ModelError(f"{path.name} is not an ONNX model: no graph in it", hint=_hint(path))
    _check(model, path)
    if model.functions:
        model = inline_local_functions(model)
    _check_operators(model, path)
    if not true_inputs(model.graph):
        raise ModelError(
            f"{path.name} takes no input: there is nothing to infer", hint="export it with inputs"
        )
    return model


def _check(model: "onnx.ModelProto", path: Path) -> None:
    import onnx

    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        text = str(error).strip()
        if re.search(r"No (Op|opset|Opset) (registered|import)", text):
            return
        first = text.splitlines()[0] if text else "invalid graph"
        raise ModelError(
            f"{path.name} breaks the rules of ONNX: {first}",
            hint="export the model again; onnx.checker.check_model must accept it",
        ) from error


def _check_operators(model: "onnx.ModelProto", path: Path) -> None:
    """Name operators that neither ONNX nor ONNX Runtime defines: no engine can have them."""
    import onnx

    unknown = sorted(
        {
            f"{node.domain}::{node.op_type}" if node.domain else node.op_type
            for graph in graphs(model.graph)
            for node in graph.node
            if node.domain not in _RUNTIME_DOMAINS
            and not onnx.defs.has(node.op_type, node.domain.removeprefix("ai.onnx"))
        }
    )
    if unknown:
        raise ModelError(
            f"{path.name} holds operators that ONNX does not define: {', '.join(unknown)}",
            hint="no engine here has them: export the model with ONNX's own operators",
        )


def _hint(path: Path) -> str:
    """Tell what the file seems to be instead, by its first bytes."""
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES)
    if head.startswith(b"version https://git-lfs"):
        return "this is a Git LFS pointer, not the file: run 'git lfs pull' where it came from"
    if head.startswith(b"PK"):
        return "this looks like PyTorch weights or a zip archive: export it to ONNX first"
    if head.lstrip()[:1] == b"<":
        return "this looks like a web page: fetch the file itself"
    if head[4:8] == b"TFL3":
        return "this is a TFLite model: edgekit starts from ONNX"
    size = path.stat().st_size
    return f"it holds {size:,} bytes; if that is less than was published, fetch it again"


def graphs(graph: "onnx.GraphProto") -> "Iterator[onnx.GraphProto]":
    """Yield a graph and every graph inside its nodes (bodies of If, Loop and Scan)."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from graphs(attribute.g)
            for inner in attribute.graphs:
                yield from graphs(inner)


def name_nodes(model: "onnx.ModelProto") -> None:
    """Give every node a name of its own, in place; names that are unique stay.

    A layer that is to stay in float is told by its name.
    """
    nodes = [node for graph in graphs(model.graph) for node in graph.node]
    taken = {node.name for node in nodes}
    seen = {""}
    for index, node in enumerate(nodes):
        name = node.name
        if name in seen:
            name = f"{node.name or node.op_type}_{index}"
            while name in taken:
                name += "_"
            node.name = name
        seen.add(name)
        taken.add(name)


def operators(model: "onnx.ModelProto") -> tuple[str, ...]:
    """Return the distinct operator types, sorted; ``domain::Type`` outside ONNX's own domain."""
    names = {
        f"{node.domain}::{node.op_type}" if node.domain not in ("", "ai.onnx") else node.op_type
        for graph in graphs(model.graph)
        for node in graph.node
    }
    return tuple(sorted(names))


def true_inputs(graph: "onnx.GraphProto") -> "tuple[onnx.ValueInfoProto, ...]":
    """Return the inputs that a caller must feed: old files list their weights there too."""
    weights = {tensor.name for tensor in graph.initializer}
    return tuple(value for value in graph.input if value.name not in weights)


def dimensions(value: "onnx.ValueInfoProto") -> tuple[int | str, ...]:
    """Return a value's dimensions: a positive integer, or the symbol (``?`` if it has none)."""
    dims = value.type.tensor_type.shape.dim
    return tuple(d.dim_value if d.dim_value > 0 else (d.dim_param or "?") for d in dims)


def is_ranked(value: "onnx.ValueInfoProto") -> bool:
    """Tell whether a value has a shape at all; a scalar has an empty one."""
    return bool(value.type.tensor_type.HasField("shape"))


def specs(
    values: "Iterator[onnx.ValueInfoProto] | tuple[onnx.ValueInfoProto, ...]",
) -> "tuple[TensorSpec, ...]":
    """Return the specs of values whose shapes are all known.

    Raises:
        ModelError: a value is no tensor, or a dimension is not known.
    """
    return tuple(_spec(value) for value in values)


def _spec(value: "onnx.ValueInfoProto") -> TensorSpec:
    import onnx

    kind = value.type.tensor_type.elem_type
    dims = dimensions(value)
    shape = tuple(dim for dim in dims if isinstance(dim, int))
    if not kind or not is_ranked(value) or len(shape) != len(dims):
        raise ModelError(
            f"{value.name} has no fixed shape: [{', '.join(map(str, dims))}]",
            hint="a size that depends on the data cannot be deployed: export the model without "
            "such a tail (for detectors: without non-maximum suppression)",
        )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(kind).name
    return TensorSpec(value.name, dtype, shape)
