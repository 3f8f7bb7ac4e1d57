"""``edgekit cache show|prune``: show what takes how much of the cache, remove what is old."""

import math
import re
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.options import json_option

if TYPE_CHECKING:
    from edgekit.app.cache_removal import Removal

_KINDS = ("boards", "toolboxes", "builds", "data", "devices", "images", "logs")
_SECONDS = {"m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}


class Age(click.ParamType[float]):
    """A time such as ``30d``, ``2w`` or ``12h``."""

    name = "age"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's own signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> float:
        """Return seconds."""
        found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)([mhdw])", str(value).strip())
        age_s = float(found[1]) * _SECONDS[found[2]] if found else math.nan
        if not math.isfinite(age_s):
            self.fail(f"{value!r} is no age such as 30d, 2w or 12h", param, ctx)
        return age_s


_age_option = click.option(
    "--older-than",
    "older_than_s",
    type=Age(),
    default="30d",
    show_default=True,
    metavar="AGE",
    help="What was not used for that long is old.",
)


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def cache(context: click.Context, in_json: bool) -> None:
    """Show what takes how much of the cache, and remove what is old.

    Alone it is the same as show.
    """
    if context.invoked_subcommand is None:
        context.invoke(show, older_than_s=Age().convert("30d", None, None), in_json=in_json)
    elif in_json:
        raise click.UsageError(f"--json goes behind {context.invoked_subcommand}")


@cache.command()
@_age_option
@json_option
def show(older_than_s: float, in_json: bool) -> None:
    """Show what takes how much of the cache, and how much of it is old."""
    from edgekit.app.cache import overview
    from edgekit.cli.output import make_output
    from edgekit.cli.views.cache import overview_facts, overview_parts

    found = overview(older_than_s)
    make_output(in_json=in_json).result(overview_facts(found), *overview_parts(found))


@cache.command()
@_age_option
@click.option(
    "--kind",
    "kinds",
    type=click.Choice(_KINDS),
    multiple=True,
    help="Only things of this kind; may be given again. Default: all.",
)
@click.option("--dry-run", is_flag=True, help="Only show what would be removed.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
def prune(
    older_than_s: float, kinds: tuple[Any, ...], dry_run: bool, yes: bool, in_json: bool
) -> None:
    """Remove what is old and can be made or fetched again.

    Superseded parts of virtual boards and toolboxes go a day after their last use. What somebody
    uses now stays, and so do virtual boards' own files, tuning records, results and deployments.
    """
    from edgekit.app.cache_removal import plan_removal, remove
    from edgekit.cli.output import make_output
    from edgekit.cli.views.cache import removal_facts, removal_parts

    chosen = kinds or _KINDS
    planned = plan_removal(older_than_s, chosen)
    if dry_run or not planned.entries:
        output = make_output(in_json=in_json)
        output.result(removal_facts(planned, dry_run=dry_run), *removal_parts(planned, done=False))
        return
    _confirm(planned, yes=yes, in_json=in_json)
    with make_output(in_json=in_json) as output:
        removed = remove(planned, older_than_s, chosen, emit=output.emit)
        output.result(removal_facts(removed, dry_run=False), *removal_parts(removed, done=True))


def _confirm(planned: "Removal", *, yes: bool, in_json: bool) -> None:
    """Show what goes, and ask; where nobody can answer, only --yes goes on."""
    import sys

    from edgekit.cli.views.cache import removal_parts
    from edgekit.core.errors import UsageError

    if yes:
        return
    for part in removal_parts(planned, done=False):
        click.echo(part if isinstance(part, str) else part.plain(), err=True)
    if in_json or not sys.stdin.isatty():
        raise UsageError(
            "nobody is there to be asked whether these may be removed",
            hint="look at what is shown, then say --yes",
        )
    if not click.confirm("Remove them?", err=True):
        raise UsageError("nothing was removed: the answer was not yes", hint="--yes does not ask")


COMMAND = cache
