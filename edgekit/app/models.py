"""From what the user calls a model to one in normal form."""

from pathlib import Path

from edgekit.catalog.recipes import load_recipe, recipe_for_onnx
from edgekit.core.events import EventSink
from edgekit.core.model import Model
from edgekit.core.recipe import Recipe


def resolve_recipe(model: str) -> Recipe:
    """Take ``model`` as a recipe's name, or, if it ends in ``.onnx`` or has a slash, as a file.

    Raises:
        UnknownNameError: no recipe has the name.
        FetchError: the file is not there.
    """
    if model.endswith(".onnx") or "/" in model:
        return recipe_for_onnx(Path(model).expanduser())
    return load_recipe(model)


def prepared_model(recipe: Recipe, size: tuple[int, int] | None, *, emit: EventSink) -> Model:
    """Fetch the recipe's model and bring it into normal form.

    Raises:
        FetchError: the file is not to be had, or is not the one promised.
        ModelError: it cannot be used as it is.
    """
    from edgekit.prepare.fetch import fetch_model
    from edgekit.prepare.normalise import prepare_model

    file = fetch_model(recipe.source, emit=emit)
    return prepare_model(recipe, file, size=size, emit=emit)
