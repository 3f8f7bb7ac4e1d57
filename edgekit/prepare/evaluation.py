"""Images with known truth on which accuracy is told."""

import hashlib
import json
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Final

from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, Note, StepFinished, StepStarted
from edgekit.core.model import FileRef, Model, StepSpec
from edgekit.core.recipe import Evaluation, Metric, Recipe
from edgekit.prepare.answers import Kind, answer_kind, score_threshold
from edgekit.prepare.frames import find_data
from edgekit.prepare.labelled_frames import NamedFrames, named_images, named_scenes
from edgekit.prepare.labels import Truth, drawn_labels, read_labels, truth_json

STEP: Final = "evaluation"
# Counts up with every change that changes what is scored, or how.
EVALUATION_VERSION: Final = 1
_SEEDS: Final = 1 << 32
_APART: Final = 1 << 31  # further than anyone's seeds lie from each other
# What labels can be told of each kind of answers.
_LABELLED: Final[dict[Kind, Metric]] = {"boxes": "coco-map", "classes": "top1", "text": "text"}


@dataclass(frozen=True)
class EvaluationSet:
    """Frames on which candidates are scored.

    Attributes:
        metric: what is told of them.
        kind: what the model answers with.
        frames: what the model is run on, ordered by name.
        names: what each frame is called.
        truth: its label, for each frame; ``None`` for ``agreement``.
        postprocess_json: parameters of the postprocess step that hold meanwhile.
        threshold: score below which the step drops detections.
        labels_from: where the labels are from, in words.
    """

    metric: Metric
    kind: Kind
    frames: tuple[FileRef, ...]
    names: tuple[str, ...]
    truth: tuple[Truth, ...] | None
    postprocess_json: str
    threshold: float | None
    labels_from: str

    @cached_property
    def identity(self) -> str:
        """Hash of all that a score depends on, but for the answers."""
        content = [
            EVALUATION_VERSION,
            self.metric,
            self.kind,
            [frame.sha256 for frame in self.frames],
            None if self.truth is None else truth_json(self.truth),
            self.postprocess_json,
            self.threshold,
        ]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def load_evaluation(
    recipe: Recipe, model: Model, *, images: Path | None, labels: Path | None, emit: EventSink
) -> EvaluationSet | None:
    """Return the frames and labels that the recipe names, or the user's own.

    Args:
        recipe: names metric, frames and labels. Where its images are not at hand, agreement is
            told on drawn scenes, and where only its labels are not, on its images; a note says so.
        model: its answers and classes.
        images: the user's own folder of images; without ``labels`` agreement is told on them.
        labels: the user's own labels, of ``images`` or of the recipe's images.
        emit: told of the step.

    Returns:
        ``None`` where the recipe has no evaluation and the user gives nothing, or the model's
        answers are bare tensors: nothing but outputs can be compared then.

    Raises:
        UsageError: there is no readable image, or labels do not fit images or classes.
    """
    wanted = recipe.evaluation
    kind = answer_kind(model.pipeline.postprocess)
    if kind == "none":
        if images is not None or labels is not None:
            raise UsageError(
                f"{recipe.name} answers with bare tensors, which no label is told of",
                hint="leave out --images and --labels, or write a recipe with a postprocess step",
            )
        return None
    if wanted is None:
        if images is None and labels is None:
            return None
        wanted = Evaluation("agreement", "images")
    emit(StepStarted(STEP, "Load the evaluation set"))
    try:
        # The calibration's images may be out of reach too, and theirs has the recipe's seed.
        seed = (wanted.seed + _APART) % _SEEDS
        loaded = load_set(recipe, model, Wanted(wanted, kind, images, labels, seed), emit)
    except BaseException:
        emit(StepFinished(STEP, "failed", ok=False))
        raise
    emit(StepFinished(STEP, f"{len(loaded.frames)} images, {loaded.metric}, {loaded.labels_from}"))
    return loaded


def with_parameters(step: StepSpec, postprocess_json: str) -> StepSpec:
    """Return a step with some parameters replaced, as the board's runner does in an evaluation."""
    merged = {**json.loads(step.parameters_json), **json.loads(postprocess_json)}
    return StepSpec(step.name, json.dumps(merged, sort_keys=True, separators=(",", ":")))


@dataclass(frozen=True)
class Wanted:
    """What the recipe says, and what the user says instead.

    Attributes:
        rules: the recipe's.
        kind: what the model answers with.
        images: the user's folder of images.
        labels: the user's labels.
        stand_in_seed: of the scenes that stand in for images that are not at hand.
    """

    rules: Evaluation
    kind: Kind
    images: Path | None
    labels: Path | None
    stand_in_seed: int


def load_set(recipe: Recipe, model: Model, wanted: Wanted, emit: EventSink) -> EvaluationSet:
    """Return the frames and, where they are to be had, the labels that are wanted.

    Raises:
        UsageError: there is no readable image, or labels do not fit images or classes.
    """
    place = wanted.images
    if place is None and wanted.rules.path:
        place = find_data(wanted.rules.path)
    if place is None and wanted.labels is not None:
        raise UsageError(
            f"the labels {wanted.labels} are of no images: those of {recipe.name} are "
            + (f"{wanted.rules.path}, not at hand" if wanted.rules.path else "not files"),
            hint="give the images that they are of, too (--images)",
        )
    if place is None:
        return _load_drawn(recipe, model, wanted, emit)
    file = _labels_file(recipe, wanted, emit)
    if file is None:
        frames = named_images(place, wanted.rules, keep=None, emit=emit)
        return _evaluation_set(model, wanted, frames, None, "no labels")
    metric = _metric_of(wanted)
    classes = model.classes
    listed = sorted(each.name for each in place.iterdir()) if place.is_dir() else [place.name]
    known = read_labels(file, metric, classes, listed)
    frames = named_images(place, wanted.rules, keep=known, emit=emit)
    truth = tuple(known[name] for name in frames.names)
    if metric == "coco-map" and not any(_objects(each) for each in truth):
        raise UsageError(
            f"the labels {file} name no object on any of the {len(truth)} images",
            hint="give images that show something",
        )
    return _evaluation_set(model, wanted, frames, truth, f"labels {file.name}")


def _load_drawn(recipe: Recipe, model: Model, wanted: Wanted, emit: EventSink) -> EvaluationSet:
    rules = wanted.rules
    seed = rules.seed if rules.kind == "shapes" else wanted.stand_in_seed
    frames = named_scenes(recipe, model, seed=seed, count=rules.count)
    if rules.kind == "images":
        emit(
            Note(
                f"the images {rules.path} of {recipe.name} are not at hand: agreement with the "
                "float reference is told on drawn scenes instead (give --images, or put them "
                "into a folder of EDGEKIT_DATA_PATH)",
                warning=True,
            )
        )
        return _evaluation_set(model, wanted, frames, None, "no labels")
    if rules.metric != "coco-map":
        return _evaluation_set(model, wanted, frames, None, "no labels")
    truth = _drawn_truth(model, rules)
    return _evaluation_set(model, wanted, frames, truth, "labels as drawn")


def _labels_file(recipe: Recipe, wanted: Wanted, emit: EventSink) -> Path | None:
    if wanted.labels is not None:
        return wanted.labels
    # The recipe's labels are of the recipe's images.
    if wanted.images is not None or not wanted.rules.labels:
        return None
    file = find_data(wanted.rules.labels)
    if file is None:
        emit(
            Note(
                f"the labels {wanted.rules.labels} of {recipe.name} are not at hand: agreement "
                "with the float reference is told instead (give --labels, or put them into a "
                "folder of EDGEKIT_DATA_PATH)",
                warning=True,
            )
        )
    return file


def _metric_of(wanted: Wanted) -> Metric:
    own = wanted.rules.metric
    return own if own != "agreement" else _LABELLED[wanted.kind]


def _evaluation_set(
    model: Model,
    wanted: Wanted,
    frames: NamedFrames,
    truth: tuple[Truth, ...] | None,
    labels_from: str,
) -> EvaluationSet:
    rules = wanted.rules
    metric: Metric = "agreement" if truth is None else _metric_of(wanted)
    # Low thresholds are for curves of precision; agreement is told of what the recipe answers.
    parameters = rules.postprocess_json if metric == rules.metric else "{}"
    step = with_parameters(model.pipeline.postprocess, parameters)
    return EvaluationSet(
        metric=metric,
        kind=wanted.kind,
        frames=frames.files,
        names=frames.names,
        truth=truth,
        postprocess_json=parameters,
        threshold=score_threshold(step),
        labels_from=labels_from,
    )


def with_truth(
    unlabelled: EvaluationSet,
    model: Model,
    rules: Evaluation,
    truth: tuple[Truth, ...],
    labels_from: str,
) -> EvaluationSet:
    """Return the same frames with labels, scored as ``rules`` say."""
    step = with_parameters(model.pipeline.postprocess, rules.postprocess_json)
    return replace(
        unlabelled,
        metric=rules.metric,
        truth=truth,
        postprocess_json=rules.postprocess_json,
        threshold=score_threshold(step),
        labels_from=labels_from,
    )


def _drawn_truth(model: Model, rules: Evaluation) -> tuple[Truth, ...]:
    """What each scene of a series shows, drawn once and kept."""
    return drawn_labels(model.classes, seed=rules.seed, count=rules.count)


def _objects(truth: Truth) -> bool:
    """Whether there is anything to be found."""
    return isinstance(truth, tuple) and any(not label.crowd for label in truth)
