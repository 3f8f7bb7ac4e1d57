"""The graph work behind :mod:`edgekit.prepare.normalise`; imports onnx and ONNX Runtime."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import onnx

from edgekit.core.errors import ModelError
from edgekit.core.events import EventSink, Note
from edgekit.core.model import FileRef, Model
from edgekit.core.recipe import Recipe
from edgekit.prepare.answers import match
from edgekit.prepare.class_names import class_names
from edgekit.prepare.float32 import make_float32
from edgekit.prepare.model_json import write_model
from edgekit.prepare.onnx_file import load_onnx, name_nodes, operators, specs, true_inputs
from edgekit.prepare.pipeline import GraphFacts, complete_pipeline, head_parameters
from edgekit.prepare.session import Reference, seeded_inputs
from edgekit.prepare.static_shapes import complete_outputs, fix_shapes, image_size, infer, simplify
from edgekit.prepare.yolov5_head import Head, Layout, LayoutError, cut, find_layout, tail_between
from edgekit.prepare.yolov5_tail import with_decode

Size = tuple[int, int]

# Squeeze, Unsqueeze and the reductions took their present form with opset 13; converters for
# engines read that form most surely.
_OLDEST_OPSET: Final = 13
_EQUAL: Final = 1e-4  # relative to the largest box or score; float32 noise is about 1e-6
_BOX_COLUMNS: Final = 4
_PROOF_DETECTIONS: Final = 100


@dataclass(frozen=True)
class NormalForm:
    """What became of a graph.

    Attributes:
        model: the graph for the engines.
        reference: the whole float32 graph at the same input size.
        layout: the heads that ``model`` ends in, ``None`` where it is the whole graph.
        size: height and width of the image input, ``None`` where there is none.
        classes: names that the file itself carries.
    """

    model: onnx.ModelProto
    reference: onnx.ModelProto
    layout: Layout | None
    size: Size | None
    classes: tuple[str, ...]


def normal_form(
    recipe: Recipe, path: Path, size: Size | None, scratch: Path, emit: EventSink
) -> NormalForm:
    """Bring the graph in ``path`` to normal form at the input size ``size``.

    Args:
        recipe: tells whether a detector's head may be cut.
        path: the published file.
        size: height and width in pixels; ``None`` keeps the file's own.
        scratch: folder for temporary files.
        emit: told where a head was not recognised.

    Raises:
        ModelError: the file is no model, or the model cannot be had at this size.
    """
    published = load_onnx(path)
    make_float32(published)
    published = _modern(published, emit)
    _tidy(published)
    name_nodes(published)  # ONNX Runtime refuses names that stand twice
    classes = class_names({entry.key: entry.value for entry in published.metadata_props})
    if recipe.postprocess.name == "yolov5":
        try:
            return _detector(published, size, scratch, classes)
        except LayoutError as why:
            emit(Note(f"{path.name}: the head is left in the graph: {why}"))
    whole = _finished(_sized(published, size), scratch)
    outputs = specs(tuple(whole.graph.output))
    produced = Reference(whole, path.name).run(seeded_inputs(specs(true_inputs(whole.graph))))
    for spec in outputs:
        if produced[spec.name].shape != spec.shape:
            raise ModelError(
                f"output {spec} comes out as {list(produced[spec.name].shape)}",
                hint="a size that depends on the data cannot be deployed",
            )
    return NormalForm(whole, whole, None, image_size(whole), classes)


def _detector(
    published: onnx.ModelProto, size: Size | None, scratch: Path, classes: tuple[str, ...]
) -> NormalForm:
    """Cut a YOLOv5 detector, at the file's own size first: only there is it known to be right."""
    own = image_size(published) or size
    wanted = size or own
    whole = _sized(published, own)
    layout = find_layout(whole)
    if own is None or wanted is None:
        raise LayoutError("no image input")
    if wanted[0] % layout.stride or wanted[1] % layout.stride:
        near = tuple(max(layout.stride, round(n / layout.stride) * layout.stride) for n in wanted)
        raise ModelError(
            f"input size {wanted[0]}x{wanted[1]} is no multiple of the model's stride "
            f"{layout.stride}",
            hint=f"take --size {near[0]}" if near[0] == near[1] else f"take {near[0]}x{near[1]}",
        )
    trunk = cut(published, layout)
    _prove_graph(whole, infer(with_decode(_sized(trunk, own), layout, own)))
    _prove_step(whole, layout, own)
    model = _sized(trunk, wanted)
    reference = whole if wanted == own else infer(with_decode(model, layout, wanted))
    named, layout = _name_heads(model, layout)
    return NormalForm(
        _finished(named, scratch), _finished(reference, scratch), layout, wanted, classes
    )


def _prove_graph(original: onnx.ModelProto, rebuilt: onnx.ModelProto) -> None:
    """Hold the cut graph with our nodes against the original; boxes and scores apart."""
    inputs = seeded_inputs(specs(true_inputs(original.graph)))
    name = rebuilt.graph.output[0].name
    expected = Reference(original, "the published graph").run(inputs)[name]
    found = Reference(rebuilt, "the cut graph").run(inputs)[name]
    for columns in (slice(0, _BOX_COLUMNS), slice(_BOX_COLUMNS, None)):
        want = np.asarray(expected[..., columns], np.float64)
        difference = np.abs(want - np.asarray(found[..., columns], np.float64)).max()
        if not difference <= _EQUAL * np.abs(want).max():
            raise LayoutError(f"the decode differs from the graph's own by {difference:.3g}")


def _prove_step(original: onnx.ModelProto, layout: Layout, size: Size) -> None:
    """Hold the decode that runs on the board against the original's tail, on random heads.

    Random heads have sure detections all over the frame; a random image has none.
    """
    from edgekit.onboard.steps import POSTPROCESS

    names = [head.output for head in layout.heads]
    tail = tail_between(original, names, layout.decoded)
    random = np.random.default_rng(0)
    heads: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]] = {
        spec.name: random.standard_normal(spec.shape, np.float32)
        for spec in specs(tuple(tail.graph.input))
    }
    decoded = Reference(tail, "the tail of the detector").run(heads)
    # An IoU of one suppresses nothing: this is about the decode alone.
    rules = {"size": list(size), "iou_threshold": 1.0, "max_detections": _PROOF_DETECTIONS}
    expected = POSTPROCESS["yolov5"](rules)(decoded, size)
    found = POSTPROCESS["yolov5-heads"]({**rules, **head_parameters(layout)})(heads, size)
    pairs = match(expected, found).pairs
    if not expected or len(pairs) != len(expected) or len(found) != len(expected):
        raise LayoutError(f"the decode on the board finds {len(pairs)} of {len(expected)} boxes")
    for want, got in pairs:
        edges = max(abs(a - b) for a, b in zip(want[:4], got[:4], strict=True))
        if edges > _EQUAL * max(size) or abs(want[4] - got[4]) > _EQUAL:
            raise LayoutError(f"the decode on the board differs: {got} for {want}")


def _sized(model: onnx.ModelProto, size: Size | None) -> onnx.ModelProto:
    sized = onnx.ModelProto()
    sized.CopyFrom(model)
    fix_shapes(sized, size)
    return infer(sized)


def _finished(model: onnx.ModelProto, scratch: Path) -> onnx.ModelProto:
    """Fold constants, infer all shapes anew, and drop weights that nothing reads."""
    done = simplify(model, scratch)
    del done.graph.value_info[:]
    done = infer(done)
    complete_outputs(done)
    name_nodes(done)
    return done


def _name_heads(model: onnx.ModelProto, layout: Layout) -> tuple[onnx.ModelProto, Layout]:
    """Give the heads names that every engine takes: published ones hold slashes and dots."""
    names = {head.output: f"head{head.stride}" for head in layout.heads}
    taken = {name for node in model.graph.node for name in (*node.input, *node.output)}
    if len(set(names.values())) != len(names) or taken & set(names.values()):
        names = {old: f"edgekit_head_{index}" for index, old in enumerate(names)}
    renamed = onnx.ModelProto()
    renamed.CopyFrom(model)
    for node in renamed.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = names.get(name, name)
        for index, name in enumerate(node.output):
            node.output[index] = names.get(name, name)
    for value in (*renamed.graph.output, *renamed.graph.value_info):
        value.name = names.get(value.name, value.name)
    heads = tuple(
        Head(names[head.output], head.stride, head.anchors, head.height, head.width)
        for head in layout.heads
    )
    return renamed, Layout(heads, layout.classes, layout.decoded)


def _modern(model: onnx.ModelProto, emit: EventSink) -> onnx.ModelProto:
    """Lift graphs of an old opset to one that the engines' converters know well."""
    version = next((entry.version for entry in model.opset_import if entry.domain == ""), None)
    if version is None or version >= _OLDEST_OPSET:
        return model
    try:
        lifted = onnx.version_converter.convert_version(model, _OLDEST_OPSET)
    except (RuntimeError, ValueError) as error:
        emit(Note(f"the model stays at opset {version}: {str(error).splitlines()[0]}"))
        return model
    del lifted.metadata_props[:]
    lifted.metadata_props.extend(model.metadata_props)
    return lifted


def _tidy(model: onnx.ModelProto) -> None:
    """Drop what differs from exporter to exporter and means nothing to an engine."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    del model.graph.input[:]
    model.graph.input.extend(inputs)
    model.doc_string = ""
    model.graph.doc_string = ""
    for node in model.graph.node:
        node.doc_string = ""
    # The oldest IR that can carry these opsets: runtimes of old boards refuse newer ones.
    oldest = onnx.helper.find_min_ir_version_for(list(model.opset_import), ignore_unknown=True)
    model.ir_version = max(oldest, _IR_WITHOUT_LISTED_WEIGHTS)


# Since IR 4 weights need not be listed among the inputs. Source: onnx/docs/IR.md.
_IR_WITHOUT_LISTED_WEIGHTS: Final = 4


def write_normal_form(
    recipe: Recipe,
    file: FileRef,
    size: Size | None,
    folder: Path,
    emit: EventSink,
    *,
    cut_head: bool = True,
) -> None:
    """Write model, reference and ``model.json`` into ``folder``.

    Raises:
        ModelError: as :func:`normal_form`.
    """
    form = normal_form(recipe, file.path, size, folder, emit)
    is_cut = cut_head and form.layout is not None
    if not is_cut:
        form = replace(form, model=form.reference)
    onnx_file = _save(form.model, folder / "model.onnx")
    reference = _save(form.reference, folder / "whole.onnx") if is_cut else onnx_file
    classes = recipe.classes or form.classes
    if form.layout is not None and classes and len(classes) != form.layout.classes:
        emit(
            Note(
                f"{recipe.name} tells {form.layout.classes} classes apart, but {len(classes)} "
                "are named",
                warning=True,
            )
        )
    inputs = specs(true_inputs(form.model.graph))
    facts = GraphFacts(inputs[0].name, form.size, form.layout, form.classes)
    model = Model(
        name=recipe.name,
        onnx=onnx_file,
        reference=reference,
        source_sha256=file.sha256,
        inputs=inputs,
        outputs=specs(tuple(form.model.graph.output)),
        operators=operators(form.model),
        head_cut=is_cut,
        pipeline=complete_pipeline(recipe, facts, cut=is_cut),
        reference_pipeline=complete_pipeline(recipe, facts, cut=False),
        classes=classes,
    )
    write_model(model, folder)


def _save(model: onnx.ModelProto, path: Path) -> FileRef:
    data = model.SerializeToString(deterministic=True)
    path.write_bytes(data)
    return FileRef(path, hashlib.sha256(data).hexdigest(), len(data))
