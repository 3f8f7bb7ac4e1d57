"""Any ONNX file to edgekit's normal form, once per file, size and pipeline."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.catalog.cache import KeyedCache, cache_root
from edgekit.core.events import EventSink, StepFinished, StepStarted
from edgekit.core.model import FileRef, Model
from edgekit.core.recipe import Recipe
from edgekit.prepare.model_json import read_model

if TYPE_CHECKING:
    from edgekit.prepare.rewrite import Size

# Counts up with every change that makes other files or another pipeline of the same source.
PREPARE_VERSION: Final = 2
STEP: Final = "prepare"


def prepare_model(
    recipe: Recipe,
    file: FileRef,
    *,
    size: "Size | None",
    cut_head: bool = True,
    emit: EventSink,
) -> Model:
    """Return the model in normal form: float32, static shapes, head cut where that is proven.

    The result is cached; an unchanged call imports neither onnx nor ONNX Runtime nor NumPy.

    Args:
        recipe: names the pipeline and the default input size.
        file: the published ONNX file.
        size: height and width of the input in pixels; ``None`` takes the recipe's, and where
            it has none, the file's own.
        cut_head: ``False`` keeps the whole graph even where its head could be cut.
        emit: told of the step.

    Raises:
        ModelError: the file is no ONNX model or is truncated, a shape is dynamic and no size
            is given, or the model cannot be had at this size.
    """
    wanted = size or recipe.size
    cache = KeyedCache(cache_root() / "models")
    key = _key(recipe, file, wanted, cut_head=cut_head)
    emit(StepStarted(STEP, f"Prepare {recipe.name}"))
    held = cache.get(key)
    model = read_model(held) if held is not None else None
    if model is not None:
        emit(StepFinished(STEP, "cached"))
        return model
    if held is not None:
        cache.discard(key)  # damaged: something outside edgekit took a file away

    def fill(folder: Path) -> None:
        from edgekit.prepare.rewrite import write_normal_form

        write_normal_form(recipe, file, wanted, folder, emit, cut_head=cut_head)

    try:
        folder = cache.build(key, fill, emit=emit, subject=f"the model {recipe.name}")
    except BaseException:
        emit(StepFinished(STEP, "failed", ok=False))
        raise
    model = read_model(folder)
    if model is None:
        raise OSError(f"what was just written to {folder} cannot be read back")
    emit(StepFinished(STEP, _summary(model)))
    return model


def _key(recipe: Recipe, file: FileRef, size: "Size | None", *, cut_head: bool) -> str:
    """Name everything that the result depends on."""
    return json.dumps(
        {
            "version": PREPARE_VERSION,
            "source": file.sha256,
            "name": recipe.name,
            "task": recipe.task,
            "size": size,
            "cut_head": cut_head,
            "preprocess": [recipe.preprocess.name, recipe.preprocess.parameters_json],
            "postprocess": [recipe.postprocess.name, recipe.postprocess.parameters_json],
            "classes": recipe.classes,
        },
        sort_keys=True,
    )


def _summary(model: Model) -> str:
    cut = f", head cut at {len(model.outputs)} outputs" if model.head_cut else ""
    return f"{model.onnx.size_bytes / 1e6:.1f} MB float32{cut}"
