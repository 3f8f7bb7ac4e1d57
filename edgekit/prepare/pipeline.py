"""A recipe's steps, completed with what only the graph knows: names, size, anchors, charset."""

import json
from dataclasses import dataclass
from typing import Final

from edgekit.core.errors import CatalogError, ModelError
from edgekit.core.model import Pipeline, StepSpec
from edgekit.core.recipe import Recipe
from edgekit.prepare.yolov5_head import Layout

# Postprocess steps that answer in frame pixels, and what places a frame on the input.
_PLACED: Final = frozenset({"yolov5", "yolov5-heads", "db"})
_SHARED: Final = ("fit", "upscale", "crop_ratio")


@dataclass(frozen=True)
class GraphFacts:
    """What the graph tells of itself.

    Attributes:
        input: name of the first input.
        size: height and width of the image input, ``None`` where there is none.
        layout: the heads where a YOLOv5 layout was recognised.
        classes: names that the file carries.
    """

    input: str
    size: tuple[int, int] | None
    layout: Layout | None
    classes: tuple[str, ...]


def complete_pipeline(recipe: Recipe, facts: GraphFacts, *, cut: bool) -> Pipeline:
    """Return the steps for the cut graph, or for the whole one.

    Raises:
        ModelError: the recipe wants images and the model takes none.
        CatalogError: the recipe names a step or a parameter that there is not.
    """
    before, after = recipe.preprocess, recipe.postprocess
    if before.name != "tensor":
        if facts.size is None:
            raise ModelError(
                f"{recipe.name}: the model takes no image, but the recipe's preprocess is "
                f"{before.name}",
                hint="give the recipe preprocess and postprocess 'tensor'",
            )
        before = _with(before, input=facts.input, size=list(facts.size))
    if after.name in _PLACED:
        # Answers go back to frame pixels the way the frame came in.
        after = _with(after, size=list(facts.size or ()), **_placement(before))
    if after.name == "ctc" and facts.classes:
        after = _with(after, **{"charset": facts.classes, **_parameters(after)})
    if cut and facts.layout is not None:
        after = StepSpec("yolov5-heads", after.parameters_json)
        after = _with(after, **head_parameters(facts.layout))
    elif after.name == "yolov5" and facts.layout is not None:
        after = _with(after, output=facts.layout.decoded)
    pipeline = Pipeline(before, after)
    _check_steps(recipe, pipeline)
    return pipeline


def head_parameters(layout: Layout) -> dict[str, object]:
    """Return the parameters of the step ``yolov5-heads`` that the graph told."""
    heads = sorted(layout.heads, key=lambda head: head.stride)
    return {
        "strides": [head.stride for head in heads],
        "anchors": [[edge for anchor in head.anchors for edge in anchor] for head in heads],
    }


def _placement(before: StepSpec) -> dict[str, object]:
    parameters = _parameters(before)
    placed: dict[str, object] = {key: parameters[key] for key in _SHARED if key in parameters}
    if before.name == "letterbox":
        placed.setdefault("fit", "letterbox")
    elif before.name == "resize":
        placed.setdefault("fit", "stretch")
    return placed


def _check_steps(recipe: Recipe, pipeline: Pipeline) -> None:
    """Make both steps once, so that a wrong parameter is told here and not on the board."""
    from edgekit.onboard.steps import POSTPROCESS, PREPROCESS

    for table, step in ((PREPROCESS, pipeline.preprocess), (POSTPROCESS, pipeline.postprocess)):
        factory = table.get(step.name)
        if factory is None:
            raise CatalogError(
                f"recipe {recipe.name}: no step is named {step.name!r}",
                hint=f"known: {', '.join(sorted(table))}",
            )
        try:
            factory(_parameters(step))
        except ValueError as error:
            raise CatalogError(
                f"recipe {recipe.name}: {error}", hint=f"mend {recipe.defined_in or 'the recipe'}"
            ) from error


def _parameters(step: StepSpec) -> dict[str, object]:
    parameters: dict[str, object] = json.loads(step.parameters_json)
    return parameters


def _with(step: StepSpec, **more: object) -> StepSpec:
    parameters = {**_parameters(step), **more}
    return StepSpec(step.name, json.dumps(parameters, sort_keys=True, separators=(",", ":")))
