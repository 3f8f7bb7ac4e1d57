"""``edgekit tune MODEL``: make TVM's code fast on boards, by trying schedules there."""

import math
from typing import Any

import click

from edgekit.cli.options import (
    Duration,
    accept_new_option,
    json_option,
    size_option,
    target_option,
)

_INTERRUPTED = 130


@click.command()
@click.argument("model")
@json_option
@target_option
@click.option(
    "-d",
    "--device",
    default="",
    metavar="A,B",
    help="Boards of one kind to measure on: local, virtual[:NAME], user@host[:port] or names.",
)
@accept_new_option
@click.option("--trials", type=click.IntRange(1), metavar="N", help="Stop after so many trials.")
@click.option("--time", "time_s", type=Duration(), metavar="2h", help="Stop after so long.")
@click.option(
    "--wait",
    "away_s",
    type=Duration(),
    default="30m",
    show_default=True,
    metavar="30m",
    help="How long to wait when no board is left that can be reached.",
)
@click.option(
    "-p",
    "--precision",
    type=click.Choice(("fp32", "fp16", "int8")),
    default="fp32",
    show_default=True,
    help="What the code computes in.",
)
@click.option(
    "--cost",
    type=click.Choice(("seconds", "instructions")),
    default="seconds",
    show_default=True,
    help="Judge candidates by their time, or, on virtual boards, by the instructions they execute.",
)
@size_option
@click.option("--seed", type=click.IntRange(0, 1 << 30), default=0, show_default=True, metavar="N")
@click.option(
    "--workers",
    metavar="dask://HOST:PORT",
    help="Compile on a Dask cluster (see edgekit cluster); default: on this machine.",
)
def tune(model: str, in_json: bool, **asked: Any) -> int:  # noqa: ANN401 - click hands over whatever was declared
    """Try schedules of MODEL on boards, and keep what each of them cost.

    MODEL is a recipe's name (see edgekit recipes) or the path of an ONNX file. Every trial is on
    disk when it was measured: Ctrl-C, kill -9 and power cuts cost what is in flight, and the same
    command goes on from there. Without --trials and --time it goes on until it is interrupted.
    edgekit race and deploy take the best of it by themselves.
    """
    from edgekit.app.options import parse_size
    from edgekit.app.tune import TuneOptions
    from edgekit.app.tune import tune as run
    from edgekit.cli.output import make_output
    from edgekit.cli.views.tuning import tuning_facts, tuning_parts
    from edgekit.tune.session import Limits

    options = TuneOptions(
        model=model,
        target=asked["target"],
        devices=tuple(name.strip() for name in asked["device"].split(",") if name.strip()),
        limits=Limits(asked["trials"] or math.inf, asked["time_s"] or math.inf),
        size=parse_size(asked["size"]) if asked["size"] else None,
        precision=asked["precision"],
        seed=asked["seed"],
        accept_new=asked["accept_new"],
        workers=asked["workers"],
        cost=asked["cost"],
        away_s=asked["away_s"],
    )
    with make_output(in_json=in_json) as output:
        report = run(options, emit=output.emit)
        output.result(tuning_facts(report), *tuning_parts(report))
    return _INTERRUPTED if report.tuned.stop == "interrupted" else 0


COMMAND = tune
