"""``edgekit flash --station FILE``: what it asks, when it ends, and what it says then."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from edgekit.app.station import Ending
    from edgekit.app.station_recipe import StationRecipe

_FAILED: Final = 3


def run_station_file(file: Path, *, yes: bool, in_json: bool) -> int:
    """Flash unit after unit as a recipe says; return the exit status.

    Raises:
        UsageError: the recipe is wrong, or nobody said yes.
        FlashError: the image cannot be used.
    """
    from edgekit.app.station import Ending, run_station
    from edgekit.app.station_recipe import read_station
    from edgekit.cli.output import make_output
    from edgekit.cli.views.station import report_line, unit_table

    recipe = read_station(file)
    _confirm(recipe, yes=yes, in_json=in_json)
    ending = Ending()
    with make_output(in_json=in_json) as output, _interrupts(ending):
        report = run_station(recipe, emit=output.emit, ending=ending)
        shown = (unit_table(report), report_line(report)) if report.units else ("no unit came",)
        output.result(report.as_json(), *shown)
    return 0 if report.ok else _FAILED


def _confirm(recipe: "StationRecipe", *, yes: bool, in_json: bool) -> None:
    """Say once for all units what will be erased, and ask."""
    import sys

    from edgekit.cli.views.station import plan_lines
    from edgekit.core.errors import UsageError

    if in_json and yes:
        return
    for line in plan_lines(recipe):
        click.echo(line, err=True)
    if yes:
        return
    if in_json or not sys.stdin.isatty():
        raise UsageError(
            "nobody is there to be asked whether units may be erased as they come",
            hint="look at what is shown, then say --yes",
        )
    asked = "All that is on each of them will be lost, without a further question. Type yes"
    if click.prompt(asked, default="", err=True).strip().lower() != "yes":
        raise UsageError("nothing was written: the answer was not yes", hint="type the whole word")


@contextmanager
def _interrupts(ending: "Ending") -> Iterator[None]:
    """Have Ctrl-C end the station: once, running units finish; twice, they are given up.

    Before units are waited for, it ends the command as it ends any other.
    """

    def ask(*_: object) -> None:
        if not ending.waited:
            raise KeyboardInterrupt
        ending.ask()
        last = ending.stopping()
        click.echo(
            "\nrunning units are given up"
            if last
            else "\nrunning units finish; Ctrl-C once more gives them up",
            err=True,
        )

    before = signal.signal(signal.SIGINT, ask)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
