"""From what the user calls a model to one in normal form."""

import sys
from pathlib import Path

from edgekit.catalog.recipes import load_recipe, recipe_for_onnx
from edgekit.core.contracts import ToolboxSpec
from edgekit.core.events import EventSink
from edgekit.core.model import FileRef, Model
from edgekit.core.recipe import Recipe


def resolve_recipe(model: str) -> Recipe:
    """Take ``model`` as a recipe's name, or as a file if it looks like one.

    What ends in ``.onnx`` or has a slash is a file; so is what has a dot and is there.

    Raises:
        UnknownNameError: no recipe has the name.
        FetchError: the file is not there.
    """
    path = Path(model).expanduser()
    if model.endswith(".onnx") or "/" in model or ("." in model and path.is_file()):
        return recipe_for_onnx(path)
    return load_recipe(model)


def prepared_model(
    recipe: Recipe, size: tuple[int, int] | None, *, cut_head: bool = True, emit: EventSink
) -> Model:
    """Fetch the recipe's model and bring it into normal form.

    Args:
        recipe: of the model.
        size: input height and width in pixels; ``None`` for the recipe's own.
        cut_head: ``False`` leaves a detector's decode in the graph.
        emit: told of the steps.

    Raises:
        FetchError: the file is not to be had, or is not the one promised.
        ModelError: it cannot be used as it is.
        ToolboxError: weights must be exported, and the environment for that cannot be made.
    """
    from edgekit.prepare.fetch import fetch_model
    from edgekit.prepare.normalise import prepare_model

    file = fetch_model(recipe.source, emit=emit)
    onnx = _as_onnx(recipe, file, emit)
    return prepare_model(recipe, onnx, size=size, cut_head=cut_head, emit=emit)


def _as_onnx(recipe: Recipe, file: FileRef, emit: EventSink) -> FileRef:
    """Export weights that are not ONNX, once, in an environment of the recipe's own."""
    from edgekit.prepare.export import cached_export, export_model
    from edgekit.toolbox.environments import environment

    if recipe.export is None:
        return file
    exported = cached_export(recipe, file)
    if exported is not None:
        return exported
    toolbox = ToolboxSpec(
        name=f"export-{recipe.name}",
        python=f"{sys.version_info.major}.{sys.version_info.minor}",
        requirements=recipe.export.requirements,
    )
    python = environment(toolbox, emit=emit).python
    return export_model(recipe, file, python=python, emit=emit)
