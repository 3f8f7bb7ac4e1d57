"""``edgekit board up|down|list|ssh|count``: make and run virtual ARM boards on this machine."""

from pathlib import Path
from typing import Literal

import click

from edgekit.cli.options import json_option


@click.group()
def board() -> None:
    """Make, start and stop virtual ARM boards on this machine."""


@board.command()
@click.argument("target")
@click.option("--name", metavar="NAME", help="For several of one kind; default: the target's name.")
@click.option(
    "--kind",
    type=click.Choice(["user", "system"]),
    help="user: programs on this machine's kernel; system: a machine of its own, with Debian's "
    "kernel and its drivers. Default: what the board was, and user for a new one.",
)
@json_option
def up(
    target: str, name: str | None, kind: Literal["user", "system"] | None, in_json: bool
) -> None:
    """Make and start a virtual board of kind TARGET; one that is up stays so."""
    from edgekit.board import boards
    from edgekit.catalog.targets import load_target
    from edgekit.cli.output import make_output
    from edgekit.cli.views.boards import board_facts, board_lines

    with make_output(in_json=in_json) as output:
        running = boards.up(load_target(target), name=name, kind=kind, emit=output.emit)
        output.result(board_facts(running), *board_lines(running))


@board.command()
@click.argument("name")
@click.option("--wipe", is_flag=True, help="Remove its files too: the next up makes it anew.")
@json_option
def down(name: str, wipe: bool, in_json: bool) -> None:
    """Stop the virtual board NAME. What is on its disk stays; a system board sleeps."""
    from edgekit.board import user_mode
    from edgekit.cli.output import make_output

    output = make_output(in_json=in_json)
    user_mode.down(name, wipe=wipe)
    gone = f"{name} is down, and its files are gone" if wipe else f"{name} is down"
    output.result({"down": name, "wiped": wipe}, gone)


@board.command("list")
@json_option
def list_(in_json: bool) -> None:
    """List the virtual boards that are up."""
    from edgekit.board import user_mode
    from edgekit.cli.output import make_output
    from edgekit.cli.views.boards import board_facts, board_table

    boards = user_mode.list_boards()
    output = make_output(in_json=in_json)
    shown = board_table(boards) if boards else "none is up: edgekit board up TARGET"
    output.result({"boards": [board_facts(each) for each in boards]}, shown)


@board.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option("--root", "as_root", is_flag=True, help="As root, which system boards alone have.")
def ssh(name: str, command: tuple[str, ...], as_root: bool) -> None:
    """Log in to the virtual board NAME, or run COMMAND there.

    Write -- before a COMMAND that has options of its own.
    """
    import os

    from edgekit.board import user_mode

    argv = [*user_mode.ssh_command(name, as_root=as_root), *command]
    os.execvp(argv[0], argv)  # noqa: S606 - the user's terminal becomes ssh's


@board.command(context_settings={"ignore_unknown_options": True})
@click.argument("name")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@click.option(
    "--image",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Instead of a COMMAND: one inference on this image of what is deployed there.",
)
@click.option(
    "--env",
    "settings",
    metavar="NAME=VALUE",
    multiple=True,
    help="Set a variable of COMMAND's environment; may be given again.",
)
@click.option("--memory", is_flag=True, help="Count memory accesses and bytes too; slower.")
@json_option
def count(
    name: str,
    command: tuple[str, ...],
    image: Path | None,
    settings: tuple[str, ...],
    memory: bool,
    in_json: bool,
) -> None:
    """Count the instructions that COMMAND, or an inference, executes on the virtual board NAME.

    The same in every run, and no time: it ranks programs, it does not tell how fast one is.
    Write -- before a COMMAND that has options of its own.
    """
    from edgekit.app.counting import count_active, count_on_board
    from edgekit.cli.output import make_output
    from edgekit.cli.views.counts import count_facts, count_table

    if (image is None) == (not command) or (image and settings):
        raise click.UsageError("give a COMMAND (which --env is for) or an --image")
    for text in settings:
        if not text.partition("=")[0] or "=" not in text:
            raise click.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="--env")
    environment = dict(text.split("=", 1) for text in settings)
    with make_output(in_json=in_json) as output:
        if image is not None:
            counted = count_active(name, image, memory=memory, emit=output.emit)
        else:
            counted = count_on_board(
                name, command, environment=environment, memory=memory, emit=output.emit
            )
        output.result(count_facts(counted), count_table(counted))


COMMAND = board
