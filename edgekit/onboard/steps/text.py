"""PP-OCR's outputs to text: where it stands (DB), and what it says (CTC).

Source: https://github.com/PaddlePaddle/PaddleOCR, ppocr/postprocess/db_postprocess.py and
rec_postprocess.py. Boxes here are upright rectangles; rotated ones are not tried.
"""

from collections import namedtuple
from typing import Any, List, Mapping, Optional, Sequence, Tuple

import numpy as np

from edgekit.onboard.arrays import Answers, Array, Postprocess, Tensors
from edgekit.onboard.steps.classify import softmax
from edgekit.onboard.steps.components import component_boxes
from edgekit.onboard.steps.geometry import place, read_fit, to_frame
from edgekit.onboard.steps.parameters import Parameters
from edgekit.onboard.steps.tensor import only_output


class _Rules(namedtuple("_Rules", "threshold box_threshold unclip_ratio min_size max_candidates")):
    """Which text regions become boxes, and how far these grow."""

    __slots__ = ()


def db(values: Mapping[str, Any]) -> Postprocess:
    """Make the step for a text probability map ``float32[1, 1, h, w]``."""
    parameters = Parameters("db", values)
    fit = read_fit(parameters, "stretch")
    rules = _Rules(
        threshold=parameters.number("threshold", 0.3),
        box_threshold=parameters.number("box_threshold", 0.6),
        unclip_ratio=parameters.number("unclip_ratio", 1.5),
        min_size=parameters.count("min_size", 3),
        max_candidates=parameters.count("max_candidates", 1000),
    )
    output = parameters.word("output", None)
    parameters.finish()

    def run(outputs: Tensors, frame_shape: Sequence[int]) -> Answers:
        probability = np.asarray(only_output(outputs, output), np.float32)
        probability = probability.reshape(probability.shape[-2:])
        boxes, scores = _text_boxes(probability, rules)
        # The map may be smaller than the input (a quarter in some exports).
        shrink = np.array([fit.width, fit.height] * 2, np.float32)
        shrink /= np.array(probability.shape[::-1] * 2, np.float32)
        placed = to_frame(boxes * shrink, place(fit, frame_shape), frame_shape)
        order = np.argsort(-scores, kind="mergesort")
        return [[float(e) for e in placed[i]] + [float(scores[i]), 0.0] for i in order]

    return run


def _text_boxes(probability: Array, rules: _Rules) -> Tuple[Array, Array]:
    """Boxes ``float32[N, 4]`` in map pixels and their scores ``float32[N]``."""
    boxes, scores = [], []
    for x0, y0, x1, y1 in component_boxes(probability > rules.threshold)[: rules.max_candidates]:
        width, height = x1 - x0, y1 - y0
        score = probability[y0:y1, x0:x1].mean(dtype=np.float32)
        if min(width, height) < rules.min_size or score < rules.box_threshold:
            continue
        # DB learns shrunk regions; this is the inverse of the shrinking for a rectangle.
        grow = width * height * rules.unclip_ratio / (2.0 * (width + height))
        boxes.append([x0 - grow, y0 - grow, x1 + grow, y1 + grow])
        scores.append(score)
    return np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32)


def ctc(values: Mapping[str, Any]) -> Postprocess:
    """Make the step for character probabilities ``float32[1, T, K]``: the greedy reading."""
    parameters = Parameters("ctc", values)
    charset = parameters.words("charset")
    blank = parameters.count("blank", 0, minimum=0)
    with_softmax = parameters.flag("softmax", default=False)
    output = parameters.word("output", None)
    parameters.finish()

    def run(outputs: Tensors, _frame_shape: Sequence[int]) -> Answers:
        steps = np.asarray(only_output(outputs, output), np.float32)
        if steps.ndim != 3 or steps.shape[0] != 1:  # noqa: PLR2004 - batch, time, class
            raise ValueError(f"ctc needs float32[1, T, K], not {list(steps.shape)}")
        steps = softmax(steps[0]) if with_softmax else steps[0]
        best = steps.argmax(axis=1)
        changed = np.ones(len(best), bool)
        changed[1:] = best[1:] != best[:-1]
        kept = np.flatnonzero(changed & (best != blank))
        if not len(kept):
            return [["", 0.0]]
        characters = _characters(charset, blank, steps.shape[1])
        text = _spell(best[kept], characters)
        return [[text, float(steps[kept, best[kept]].mean(dtype=np.float32))]]

    return run


def _characters(charset: Optional[List[str]], blank: int, classes: int) -> Optional[List[str]]:
    """One text for each class, the blank among them."""
    if charset is None:
        return None
    letters = list(charset)
    if len(letters) == classes - 2:
        letters.append(" ")  # PP-OCR's dictionaries leave the space out
    if len(letters) != classes - 1:
        raise ValueError(f"a charset of {len(charset)} characters for {classes} classes")
    letters.insert(blank, "")
    return letters


def _spell(classes: Array, characters: Optional[List[str]]) -> str:
    if characters is None:
        return " ".join(str(int(index)) for index in classes)
    return "".join(characters[index] for index in classes)
