"""``edgekit quantize MODEL``: what int8 costs, layer by layer."""

from pathlib import Path
from typing import Any

import click

from edgekit.cli.options import json_option


@click.command()
@click.argument("model")
@json_option
@click.option("--explain", is_flag=True, help="Rank the layers by what int8 costs in each alone.")
@click.option("--size", metavar="N|HxW", help="Input size in pixels; default: the recipe's.")
@click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Images on which int8's ranges are observed; default: the recipe's.",
)
@click.option(
    "--calibration-count",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="On how many of them; default: the recipe's number.",
)
@click.option(
    "--method",
    default="percentile",
    show_default=True,
    metavar="NAME",
    help="How ranges are chosen: minmax, percentile, kl or average.",
)
@click.option(
    "--layers",
    type=click.IntRange(1, 100_000),
    default=15,
    show_default=True,
    metavar="N",
    help="How many layers to show.",
)
@click.option("--no-head-cut", is_flag=True, help="Leave the decoding of a detector in the graph.")
def quantize(model: str, in_json: bool, explain: bool, **asked: Any) -> None:  # noqa: ANN401 - click hands over whatever was declared
    """Tell what int8 costs in MODEL, layer by layer.

    MODEL is a recipe's name (see edgekit recipes) or the path of an ONNX file.
    """
    from edgekit.app.explain import ExplainOptions, parse_method
    from edgekit.app.explain import explain as run
    from edgekit.app.options import parse_size
    from edgekit.cli.output import make_output
    from edgekit.core.errors import UsageError
    from edgekit.report.sensitivity import sensitivity_lines, sensitivity_table

    if not explain:
        raise UsageError("quantize explains only", hint="say --explain, or edgekit race -p int8")
    options = ExplainOptions(
        model=model,
        size=parse_size(asked["size"]) if asked["size"] else None,
        calibration=asked["calibration"],
        calibration_count=asked["calibration_count"],
        method=parse_method(asked["method"]),
        cut_head=not asked["no_head_cut"],
    )
    with make_output(in_json=in_json) as output:
        found = run(options, emit=output.emit)
        table = sensitivity_table(found.sensitivity, asked["layers"])
        lines = sensitivity_lines(found.model, found.sensitivity)
        output.result(found.as_json(), table, *lines)


COMMAND = quantize
