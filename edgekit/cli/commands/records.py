"""``edgekit records list|export|import|merge``: look at tuning records, and carry them about."""

from pathlib import Path

import click

from edgekit.cli.options import json_option

_target_option = click.option(
    "-t", "--target", metavar="NAME", help="Only records of this kind of board."
)


@click.group()
def records() -> None:
    """Look at tuning records, and carry them from one machine to another."""


@records.command("list")
@_target_option
@click.option("--tasks", is_flag=True, help="Show every task with its best cost.")
@json_option
def list_(target: str | None, tasks: bool, in_json: bool) -> None:
    """List what there are records of: hardware, versions, trials."""
    from edgekit.app.records import overview
    from edgekit.cli.output import make_output
    from edgekit.cli.views.records import overview_facts, overview_parts

    with make_output(in_json=in_json) as output:
        found = overview(target, with_tasks=tasks, emit=output.emit)
        output.result(overview_facts(found), *overview_parts(found))


@records.command()
@click.argument("file", type=click.Path(dir_okay=False, allow_dash=True, path_type=Path))
@_target_option
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@json_option
def export(file: Path, target: str | None, force: bool, in_json: bool) -> None:
    """Write records to FILE as JSON lines; - is standard output."""
    from edgekit.app.records import export_records, export_to_file
    from edgekit.cli.output import make_output
    from edgekit.cli.views.records import amount
    from edgekit.core.errors import UsageError

    if _is_dash(file) and in_json:
        raise UsageError("--json and - both want standard output", hint="name a file")
    with make_output(in_json=in_json) as output:
        if _is_dash(file):
            with click.open_file("-", "w", encoding="utf-8") as stream:
                export_records(stream, target, emit=output.emit)
            return
        trials = export_to_file(file, target, force=force, emit=output.emit)
        output.result({"file": str(file), "trials": trials}, f"{file}: {amount(trials, 'trial')}")


@records.command("import")
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@json_option
def import_(file: Path, in_json: bool) -> None:
    """Take over FILE, which export wrote; - is standard input.

    All of it or nothing: wrong lines are told with their numbers. What is known already is not
    taken twice.
    """
    from edgekit.app.records import import_records
    from edgekit.cli.output import make_output
    from edgekit.cli.views.records import taken_facts, taken_lines

    name = "standard input" if _is_dash(file) else str(file)
    with (
        make_output(in_json=in_json) as output,
        click.open_file(str(file), encoding="utf-8") as stream,
    ):
        taken = import_records(stream, name, emit=output.emit)
        output.result(taken_facts((taken,)), *taken_lines((taken,)))


@records.command()
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@json_option
def merge(files: tuple[Path, ...], in_json: bool) -> None:
    """Take over other databases of records.

    FILE is a records.sqlite of another user or machine, or a damaged one that edgekit put aside:
    what can be read of it is taken. The files stay as they are. What is known already is not
    taken twice.
    """
    from edgekit.app.records import merge_records
    from edgekit.cli.output import make_output
    from edgekit.cli.views.records import taken_facts, taken_lines

    with make_output(in_json=in_json) as output:
        taken = merge_records(files, emit=output.emit)
        output.result(taken_facts(taken), *taken_lines(taken))


def _is_dash(file: Path) -> bool:
    return str(file) == "-"


COMMAND = records
