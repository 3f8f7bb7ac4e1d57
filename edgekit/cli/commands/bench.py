"""``edgekit bench [MODEL]``: measure one candidate until its figures may be believed."""

from pathlib import Path
from typing import Any

import click

from edgekit.cli.options import (
    Amount,
    Duration,
    RailScope,
    accept_invalid_option,
    budget_option,
    device_options,
    size_option,
    threads_option,
)


@click.command()
@click.argument("model", required=False)
@device_options
@click.option("-e", "--engine", default="auto", metavar="A,B", help="Engines; default: all.")
@click.option(
    "-p", "--precision", default="fp32", metavar="A,B", show_default=True, help="Precisions."
)
@size_option
@threads_option
@click.option(
    "--images",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Images to run on; default: the recipe's.",
)
@click.option(
    "--seconds", type=Amount(0, 3600), metavar="S", help="At least S seconds; default 10."
)
@click.option("--runs", type=click.IntRange(1, 10_000_000), metavar="N", help="At least N runs.")
@click.option(
    "--width",
    type=Amount(0.1, 100),
    default=5.0,
    metavar="PERCENT",
    show_default=True,
    help="Widest 95 % interval of the median that is believed.",
)
@budget_option
@accept_invalid_option
@click.option(
    "--soak",
    type=Duration(),
    metavar="TIME",
    help="Run for so long, such as 10m, and tell how speed, heat and clocks went.",
)
@click.option(
    "--power-hz",
    type=Amount(0, 1000),
    default=100.0,
    show_default=True,
    metavar="HZ",
    help="Readings of the device's power sensors; 0 for none.",
)
@click.option(
    "--idle",
    type=Amount(1, 600),
    metavar="S",
    help="Read power so long before and after each run, where there is a sensor; default 3, "
    "longer for a slow meter.",
)
@click.option(
    "--meter",
    "meters",
    multiple=True,
    metavar="ADDRESS",
    help="A power meter on this host: scpi:RESOURCE?QUERY or command:COMMAND; may be repeated.",
)
@click.option(
    "--scope",
    "scopes",
    type=RailScope(),
    multiple=True,
    metavar="RAIL=SCOPE",
    help="What a rail covers, such as 'ina226 1-0040=board': board, wall or rail; may be repeated.",
)
@click.option(
    "--stuck-after",
    type=Amount(0.1, 86400),
    default=10.0,
    show_default=True,
    metavar="S",
    help="A power reading that stays the same for longer is not believed.",
)
@click.option(
    "--clocks",
    type=click.Choice(["as-is", "fixed"]),
    default="as-is",
    show_default=True,
    help="fixed pins the device's clocks at the highest allowed, and puts them back.",
)
def bench(model: str | None, in_json: bool, **asked: Any) -> int:  # noqa: ANN401 - click hands over whatever was declared
    """Measure until the figures may be believed; say so, and exit with 6, where they may not.

    Clocks, heat, throttling, supply, load of others and memory are read on the device before,
    during and after each run. A run that was disturbed is repeated, after a cool-down where heat
    was the cause. Without MODEL, what is active on the device is measured.
    """
    from edgekit.app.bench import bench as run
    from edgekit.app.bench_options import BenchOptions
    from edgekit.app.options import DeployOptions, parse_engines, parse_precisions, parse_size
    from edgekit.cli.output import make_output
    from edgekit.cli.racing import INVALID, accepts_invalid
    from edgekit.report.bench import bench_lines, bench_table, soak_table

    if model is None:
        _refuse_choices(asked)
    where = DeployOptions(
        model=model or "",
        target=asked["target"],
        device=asked["device"],
        engines=parse_engines(asked["engine"]),
        precisions=parse_precisions(asked["precision"]),
        size=parse_size(asked["size"]) if asked["size"] else None,
        threads=asked["threads"],
        images=asked["images"],
        accept_new=asked["accept_new"],
        activate=False,
        quick=True,
    )
    options = BenchOptions(
        seconds=asked["seconds"],
        runs=asked["runs"],
        budget_s=asked["budget"],
        median_width=asked["width"] / 100,
        soak_s=asked["soak"] or 0.0,
        power_hz=asked["power_hz"],
        idle_s=asked["idle"],
        meters=asked["meters"],
        scopes=asked["scopes"],
        stuck_after_s=asked["stuck_after"],
        fixed_clocks=asked["clocks"] == "fixed",
    )
    with make_output(in_json=in_json) as output:
        report = run(where if model else None, where, options, emit=output.emit)
        soaks = [
            soak_table(result.soak, emulated=result.measurement.emulated)
            for result in report.results
            if result.soak
        ]
        output.result(report.as_json(), *soaks, bench_table(report), *bench_lines(report))
    return 0 if report.valid or accepts_invalid(asked) else INVALID


def _refuse_choices(asked: dict[str, Any]) -> None:
    """Refuse what chooses among builds: without MODEL none is made."""
    from edgekit.core.errors import UsageError

    usual = {"engine": "auto", "precision": "fp32", "size": None, "threads": None}
    chosen = [f"--{name}" for name, value in usual.items() if asked[name] != value]
    if chosen:
        raise UsageError(
            f"{', '.join(chosen)}: without MODEL, what is active is measured as it is",
            hint="name the model: edgekit bench MODEL, or leave these options out",
        )


COMMAND = bench
