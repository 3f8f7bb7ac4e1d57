"""A layer-wise difference as a table and in words."""

import math
from collections.abc import Sequence
from typing import Final

from edgekit.core.difference import Difference, LayerDifference, Measure, TensorError
from edgekit.report.table import Column, Table

# An error that grows so much within one layer is no rounding.
_JUMP: Final = 4
_MEASURES: Final = {"largest": "largest difference", "rms": "root mean square of the difference"}


def difference_table(found: Difference, layers: int) -> Table:
    """One row for each of the ``layers`` worst layers, in the order of the graph.

    The first that deviate are always among them.
    """
    columns = (
        Column("layer"),
        Column("operators"),
        Column("alone", numeric=True),
        Column("", numeric=True),
        Column("in the net", numeric=True),
        Column("", numeric=True),
        Column("remark"),
    )
    first = [layer.name for layer in (found.first_alone, found.first_accumulated) if layer]
    by_size = sorted(found.layers, key=lambda layer: _size(found, layer), reverse=True)
    named = list(dict.fromkeys([*first, *(layer.name for layer in by_size)]))[:layers]
    shown = [layer for layer in found.layers if layer.name in set(named)]
    return Table(columns, tuple(_row(found, layer) for layer in shown))


def _size(found: Difference, layer: LayerDifference) -> float:
    errors = [error for error in (layer.alone, layer.accumulated) if error is not None]
    if any(error.non_finite for error in errors):
        return float("inf")
    # What is missing wants to be seen too.
    measure = found.tolerance.measure
    return max((error.by(measure) for error in errors), default=float("inf"))


def _row(found: Difference, layer: LayerDifference) -> tuple[str, ...]:
    tolerance, words = found.tolerance, []
    for error, limit, side in (
        (layer.alone, tolerance.alone, "alone"),
        (layer.accumulated, tolerance.accumulated, "in the net"),
    ):
        if error is not None and not error.within(limit, tolerance.measure):
            words.append(f"deviates {side}")
    return (
        layer.name,
        "+".join(layer.operators),
        *_cells(layer.alone, tolerance.measure),
        *_cells(layer.accumulated, tolerance.measure),
        "; ".join([*words, *([layer.remark] if layer.remark else [])]),
    )


def _cells(error: TensorError | None, measure: Measure) -> tuple[str, str]:
    if error is None:
        return "", ""
    if error.non_finite:
        return f"{error.non_finite} NaN/Inf", ""
    return f"{error.by(measure):.2e}", _ratio(error)


def _ratio(error: TensorError) -> str:
    return "equal" if error.decibels is None else f"{error.decibels:.0f} dB"


def difference_lines(found: Difference) -> tuple[str, ...]:
    """Say what the table means, what deviates first, and what would have passed."""
    made = f", int8 by {found.quantisation}" if found.quantisation else ""
    head = (
        f"{found.model} by {found.engine} {found.precision}{made} on {found.device} "
        f"({found.target}) against ONNX Runtime here, on one frame; figures: "
        f"{_MEASURES[found.tolerance.measure]} as a share of the layer's range, and its signal "
        "above the noise"
    )
    tolerance = found.tolerance
    limits = (
        f"tolerance {tolerance.alone:.3g} alone, {tolerance.accumulated:.3g} in the net: "
        f"{tolerance.reason}"
    )
    return (head, limits, *_verdict(found), *_passing(found), _looking(found), *_missing(found))


def _verdict(found: Difference) -> Sequence[str]:
    alone, summed = found.first_alone, found.first_accumulated
    lines = []
    if alone is not None:
        lines.append(f"first layer that deviates alone: {_named(found, alone, alone.alone)}")
    if summed is not None:
        lines.append(
            f"first layer that deviates in the net: {_named(found, summed, summed.accumulated)}"
        )
    if summed is not None and alone is None:
        lines.append(_without_a_culprit(found, summed))
    answer = found.answer
    if answer.non_finite:
        lines.append(f"the answer holds {answer.non_finite} values that are NaN or infinite")
    elif not lines and not found.passed:
        lines.append("the answer deviates, though no layer that was measured does")
    return lines or ["every layer that was measured is within the tolerance"]


def _without_a_culprit(found: Difference, layer: LayerDifference) -> str:
    """Tell rounding that adds up from a layer that is another one in the net."""
    given = layer.accumulated
    fed = found.fed(layer)
    if given is None or given.non_finite or given.by(found.tolerance.measure) > _JUMP * fed:
        return (
            f"no layer deviates alone; what {layer.name} reads is off by no more than {fed:.2e}: "
            "in the net the engine computes it otherwise than by itself"
        )
    return "no layer deviates alone; what each rounds off adds up"


def _named(found: Difference, layer: LayerDifference, error: TensorError | None) -> str:
    assert error is not None  # noqa: S101 - it deviates
    if error.non_finite:
        return f"{layer.name} ({'+'.join(layer.operators)}): {error.non_finite} values NaN or Inf"
    return (
        f"{layer.name} ({'+'.join(layer.operators)}): "
        f"{error.by(found.tolerance.measure):.2e} of its range, at most "
        f"{error.max_abs:.3g}, {_ratio(error)}, cosine {error.cosine:.6f}"
    )


def _passing(found: Difference) -> Sequence[str]:
    alone, summed = found.passing_alone, found.passing_accumulated
    words = [
        f"{'none (NaN or infinity)' if value is None else _rounded_up(value)} {side}"
        for value, side, errors in (
            (alone, "alone", [layer.alone for layer in found.layers]),
            (summed, "in the net", [layer.accumulated for layer in found.layers]),
        )
        if any(error is not None for error in errors)
    ]
    return [f"tolerance that would have passed: {', '.join(words)}"]


def _rounded_up(value: float) -> str:
    """Return a tolerance in three digits that does let the value pass."""
    text = f"{value:.2e}"
    if float(text) >= value:
        return text
    unit = 10.0 ** (math.floor(math.log10(value)) - 2)
    return f"{value + unit:.2e}"


def _looking(found: Difference) -> str:
    measure = found.tolerance.measure
    answer = f"the answer as deployed is off by {found.answer.by(measure):.2e}"
    looking = found.looking
    if looking is None:
        return f"{answer}; no layer could be shown in the net"
    if looking.decibels is None and not looking.non_finite:
        return f"{answer}; looking at the layers changed nothing of it"
    return f"{answer}; looking at the layers changed it by {looking.by(measure):.2e}"


def _missing(found: Difference) -> Sequence[str]:
    missing = [layer for layer in found.layers if layer.remark]
    summed, single = found.builds
    lines = [f"builds that show layers: {summed} in the net, {single} alone"]
    if missing:
        lines.append(f"{len(missing)} of {len(found.layers)} layers not measured in full")
    return lines
