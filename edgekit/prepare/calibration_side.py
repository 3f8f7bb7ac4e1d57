"""The calibration frames as a set on which settings are chosen, apart from the evaluation's."""

from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, StepFinished, StepStarted, ignore
from edgekit.core.model import Model
from edgekit.core.recipe import Calibration, Evaluation, Recipe
from edgekit.prepare.answers import answer_kind
from edgekit.prepare.evaluation import EvaluationSet, Wanted, load_set, with_truth
from edgekit.prepare.labels import ObjectLabel
from edgekit.prepare.scoring import reference_answers

STEP: Final = "calibration-side"
_LISTED: Final = 8


def load_calibration_side(
    recipe: Recipe,
    model: Model,
    *,
    evaluation: EvaluationSet | None,
    images: Path | None = None,
    emit: EventSink = ignore,
) -> EvaluationSet | None:
    """Return the calibration frames as a set to choose settings on, never to tell accuracy.

    Their labels are the recipe's. Where there are none the float reference stands for the truth:
    its detections above the recipe's own threshold serve as labels (``coco-map``); classes and
    text are scored by agreement.

    Args:
        recipe: names the calibration frames.
        model: is run on them where they have no labels.
        evaluation: what must not share a frame with them.
        images: the user's own folder of calibration images, which has no labels.
        emit: told of the step.

    Returns:
        ``None`` where there are no calibration frames, or the answers are bare tensors.

    Raises:
        UsageError: there is no readable image, labels do not fit, or an image is one of the
            evaluation's too.
        ModelError: the reference cannot be run.
    """
    kind = answer_kind(model.pipeline.postprocess)
    own = Calibration("images") if images is not None else None
    calibration = recipe.calibration or own
    if calibration is None or kind == "none":
        return None
    rules = _rules(calibration, recipe.evaluation)
    emit(StepStarted(STEP, "Load the calibration side"))
    try:
        side = load_set(recipe, model, Wanted(rules, kind, images, None, rules.seed), emit)
        if evaluation is not None:
            names = zip((frame.sha256 for frame in side.frames), side.names, strict=True)
            check_disjoint(dict(names), evaluation)
    except BaseException:
        emit(StepFinished(STEP, "failed", ok=False))
        raise
    emit(StepFinished(STEP, f"{len(side.frames)} images, {side.labels_from}"))
    if side.truth is None and rules.metric == "coco-map":
        return _labelled_by_reference(side, model, rules, emit)
    return side


def check_disjoint(
    calibration: Mapping[str, str] | Iterable[str], evaluation: EvaluationSet
) -> None:
    """Refuse frames that the evaluation has too, by content.

    Args:
        calibration: hashes of the calibration's frames, with their names where these are known.
        evaluation: the other side.

    Raises:
        UsageError: they share frames; the message names the files.
    """
    known = calibration if isinstance(calibration, Mapping) else {}
    held = dict(zip((frame.sha256 for frame in evaluation.frames), evaluation.names, strict=True))
    both = sorted(held.keys() & set(calibration), key=held.__getitem__)
    shared = [
        held[frame]
        if known.get(frame) in {None, held[frame]}
        else f"{known[frame]} = {held[frame]}"
        for frame in both
    ]
    if shared:
        listed = ", ".join(shared[:_LISTED]) + (", ..." if len(shared) > _LISTED else "")
        raise UsageError(
            f"{len(shared)} calibration images are evaluation images too: {listed}",
            hint="settings chosen on the images that they are judged by look better than they "
            "are: give other images to one of the two",
        )


def _rules(calibration: Calibration, evaluation: Evaluation | None) -> Evaluation:
    """Score as the evaluation does, on the calibration's frames."""
    metric = evaluation.metric if evaluation else "agreement"
    return Evaluation(
        metric=metric,
        kind=calibration.kind,
        path=calibration.path,
        count=calibration.count,
        seed=calibration.seed,
        labels=calibration.labels,
        postprocess_json=evaluation.postprocess_json if evaluation else "{}",
    )


def _labelled_by_reference(
    side: EvaluationSet, model: Model, rules: Evaluation, emit: EventSink
) -> EvaluationSet:
    """Take the reference's sure detections for labels."""
    found = reference_answers(replace(side, postprocess_json="{}"), model, emit)
    truth = tuple(
        tuple(
            ObjectLabel((x0, y0, x1 - x0, y1 - y0), int(kind)) for x0, y0, x1, y1, _, kind in boxes
        )
        for boxes in found
    )
    if not any(truth):
        # Nothing is found to be matched: agreement alone can be told.
        return side
    return with_truth(side, model, rules, truth, "labels by the float reference")
