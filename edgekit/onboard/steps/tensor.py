"""The steps of a model of which nothing is known: tensors in, tensors out."""

from typing import Any, Mapping, Sequence

import numpy as np

from edgekit.onboard.arrays import Answers, Postprocess, Preprocess, Tensors
from edgekit.onboard.steps.parameters import Parameters


def pass_through(values: Mapping[str, Any]) -> Preprocess:
    """Make the step whose frame is a mapping of names to tensors, fed as they are."""
    Parameters("tensor", values).finish()

    def run(frame: Mapping[str, Any]) -> Tensors:
        return {name: np.ascontiguousarray(frame[name]) for name in frame}

    return run


def no_answers(values: Mapping[str, Any]) -> Postprocess:
    """Make the step that answers nothing: only output tensors are compared."""
    Parameters("tensor", values).finish()

    def run(_outputs: Tensors, _frame_shape: Sequence[int]) -> Answers:
        return []

    return run


def only_output(outputs: Tensors, name: Any) -> Any:
    """The tensor called ``name``, or the only one where ``name`` is ``None``.

    Raises:
        ValueError: if there is no such tensor, or no name and several tensors.
    """
    if name is None and len(outputs) == 1:
        return next(iter(outputs.values()))
    if name not in outputs:
        raise ValueError(f"no output {name!r} among {', '.join(sorted(outputs)) or 'none'}")
    return outputs[name]
