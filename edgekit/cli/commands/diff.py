"""``edgekit diff MODEL``: find the first layer that computes something else on a device."""

from pathlib import Path
from typing import Any

import click

from edgekit.cli.options import (
    Amount,
    accept_licence_option,
    calibration_count_option,
    calibration_option,
    device_options,
    no_head_cut_option,
    size_option,
)

_DEVIATES = 5


@click.command()
@click.argument("model")
@device_options
@click.option(
    "-e", "--engine", metavar="NAME", help="Default: what is active on the device, or onnxruntime."
)
@click.option("-p", "--precision", metavar="NAME", help="fp32, fp16 or int8; default: as --engine.")
@size_option
@click.option(
    "--frame",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="IMAGE",
    help="What both are fed; default: the recipe's first.",
)
@click.option(
    "--tolerance",
    type=Amount(0, 1),
    metavar="T",
    help="Share of a layer's range that passes; default: by precision.",
)
@click.option(
    "--layers",
    type=click.IntRange(1, 100_000),
    default=20,
    show_default=True,
    metavar="N",
    help="How many layers to show, the worst ones.",
)
@click.option("--threads", type=click.IntRange(1, 256), metavar="N", help="Threads of the engine.")
@click.option(
    "--knob",
    "knobs",
    multiple=True,
    metavar="NAME=VALUE",
    help="What the engine's runner is told, such as winograd=off; may be repeated.",
)
@calibration_option
@calibration_count_option
@accept_licence_option
@no_head_cut_option
@click.option(
    "--timeout",
    type=Amount(1, 86_400),
    metavar="S",
    help="A run on the device that takes longer counts as hung; default: 600, emulated 3600.",
)
def diff(model: str, in_json: bool, **asked: Any) -> int:  # noqa: ANN401 - click hands over whatever was declared
    """Compare MODEL's layers on a device with ONNX Runtime on this machine.

    MODEL is a recipe's name (see edgekit recipes) or the path of an ONNX file. Each layer is
    measured alone, fed with the reference's own inputs, and in the whole net. Exit code 5 tells
    that something deviates beyond the tolerance.
    """
    from edgekit.app.diff import DiffOptions, parse_knob
    from edgekit.app.diff import diff as run
    from edgekit.app.options import parse_engines, parse_precisions, parse_size
    from edgekit.cli.output import make_output
    from edgekit.report.difference import difference_lines, difference_table

    options = DiffOptions(
        model=model,
        target=asked["target"],
        device=asked["device"],
        engine=_one(parse_engines(asked["engine"] or ""), "--engine"),
        precision=_one(parse_precisions(asked["precision"] or ""), "--precision"),
        size=parse_size(asked["size"]) if asked["size"] else None,
        frame=asked["frame"],
        tolerance=asked["tolerance"],
        calibration=asked["calibration"],
        calibration_count=asked["calibration_count"],
        cut_head=not asked["no_head_cut"],
        threads=asked["threads"],
        knobs=tuple(parse_knob(text) for text in asked["knobs"]),
        accept_new=asked["accept_new"],
        accept_licence=parse_engines(asked["accept_licence"]),
        timeout_s=asked["timeout"],
    )
    with make_output(in_json=in_json) as output:
        found = run(options, emit=output.emit)
        table = difference_table(found, asked["layers"])
        output.result(found.as_json(), table, *difference_lines(found))
    return 0 if found.passed else _DEVIATES


def _one(found: tuple[str, ...], option: str) -> Any:  # noqa: ANN401 - a literal's own type
    """Return the one that was asked for; ``None`` if none was."""
    if len(found) > 1:
        raise click.UsageError(f"{option} takes one: {', '.join(found)}")
    return found[0] if found else None


COMMAND = diff
