"""``quantize --explain``: which layers lose most when a model is made int8."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.app.models import prepared_model, resolve_recipe
from edgekit.app.quantise import layer_losses, refuse_int8
from edgekit.core.errors import EngineError
from edgekit.core.events import EventSink, ignore
from edgekit.core.model import Model
from edgekit.core.names import unknown_name
from edgekit.core.quantisation import (
    CALIBRATION_METHODS,
    CalibrationMethod,
    CalibrationSet,
    Sensitivity,
)


@dataclass(frozen=True)
class ExplainOptions:
    """What is to be explained.

    Attributes:
        model: a recipe's name, or the path of an ONNX file.
        size: input height and width in pixels, ``None`` for the recipe's own.
        calibration: the user's folder, ``None`` for the recipe's set.
        calibration_count: on how many frames; ``None`` for the recipe's number.
        method: how ranges are chosen.
        cut_head: whether a detector's decode is moved out of the graph.
    """

    model: str
    size: tuple[int, int] | None = None
    calibration: Path | None = None
    calibration_count: int | None = None
    method: CalibrationMethod = "percentile"
    cut_head: bool = True


@dataclass(frozen=True)
class Explanation:
    """What int8 costs in each layer of a model."""

    model: Model
    calibration: CalibrationSet
    sensitivity: Sensitivity

    def as_json(self) -> Mapping[str, Any]:
        """Plain values for scripts."""
        return {
            "model": self.model.name,
            "inputs": [str(spec) for spec in self.model.inputs],
            "head_cut": self.model.head_cut,
            "calibration": {
                "count": self.calibration.count,
                "identity": self.calibration.identity,
            },
            **self.sensitivity.as_json(),
        }


def explain(options: ExplainOptions, *, emit: EventSink = ignore) -> Explanation:
    """Quantise each layer of a model alone, and rank them by what the outputs lose.

    Raises:
        UsageError: the model or its calibration images cannot be used.
        EngineError: the model has no layer that int8 could make faster.
    """
    from edgekit.prepare.calibration import load_calibration

    recipe = resolve_recipe(options.model)
    model = prepared_model(recipe, options.size, cut_head=options.cut_head, emit=emit)
    refusal = refuse_int8(model)
    if refusal is not None:
        raise EngineError(refusal.reason, hint=refusal.hint)
    calibration = load_calibration(
        recipe, model, images=options.calibration, count=options.calibration_count, emit=emit
    )
    found = layer_losses(model, calibration, options.method, emit)
    return Explanation(model, calibration, found)


def parse_method(text: str) -> CalibrationMethod:
    """Read the name of a calibration method.

    Raises:
        UnknownNameError: there is none of that name.
    """
    for method in CALIBRATION_METHODS:
        if text == method:
            return method
    raise unknown_name("calibration method", text, CALIBRATION_METHODS)
