"""``edgekit layers MODEL``: tell where MODEL's time goes on a device, layer by layer."""

from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.options import (
    accept_licence_option,
    device_options,
    no_head_cut_option,
    size_option,
    threads_option,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.core.layers import LayersRow
    from edgekit.report.table import Table

_NONE_PROFILED = 4


@click.command()
@click.argument("model")
@device_options
@click.option(
    "-e", "--engine", default="auto", metavar="A,B", show_default=True, help="Engines to profile."
)
@click.option(
    "-p",
    "--precision",
    default="fp32",
    metavar="A,B",
    show_default=True,
    help="fp32, fp16, int8: those to profile; auto for all.",
)
@size_option
@threads_option
@click.option(
    "--top",
    type=click.IntRange(1, 100_000),
    default=10,
    show_default=True,
    metavar="N",
    help="How many layers of each engine to show; --json tells all.",
)
@click.option(
    "--runs", type=click.IntRange(1, 100_000), metavar="N", help="Profile N runs; default: 30."
)
@accept_licence_option
@no_head_cut_option
def layers(model: str, in_json: bool, top: int, **asked: Any) -> int:  # noqa: ANN401 - click hands over whatever was declared
    """Tell each layer's time of MODEL on a device, in the names of its ONNX nodes.

    MODEL is a recipe's name (see edgekit recipes) or the path of an ONNX file. Each engine that can
    tell profiles itself; nothing is activated. int8 is made by the engine's first method.
    """
    from edgekit.app.layers import layers as run
    from edgekit.app.options import DeployOptions, parse_engines, parse_precisions, parse_size
    from edgekit.cli.output import make_output
    from edgekit.core.measurement import BenchPlan

    options = DeployOptions(
        model=model,
        target=asked["target"],
        device=asked["device"],
        engines=parse_engines(asked["engine"]),
        precisions=parse_precisions(asked["precision"]),
        size=parse_size(asked["size"]) if asked["size"] else None,
        threads=asked["threads"],
        plan=BenchPlan(min_runs=asked["runs"], min_seconds=0) if asked["runs"] else None,
        accept_new=asked["accept_new"],
        accept_licence=parse_engines(asked["accept_licence"]),
        cut_head=not asked["no_head_cut"],
        activate=False,
    )
    with make_output(in_json=in_json) as output:
        found = run(options, emit=output.emit)
        output.result(found.as_json(), *_shown(found.rows, top))
    return 0 if any(row.profile for row in found.rows) else _NONE_PROFILED


def _shown(rows: "Sequence[LayersRow]", top: int) -> "list[Table | str]":
    from edgekit.report.layers import layer_table, profile_lines, reason_lines

    shown: list[Table | str] = []
    for row in rows:
        if row.profile is not None:
            shown += [layer_table(row.profile, top), *profile_lines(row.profile, top), ""]
    return [*shown, *reason_lines(rows)]


COMMAND = layers
