"""A device's outputs and answers held against the float reference."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.core.errors import RunnerError
from edgekit.core.measurement import Accuracy, OutputError
from edgekit.prepare.answers import Answers, Matches, edge_distance, match
from edgekit.prepare.reference import ReferenceOutputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    FrameOutputs = Mapping[str, "Path | NDArray[Any]"]

_METRIC = "agreement"


def compare_outputs(
    reference: ReferenceOutputs,
    outputs: "Sequence[FrameOutputs]",
    answers: Sequence[Answers],
) -> OutputError:
    """Tell how far a device's outputs lie from the reference's.

    Args:
        reference: what was expected.
        outputs: for each frame the output tensors by name, as arrays or ``.npy`` files.
        answers: for each frame what the device's own postprocess answered.

    Raises:
        RunnerError: an output is missing, of another shape, or holds NaN or infinity.
    """
    import numpy as np

    _check_counts(reference, outputs, answers)
    largest, total, elements, cosine = 0.0, 0.0, 0, 1.0
    for number, frame in enumerate(reference.frames):
        for name, path in frame.outputs.items():
            expected, found = _pair(number, name, path, outputs[number])
            difference = found - expected
            np.abs(difference, out=difference)
            largest = max(largest, float(difference.max(initial=0.0)))
            total += float(difference.sum())
            elements += expected.size
            cosine = min(cosine, _cosine(expected, found))
    mean = total / elements if elements else 0.0
    if reference.kind != "boxes":
        return OutputError(max_abs=largest, mean_abs=mean, min_cosine=cosine)
    matches = _all_matches(reference, answers)
    pairs = [pair for found in matches for pair in found.pairs]
    return OutputError(
        max_abs=largest,
        mean_abs=mean,
        min_cosine=cosine,
        max_box_px=max((edge_distance(*pair) for pair in pairs), default=None),
        max_score=max((abs(one[4] - other[4]) for one, other in pairs), default=None),
        unmatched=sum(len(found.missed) + len(found.invented) for found in matches),
        matched=len(pairs),
    )


def compare_answers(
    reference: ReferenceOutputs,
    answers: Sequence[Answers],
    outputs: "Sequence[FrameOutputs] | None" = None,
) -> Accuracy:
    """Tell how far a device's answers agree with the reference's: 1 is full agreement.

    Detections: F1 of those matched by class and IoU (``edgekit.prepare.answers``). Classes:
    the share of frames with the same best class. Text: the share of frames read alike. Models
    of which only tensors are known: one less the largest relative error of any output (L2),
    for which ``outputs`` must be given.

    Raises:
        RunnerError: there is not one answer for each frame, or it is not finite.
    """
    _check_counts(reference, outputs, answers)
    if reference.kind == "none":
        if outputs is None:
            raise ValueError("outputs must be given where the model has no answers")
        value = _tensor_agreement(reference, outputs)
    elif reference.kind == "boxes":
        value = _f1(_all_matches(reference, answers))
    else:
        # Both kinds put the best first: [class, score] or [text, score].
        pairs = zip((frame.answers for frame in reference.frames), answers, strict=True)
        same = [_first(expected) == _first(found) for expected, found in pairs]
        value = sum(same) / len(same) if same else 1.0
    return Accuracy(metric=_METRIC, value=value, reference=1.0, drop=1.0 - value)


def _check_counts(
    reference: ReferenceOutputs,
    outputs: "Sequence[FrameOutputs] | None",
    answers: Sequence[Answers],
) -> None:
    wanted = len(reference.frames)
    for what, count in (
        ("outputs", wanted if outputs is None else len(outputs)),
        (
            "answers",
            len(answers),
        ),
    ):
        if count != wanted:
            raise RunnerError(
                f"the device gave {what} for {count} frames, {wanted} were sent",
                hint="read the runner's log in the run's folder",
            )


def _pair(
    number: int, name: str, path: Path, outputs: "FrameOutputs"
) -> "tuple[NDArray[Any], NDArray[Any]]":
    import numpy as np

    if name not in outputs:
        raise RunnerError(
            f"the device gave no output {name} for frame {number}",
            hint=f"it gave {', '.join(sorted(outputs)) or 'none'}: engine and model disagree",
        )
    given = outputs[name]
    found = np.load(given, allow_pickle=False) if isinstance(given, Path) else given
    expected = np.load(path, allow_pickle=False)
    if found.shape != expected.shape:
        raise RunnerError(
            f"output {name} of frame {number} has shape {list(found.shape)}, expected "
            f"{list(expected.shape)}",
            hint="engine and model disagree: build the engine anew",
        )
    if not np.isfinite(found).all():
        raise RunnerError(
            f"output {name} of frame {number} holds NaN or infinity",
            hint="the engine overflows at this precision: try fp32",
        )
    # Integers would wrap around in differences.
    kind = np.float32 if expected.dtype == np.float32 else np.float64
    return expected.astype(kind, copy=False), found.astype(kind, copy=False)


def _cosine(expected: "NDArray[Any]", found: "NDArray[Any]") -> float:
    lengths = _length(expected), _length(found)
    if not all(lengths):
        return 1.0 if lengths[0] == lengths[1] else 0.0
    # Rounding may carry the quotient past one.
    return min(1.0, _dot(expected, found) / (lengths[0] * lengths[1]))


def _length(values: "NDArray[Any]") -> float:
    return math.sqrt(_dot(values, values))


def _dot(one: "NDArray[Any]", other: "NDArray[Any]") -> float:
    import numpy as np

    value = float(np.vdot(one, other))
    # Squares of large float32 values leave float32's range.
    return value if math.isfinite(value) else float(np.multiply(one, other, dtype=float).sum())


def _all_matches(reference: ReferenceOutputs, answers: Sequence[Answers]) -> tuple[Matches, ...]:
    matches: list[Matches] = []
    for number, (frame, found) in enumerate(zip(reference.frames, answers, strict=True)):
        if not all(math.isfinite(value) for box in found for value in box):
            raise RunnerError(
                f"a detection of frame {number} is not finite",
                hint="the engine overflows at this precision: try fp32",
            )
        matched = match(frame.answers, found)
        if reference.score_threshold is not None:
            matched = matched.without_borderline(reference.score_threshold)
        matches.append(matched)
    return tuple(matches)


def _f1(matches: Sequence[Matches]) -> float:
    both = sum(len(found.pairs) for found in matches)
    single = sum(len(found.missed) + len(found.invented) for found in matches)
    # Nothing expected and nothing found is agreement.
    return 2 * both / (2 * both + single) if both or single else 1.0


def _first(answers: Answers) -> Any:  # noqa: ANN401 (a class index or a text)
    return answers[0][0] if answers else None


def _tensor_agreement(reference: ReferenceOutputs, outputs: "Sequence[FrameOutputs]") -> float:
    worst = 0.0
    for number, frame in enumerate(reference.frames):
        for name, path in frame.outputs.items():
            expected, found = _pair(number, name, path, outputs[number])
            size, error = _length(expected), _length(found - expected)
            # Where all is zero, any error is as large as can be.
            worst = max(worst, error / size if size else float(error > 0))
    return max(0.0, 1.0 - worst)
