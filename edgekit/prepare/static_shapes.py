"""Shapes that are known before the model runs: the form that every engine can take."""

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.errors import ModelError
from edgekit.prepare.onnx_file import dimensions, graphs, is_ranked, true_inputs
from edgekit.prepare.session import Reference, fold_constants

if TYPE_CHECKING:
    import onnx

_IMAGE_RANK = 4
_CHANNELS = (1, 3, 4)


def image_axes(value: "onnx.ValueInfoProto") -> tuple[int, int] | None:
    """Return the axes of height and width if an input takes images, else ``None``."""
    dims = dimensions(value)
    if len(dims) != _IMAGE_RANK:
        return None
    if dims[3] in _CHANNELS and dims[1] not in _CHANNELS:
        return 1, 2
    return 2, 3


def image_size(model: "onnx.ModelProto") -> tuple[int, int] | None:
    """Return height and width of the first image input whose size is fixed."""
    for value in true_inputs(model.graph):
        axes = image_axes(value)
        if axes is None:
            continue
        dims = dimensions(value)
        height, width = dims[axes[0]], dims[axes[1]]
        if isinstance(height, int) and isinstance(width, int):
            return height, width
    return None


def fix_shapes(model: "onnx.ModelProto", size: tuple[int, int] | None) -> None:
    """Give every input a static shape, in place; images take ``size`` where it is given.

    A batch that is open becomes one. Shapes noted further down the graph are dropped, since
    they may be of another size; :func:`infer` finds them anew.

    Raises:
        ModelError: a dimension is open and nothing says what it shall be, or ``size`` was
            given to a model that takes no image.
    """
    inputs = true_inputs(model.graph)
    if size is not None and not any(image_axes(value) for value in inputs):
        listed = "; ".join(_describe(value) for value in inputs)
        raise ModelError(
            f"the model takes no image, so an input size means nothing to it: {listed}",
            hint="leave out --size",
        )
    for value in inputs:
        _fix_input(value, size)
    for graph in graphs(model.graph):
        del graph.value_info[:]
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")


def _fix_input(value: "onnx.ValueInfoProto", size: tuple[int, int] | None) -> None:
    before = _describe(value)
    dims = list(dimensions(value))
    axes = image_axes(value)
    if dims and not isinstance(dims[0], int):
        dims[0] = 1
    if axes is not None and size is not None:
        dims[axes[0]], dims[axes[1]] = size
    still_open = {axis for axis, dim in enumerate(dims) if isinstance(dim, str)}
    if still_open and still_open <= set(axes or ()):
        raise ModelError(
            f"input {before} has a dynamic shape and no size was given",
            hint="give the input size: --size N (or --size HEIGHTxWIDTH)",
        )
    if still_open:
        raise ModelError(
            f"input {before} has a dynamic shape",
            hint="--size settles height and width of images only: export the model with static "
            "shapes",
        )
    shape = value.type.tensor_type.shape
    del shape.dim[:]
    for dim in dims:
        shape.dim.add().dim_value = int(dim)


def _describe(value: "onnx.ValueInfoProto") -> str:
    return f"{value.name} [{', '.join(map(str, dimensions(value)))}]"


def infer(model: "onnx.ModelProto") -> "onnx.ModelProto":
    """Find the shape of every value.

    Raises:
        ModelError: two parts of the graph contradict each other at this input size.
    """
    import onnx

    try:
        return onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except onnx.shape_inference.InferenceError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise ModelError(
            f"the graph contradicts itself at this input size: {lines[-1] if lines else error}",
            hint="its size may be baked in: try another --size, or export the model at the size "
            "wanted",
        ) from error


def complete_outputs(model: "onnx.ModelProto") -> None:
    """Take from ONNX Runtime the output shapes that ONNX cannot infer, in place.

    These are outputs behind the operators that ONNX Runtime adds.
    """
    import onnx

    open_outputs = [
        value
        for value in model.graph.output
        if not is_ranked(value) or any(isinstance(dim, str) for dim in dimensions(value))
    ]
    if not open_outputs:
        return
    known = Reference(model, "the model").output_shapes
    for value in open_outputs:
        shape = known[value.name]
        if all(isinstance(dim, int) and dim > 0 for dim in shape):
            kind = value.type.tensor_type.elem_type
            value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, shape))


def simplify(model: "onnx.ModelProto", scratch: Path) -> "onnx.ModelProto":
    """Fold constants where ONNX Runtime can and the result is still standard ONNX."""
    import onnx

    folded = fold_constants(model, scratch)
    if folded is None or not _is_standard(folded):
        return model
    used = {node.domain for graph in graphs(folded.graph) for node in graph.node}
    kept = [entry for entry in folded.opset_import if entry.domain == "" or entry.domain in used]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    folded.ir_version = model.ir_version
    del folded.metadata_props[:]
    folded.metadata_props.extend(model.metadata_props)
    try:
        onnx.checker.check_model(folded)
    except onnx.checker.ValidationError:
        return model
    return folded


def _is_standard(model: "onnx.ModelProto") -> bool:
    return all(
        node.domain in ("", "ai.onnx") for graph in graphs(model.graph) for node in graph.node
    )
