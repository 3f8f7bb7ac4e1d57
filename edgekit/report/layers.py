"""Where a model's time goes, as a table and in words."""

from collections.abc import Iterator, Sequence

from edgekit.core.layers import LayerProfile, LayersRow, LayerTime
from edgekit.report.table import Column, Table

_NS_PER_MS = 1e6
_NAMED = 3
# A run's sum above that of the medians: noise alone stays below it.
_DISTURBED = 1.25
_UNMAPPED = "(no ONNX node)"


def layer_table(profile: LayerProfile, top: int) -> Table:
    """One row for each of the ``top`` layers that take longest."""
    timed = profile.total_ms is not None
    columns = [
        Column("ONNX nodes"),
        Column("engine's layer"),
        Column("operator"),
        Column("unit"),
        Column("share", numeric=True),
    ]
    if timed:
        columns.append(Column("ms", numeric=True))
    slowest = sorted(profile.layers, key=lambda layer: -layer.share)[:top]
    rows = tuple(_cells(layer, timed=timed) for layer in slowest)
    return Table(tuple(columns), rows, f"{profile.engine} {profile.precision}")


def profile_lines(profile: LayerProfile, top: int) -> tuple[str, ...]:
    """Say what the table leaves out, and what profiling itself did to the time."""
    layers = profile.layers
    shown = sorted((layer.share for layer in layers), reverse=True)[:top]
    name = f"{profile.engine} {profile.precision}"
    whole = (
        f"{name}: {len(layers)} layers, those shown are {sum(shown):.1%}; "
        f"{profile.unmapped_share:.1%} belongs to no ONNX node{_unmapped(layers)}"
    )
    lines = [whole]
    if profile.total_ms is None:
        lines.append(f"{name}: emulated, no speed claim: shares of an emulated processor's time")
    else:
        lines += [f"{name}: {line}" for line in _cost(profile)]
    if profile.method:
        lines.append(f"{name}: {profile.method}")
    return tuple(lines)


def reason_lines(rows: Sequence[LayersRow]) -> tuple[str, ...]:
    """Say of each candidate without a profile why there is none."""
    return tuple(
        f"{row.candidate}: {row.status}: {row.reason}" for row in rows if row.profile is None
    )


def _cost(profile: LayerProfile) -> Iterator[str]:
    total, run, model = profile.total_ms, profile.run_ms, profile.model_ms
    if total is None or run is None or model is None or profile.ratio is None:
        return
    yield (
        f"all layers of the median of {profile.runs} runs take {run:.3f} ms, the model unprofiled "
        f"{model:.3f} ms; of the fastest runs of both the ratio is {profile.ratio:.2f}"
    )
    if run > _DISTURBED * total:
        yield (
            f"disturbed: the layers' own medians add up to {total:.3f} ms only, so something else "
            "ran on the device; take the shares, and none of the times of whole runs"
        )


def _cells(layer: LayerTime, *, timed: bool) -> tuple[str, ...]:
    cells = (_nodes(layer.nodes), layer.name, layer.operator, layer.unit, f"{layer.share:.1%}")
    if not timed or layer.time_ns is None:
        return cells
    return (*cells, f"{layer.time_ns / _NS_PER_MS:.3f}")


def _nodes(nodes: Sequence[str]) -> str:
    if not nodes:
        return _UNMAPPED
    more = f" and {len(nodes) - _NAMED} more" if len(nodes) > _NAMED else ""
    return ", ".join(nodes[:_NAMED]) + more


def _unmapped(layers: Sequence[LayerTime]) -> str:
    operators = dict.fromkeys(layer.operator for layer in layers if not layer.nodes)
    if not operators:
        return ""
    more = f" and {len(operators) - _NAMED} kinds more" if len(operators) > _NAMED else ""
    return f" ({', '.join(list(operators)[:_NAMED])}{more})"
