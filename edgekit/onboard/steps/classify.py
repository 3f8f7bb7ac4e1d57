"""Class scores to the best classes."""

from typing import Any, Mapping, Sequence

import numpy as np

from edgekit.onboard.arrays import Answers, Array, Postprocess, Tensors
from edgekit.onboard.steps.parameters import Parameters
from edgekit.onboard.steps.tensor import only_output


def classify(values: Mapping[str, Any]) -> Postprocess:
    """Make the step that answers ``[class, score]`` for the best classes."""
    parameters = Parameters("classify", values)
    top_k = parameters.count("top_k", 5)
    with_softmax = parameters.flag("softmax", default=False)
    output = parameters.word("output", None)
    parameters.finish()

    def run(outputs: Tensors, _frame_shape: Sequence[int]) -> Answers:
        scores = np.asarray(only_output(outputs, output), np.float32).reshape(-1)
        if with_softmax:
            scores = softmax(scores)
        best = np.argsort(-scores, kind="mergesort")[:top_k]
        return [[int(index), float(scores[index])] for index in best]

    return run


def softmax(logits: Array) -> Array:
    """Probabilities over the last axis, ``float32`` of the same shape."""
    powers: Array = np.exp(logits - logits.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers
