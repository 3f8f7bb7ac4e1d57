"""``edgekit flash --method NAME``: what it asks, and what it says then."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edgekit.app.flash_board import BoardPlan
    from edgekit.app.flash_setup import Setup


def run_board(
    image: str | None, asked: dict[str, Any], setup: "Setup | None", *, in_json: bool
) -> int:
    """Put an image onto the board that waits for it; return the exit status.

    Raises:
        UsageError: what was asked for cannot be meant, or nobody said yes.
        FlashError: no board waits, or it did not take the image.
    """
    from edgekit.app.flash_board import BoardOptions, flash_board, plan_board
    from edgekit.catalog.settings import settings
    from edgekit.cli.output import make_output
    from edgekit.cli.views.flash import board_lines

    target = asked["target"] or settings().target
    if target is None:
        raise click.UsageError("no target is named: --target says which board waits")
    if asked["to"] or asked["allow_system_disk"]:
        raise click.UsageError("--to is for disks; a board that waits is named by its --port")
    plan = plan_board(
        BoardOptions(
            method=asked["method"],
            target=target,
            image=image,
            port=asked["port"],
            sha256=asked["sha256"],
            block_map=asked["block_map"],
            inspect=not asked["no_inspect"],
            verify=not asked["no_verify"],
            options=_options(asked["method_options"]),
            setup=setup,
        )
    )
    _confirm(plan, yes=asked["yes"], in_json=in_json)
    with make_output(in_json=in_json) as output:
        flashed = flash_board(plan, emit=output.emit)
        output.result(flashed.as_json(), *board_lines(flashed))
    return 0


def _options(given: tuple[str, ...]) -> dict[str, str]:
    found = {}
    for text in given:
        key, equals, value = text.partition("=")
        if not equals or not key or not value:
            raise click.UsageError(f"--option {text!r} is not KEY=VALUE")
        found[key] = value
    return found


def _confirm(plan: "BoardPlan", *, yes: bool, in_json: bool) -> None:
    import sys

    from edgekit.core.errors import UsageError

    if in_json and yes:
        return
    unit = plan.unit
    click.echo(f"image   {plan.options.image or 'the system that the method brings'}", err=True)
    click.echo(f"target  {plan.target.name}: {plan.target.title}", err=True)
    serial = f", serial {unit.serial}" if unit.serial else ""
    click.echo(f"board   {unit.title} at {unit.port}{serial}, {unit.state}", err=True)
    if yes:
        return
    if in_json or not sys.stdin.isatty():
        raise UsageError(
            "nobody is there to be asked whether this board may be erased",
            hint="look at what is shown, then say --yes",
        )
    asked = f"All that the board at {unit.port} holds will be lost. Type yes to go on"
    if click.prompt(asked, default="", err=True).strip().lower() != "yes":
        raise UsageError("nothing was written: the answer was not yes", hint="type the whole word")
