"""The float reference's answers on an evaluation set, and any answers made ready to be scored."""

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.catalog.cache import KeyedCache, cache_root
from edgekit.core.errors import CatalogError, ModelError, RunnerError
from edgekit.core.events import EventSink, StepFinished, StepProgress, StepStarted, ignore
from edgekit.core.model import FileRef, Model, StepSpec
from edgekit.prepare.answers import Answers
from edgekit.prepare.evaluation import EVALUATION_VERSION, EvaluationSet, with_parameters
from edgekit.prepare.reference import load_frame, steps_content

if TYPE_CHECKING:
    from edgekit.prepare.metrics.tally import Tally

STEP: Final = "evaluation-reference"
_ANSWERS: Final = "answers.json"


def reference_answers(
    evaluation: EvaluationSet, model: Model, emit: EventSink = ignore
) -> tuple[Answers, ...]:
    """Return what the whole float32 graph answers on the set's frames; cached.

    Raises:
        ModelError: ONNX Runtime cannot run the graph, or the recipe's decoder does not know the
            layout of its outputs.
        CatalogError: the evaluation's postprocess parameters are wrong.
    """
    emit(StepStarted(STEP, "Answer the evaluation set in float32"))
    before = model.reference_pipeline.preprocess
    after = with_parameters(model.reference_pipeline.postprocess, evaluation.postprocess_json)
    key = json.dumps(
        [
            EVALUATION_VERSION,
            steps_content(),
            model.reference.sha256,
            [[step.name, step.parameters_json] for step in (before, after)],
            [frame.sha256 for frame in evaluation.frames],
        ]
    )
    cache = KeyedCache(cache_root() / "evaluation")
    cached = cache.get(key) is not None

    def fill(folder: Path) -> None:
        answers = _answer(model, after, evaluation.frames, emit)
        (folder / _ANSWERS).write_text(json.dumps(answers), encoding="utf-8")

    try:
        folder = cache.build(key, fill, emit=emit, subject="the float reference")
        answers = json.loads((folder / _ANSWERS).read_text(encoding="utf-8"))
    except BaseException:
        emit(StepFinished(STEP, "failed", ok=False))
        raise
    emit(StepFinished(STEP, "cached" if cached else f"{len(answers)} frames"))
    return tuple(answers)


def tally_answers(
    evaluation: EvaluationSet, reference: Sequence[Answers], answers: Sequence[Answers]
) -> "Tally":
    """Match answers with the truth, or with the reference's where there are no labels.

    Raises:
        RunnerError: there is not one answer for each frame, or a value is not finite.
    """
    from edgekit.prepare.metrics.coco import match_labels
    from edgekit.prepare.metrics.tally import agreement, share_of_best

    check_answers(evaluation, answers)
    if evaluation.truth is None:
        return agreement(reference, answers, evaluation.kind, evaluation.threshold)
    if evaluation.metric == "coco-map":
        objects = [truth for truth in evaluation.truth if isinstance(truth, tuple)]
        return match_labels(answers, objects)
    return share_of_best(
        answers, [each for each in evaluation.truth if not isinstance(each, tuple)]
    )


def check_answers(evaluation: EvaluationSet, answers: Sequence[Answers]) -> None:
    """Refuse answers that cannot be scored.

    Raises:
        RunnerError: there is not one answer for each frame, or a value is not finite.
    """
    wanted = len(evaluation.frames)
    if len(answers) != wanted:
        raise RunnerError(
            f"the device gave answers for {len(answers)} frames, {wanted} were sent",
            hint="read the runner's log in the run's folder",
        )
    for name, found in zip(evaluation.names, answers, strict=True):
        if not isinstance(found, list | tuple):
            raise RunnerError(
                f"the device gave no answer for {name}",
                hint="the recipe's postprocess step does not know these outputs",
            )
        if not all(_is_finite(value) for each in found for value in each):
            raise RunnerError(
                f"an answer for {name} is not finite",
                hint="the engine overflows at this precision: try fp32",
            )


def _is_finite(value: object) -> bool:
    return isinstance(value, str) or (isinstance(value, int | float) and math.isfinite(value))


def _answer(
    model: Model, after: StepSpec, frames: Sequence[FileRef], emit: EventSink
) -> "list[Answers]":
    from edgekit.onboard.steps import POSTPROCESS, PREPROCESS
    from edgekit.prepare.session import Reference

    before = model.reference_pipeline.preprocess
    prepare = PREPROCESS[before.name](json.loads(before.parameters_json))
    try:
        decode = POSTPROCESS[after.name](json.loads(after.parameters_json))
    except ValueError as error:
        raise CatalogError(
            f"the recipe of {model.name}: evaluation.postprocess: {error}",
            hint="mend the recipe's [evaluation.postprocess]",
        ) from error
    session = Reference(model.reference.path, f"the whole graph of {model.name}")
    answers: list[Answers] = []
    for number, frame in enumerate(frames):
        content = load_frame(frame.path)
        outputs = session.run(prepare(content))
        shape = () if isinstance(content, dict) else content.shape
        try:
            answers.append(decode(outputs, shape))
        except ValueError as error:
            raise ModelError(
                f"the decoder {after.name} does not know the outputs of {model.name}: {error}",
                hint="give the recipe the postprocess step that fits, or 'tensor'",
            ) from error
        emit(StepProgress(STEP, number + 1, len(frames), "frames"))
    return answers
