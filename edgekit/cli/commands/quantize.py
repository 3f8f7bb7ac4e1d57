"""``edgekit quantize MODEL``: make MODEL int8 for each engine, the way that loses least."""

from typing import Any

import click

from edgekit.cli.options import (
    Amount,
    calibration_count_option,
    calibration_option,
    json_option,
    no_head_cut_option,
    size_option,
)

_NOTHING_BUILT = 4
_LIMIT_MISSED = 5


@click.command()
@click.argument("model")
@json_option
@click.option("--explain", is_flag=True, help="Rank the layers by what int8 costs in each alone.")
@click.option(
    "-e", "--engine", default="auto", metavar="A,B", show_default=True, help="Engines to try."
)
@click.option(
    "--max-drop",
    type=Amount(0, 1),
    metavar="X",
    help="Largest drop in accuracy that is well; default: the recipe's.",
)
@size_option
@calibration_option
@calibration_count_option
@click.option(
    "--method",
    default="percentile",
    show_default=True,
    metavar="NAME",
    help="With --explain: how ranges are chosen (minmax, percentile, kl, average).",
)
@click.option(
    "--layers",
    type=click.IntRange(1, 100_000),
    default=15,
    show_default=True,
    metavar="N",
    help="With --explain: how many layers to show.",
)
@no_head_cut_option
def quantize(model: str, in_json: bool, explain: bool, **asked: Any) -> int:  # noqa: ANN401 - click hands over whatever was declared
    """Make MODEL int8 for each engine, the way that loses least; or explain what it costs.

    MODEL is a recipe's name (see edgekit recipes) or the path of an ONNX file. Every calibration
    method of an engine is tried on this machine, and where none holds the limit the layers that
    lose most stay in float. edgekit race and deploy do the same by themselves.
    """
    from edgekit.app.options import parse_size

    asked["size"] = parse_size(asked["size"]) if asked["size"] else None
    return _explain(model, in_json, asked) if explain else _build(model, in_json, asked)


def _explain(model: str, in_json: bool, asked: dict[str, Any]) -> int:
    from edgekit.app.explain import ExplainOptions, explain, parse_method
    from edgekit.cli.output import make_output
    from edgekit.report.sensitivity import sensitivity_lines, sensitivity_table

    options = ExplainOptions(
        model=model,
        size=asked["size"],
        calibration=asked["calibration"],
        calibration_count=asked["calibration_count"],
        method=parse_method(asked["method"]),
        cut_head=not asked["no_head_cut"],
    )
    with make_output(in_json=in_json) as output:
        found = explain(options, emit=output.emit)
        table = sensitivity_table(found.sensitivity, asked["layers"])
        lines = sensitivity_lines(found.model, found.sensitivity)
        output.result(found.as_json(), table, *lines)
    return 0


def _build(model: str, in_json: bool, asked: dict[str, Any]) -> int:
    from edgekit.app.int8_builds import Int8Options, quantise
    from edgekit.app.options import parse_engines
    from edgekit.cli.output import make_output
    from edgekit.report.int8_builds import int8_table, tried_lines

    options = Int8Options(
        model=model,
        engines=parse_engines(asked["engine"]),
        size=asked["size"],
        calibration=asked["calibration"],
        calibration_count=asked["calibration_count"],
        max_drop=asked["max_drop"],
        cut_head=not asked["no_head_cut"],
    )
    with make_output(in_json=in_json) as output:
        made = quantise(options, emit=output.emit)
        output.result(made.as_json(), int8_table(made.rows, made.chosen), *tried_lines(made.chosen))
    if made.within_limit:
        return 0
    return _LIMIT_MISSED if made.chosen else _NOTHING_BUILT


COMMAND = quantize
