"""Options that verbs share, each written once."""

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Amount(click.FloatRange):
    """A number in a range. NaN is in none, though no comparison says so."""

    name = "number"  # in what is printed; click's own "float range" is a programmer's word

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's own signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> Any:  # noqa: ANN401 - as above
        """Refuse what is no number of the range."""
        number = super().convert(value, param, ctx)
        if math.isnan(number):
            self.fail(f"{value} is not a number", param, ctx)
        return number


_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


class Duration(click.ParamType[float]):
    """A time such as ``90s``, ``30m`` or ``2h``; without a letter, seconds."""

    name = "duration"

    def __init__(self, *, or_none: bool = False) -> None:
        self._or_none = or_none

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's own signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Return seconds."""
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", str(value).strip())
        if found is None or not (float(found[1]) or self._or_none):
            self.fail(f"{value!r} is no time such as 90s, 30m or 2h", param, ctx)
        return float(found[1]) * _SECONDS[found[2]]


class RailScope(click.ParamType[tuple[str, str]]):
    """A rail's label and what it covers, such as ``ina226 1-0040=board``."""

    name = "RAIL=SCOPE"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's own signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, str]:
        """Take label and scope apart; a label may hold an equals sign."""
        from edgekit.core.power import SCOPES

        label, _, scope = value.rpartition("=")
        if not label.strip() or scope not in SCOPES:
            scopes = ", ".join(SCOPES)
            self.fail(f"{value!r} is not RAIL=SCOPE, with one of {scopes} as its scope", param, ctx)
        return label.strip(), scope


json_option = click.option(
    "--json", "in_json", is_flag=True, help="Print JSON lines; the last one is the result."
)
target_option = click.option(
    "-t", "--target", metavar="NAME", help="Kind of board: see edgekit targets."
)
device_option = click.option(
    "-d",
    "--device",
    metavar="DEVICE",
    help="local, virtual[:NAME], user@host[:port] or a name from edgekit devices.",
)
accept_new_option = click.option(
    "--accept-new",
    is_flag=True,
    help="Trust an unknown host key at first sight, and remember it.",
)

size_option = click.option(
    "--size", metavar="N|HxW", help="Input size in pixels; default: the recipe's."
)
accept_licence_option = click.option(
    "--accept-licence",
    default="",
    metavar="A,B",
    help="Engines whose vendor's terms you have read and accept, such as rknn.",
)
calibration_option = click.option(
    "--calibration",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    metavar="DIR",
    help="Images on which int8's ranges are observed; default: the recipe's.",
)
calibration_count_option = click.option(
    "--calibration-count",
    type=click.IntRange(1, 100_000),
    metavar="N",
    help="On how many of them; default: the recipe's number.",
)
no_head_cut_option = click.option(
    "--no-head-cut", is_flag=True, help="Leave the decoding of a detector in the graph."
)


threads_option = click.option(
    "--threads",
    type=click.IntRange(1, 256),
    metavar="N",
    help="Threads of the engine; default: the cores of the fastest cluster.",
)
budget_option = click.option(
    "--budget",
    type=Duration(or_none=True),
    metavar="TIME",
    help="To wait and measure again what is not believed; default: 60s, 2m for bench.",
)
accept_invalid_option = click.option(
    "--accept-invalid",
    is_flag=True,
    help="Exit with 0 even where the times are not to be believed.",
)


def device_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every verb that talks to one device."""
    for option in (json_option, accept_new_option, device_option, target_option):
        function = option(function)
    return function


def trial_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of every verb that builds and measures candidates."""
    for option in reversed(_TRIAL):
        function = option(function)
    return function


_TRIAL: tuple[Decorator, ...] = (
    click.option(
        "-e", "--engine", default="auto", metavar="A,B", show_default=True, help="Engines to try."
    ),
    click.option(
        "-p",
        "--precision",
        default="auto",
        metavar="A,B",
        show_default=True,
        help="fp32, fp16, int8: those to try.",
    ),
    size_option,
    threads_option,
    click.option(
        "--goal",
        "goals",
        multiple=True,
        metavar="EXPR",
        help="Such as 'fps >= 10'; may be repeated, in order of priority.",
    ),
    click.option(
        "--max-drop",
        type=Amount(0, 1),
        metavar="X",
        help="Largest drop in accuracy that passes the gate; default: the recipe's.",
    ),
    click.option(
        "--images",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        metavar="DIR",
        help="Images to compare outputs on; default: the recipe's.",
    ),
    click.option(
        "--frames",
        type=click.IntRange(1, 10_000),
        metavar="N",
        help="Compare outputs on N images; default: the recipe's, 3 if emulated.",
    ),
    accept_licence_option,
    click.option(
        "--runs",
        type=click.IntRange(1, 1_000_000),
        metavar="N",
        help="Measure at least N runs.",
    ),
    click.option(
        "--seconds",
        type=Amount(0, 3600),
        metavar="S",
        help="Measure at least S seconds.",
    ),
    calibration_option,
    calibration_count_option,
    click.option(
        "--labels",
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        metavar="FILE",
        help="Labels of --images: COCO annotations (.json), or lines FILE LABEL.",
    ),
    click.option(
        "--evaluate",
        type=click.IntRange(1, 100_000),
        metavar="N",
        help="Tell accuracy on N images; default: the recipe's number, 20 if emulated.",
    ),
    no_head_cut_option,
    click.option(
        "--quick", is_flag=True, help="Each engine's defaults only; search for no settings."
    ),
    click.option("--fresh", is_flag=True, help="Measure again what was measured before."),
    budget_option,
    accept_invalid_option,
    click.option(
        "--timeout",
        type=Amount(1, 86_400),
        metavar="S",
        help="A run on the device that takes longer counts as hung; default: 600, emulated 3600.",
    ),
)
