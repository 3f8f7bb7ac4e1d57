"""``edgekit export MODEL``: build MODEL for an engine, into a folder of your own."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.options import (
    accept_licence_option,
    calibration_count_option,
    calibration_option,
    json_option,
    size_option,
    target_option,
)

if TYPE_CHECKING:
    from edgekit.app.export import ExportOptions


@click.command()
@click.argument("model")
@json_option
@target_option
@click.option("-e", "--engine", required=True, metavar="NAME", help="Whose files to make.")
@click.option(
    "-p",
    "--precision",
    default="fp32",
    show_default=True,
    metavar="NAME",
    help="fp32, fp16 or int8.",
)
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    metavar="DIR",
    help="Folder to make; an empty one may be there.",
)
@size_option
@click.option(
    "--method",
    metavar="NAME",
    help="How int8 ranges are chosen; default: the engine's first (a race finds the best).",
)
@calibration_option
@calibration_count_option
@accept_licence_option
@click.option(
    "--static",
    is_flag=True,
    help="One program that holds model, runtime and C library (tvm): no Python, no libraries.",
)
def export(model: str, in_json: bool, **asked: Any) -> None:  # noqa: ANN401 - click hands over whatever was declared
    """Build MODEL for an engine and a kind of board, into a folder; no device is needed.

    MODEL is a recipe's name (see edgekit recipes) or the path of an ONNX file. The folder gets
    the engine's files, a manifest and a README that says how they are used.
    """
    from edgekit.app.export import export as run
    from edgekit.cli.output import make_output

    options = _options(model, asked)
    with make_output(in_json=in_json) as output:
        made = run(options, emit=output.emit)
        lines = [f"{made.folder / file.path}: {file.size_bytes} bytes" for file in made.files]
        output.result(made.as_json(), *lines)


def _options(model: str, asked: dict[str, Any]) -> "ExportOptions":
    from edgekit.app.explain import parse_method
    from edgekit.app.export import ExportOptions
    from edgekit.app.options import parse_engines, parse_precisions, parse_size
    from edgekit.core.errors import UsageError

    precisions = parse_precisions(asked["precision"])
    if len(precisions) != 1:
        raise UsageError("export makes one precision", hint="--precision fp32, fp16 or int8")
    if asked["target"] is None:
        raise UsageError("for what board?", hint="--target NAME; see edgekit targets")
    return ExportOptions(
        model=model,
        engine=asked["engine"],
        target=asked["target"],
        output=asked["output"],
        precision=precisions[0],
        size=parse_size(asked["size"]) if asked["size"] else None,
        method=parse_method(asked["method"]) if asked["method"] else None,
        calibration=asked["calibration"],
        calibration_count=asked["calibration_count"],
        accept_licence=parse_engines(asked["accept_licence"]),
        static=asked["static"],
    )


COMMAND = export
