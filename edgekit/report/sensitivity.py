"""What int8 costs in each layer, as a table and in words."""

from collections.abc import Sequence

from edgekit.core.model import Model
from edgekit.core.quantisation import LayerLoss, Sensitivity
from edgekit.report.table import Column, Table

_NAMED = 4


def sensitivity_table(found: Sensitivity, layers: int) -> Table:
    """One row for each of the worst ``layers`` layers."""
    columns = (
        Column("layer"),
        Column("operator"),
        Column("alone", numeric=True),
        Column("share", numeric=True),
        Column("what suffers most"),
    )
    rows = tuple(
        (
            layer.name,
            layer.operator,
            f"{layer.decibels:.1f} dB",
            f"{layer.share:.1%}",
            layer.suffers,
        )
        for layer in found.layers[:layers]
    )
    return Table(columns, rows)


def sensitivity_lines(model: Model, found: Sensitivity) -> tuple[str, ...]:
    """Say what the table means, and what may be done."""
    head = (
        f"{model.name}, {', '.join(map(str, model.inputs))}: {len(found.layers)} layers, each "
        f"alone in int8 by {found.method} on {found.samples} samples; alone: signal above its "
        "noise in the output that suffers most; share: of all layers' noise there"
    )
    return (head, *_verdict(model, found))


def ruin_in_words(found: Sensitivity) -> str:
    """Name the layers that leave hardly anything of an output; empty where there are none."""
    ruinous = found.ruinous
    if not ruinous:
        return ""
    named = ", ".join(_named(layer) for layer in ruinous[:_NAMED])
    more = f" and {len(ruinous) - _NAMED} more" if len(ruinous) > _NAMED else ""
    parts = ", ".join(dict.fromkeys(layer.suffers for layer in ruinous))
    return f"int8 leaves hardly anything of {parts} at {named}{more}"


def _named(layer: LayerLoss) -> str:
    return f"{layer.name} ({layer.operator}, {layer.decibels:.1f} dB)"


def _verdict(model: Model, found: Sensitivity) -> Sequence[str]:
    ruin = ruin_in_words(found)
    worst = ", ".join(layer.name for layer in found.weighted[:_NAMED])
    plan = f"to be kept in float first, by engines that can mix: {worst}" if worst else ""
    if not ruin:
        return [plan] if plan else []
    joins = not any(layer.weighted for layer in found.ruinous)
    if joins and not model.head_cut:
        cure = "values of very different size share one scale there: cut the head before it"
        return [ruin, cure]
    return [ruin, plan] if plan else [ruin]
