"""``edgekit flash IMAGE --to DISK``: write an image to disks, verified, or to boards over USB."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.options import json_option, target_option

if TYPE_CHECKING:
    from edgekit.app.flash import FlashPlan
    from edgekit.app.flash_setup import Setup

_PASSWORD_VARIABLE = "EDGEKIT_WIFI_PASSWORD"  # noqa: S105 - the variable's name
_EXIT_FAILED = 3
# The options that say what the device is to be; any of them has the image edited.
_SETUP = (
    "hostname", "user", "ssh_keys", "wifi", "wifi_country", "name", "address", "replace", "bundle",
)  # fmt: skip


@click.command()
@click.argument("image", required=False)
@click.option("--list", "list_", is_flag=True, help="List the disks that are here, and end.")
@click.option(
    "--to",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="DISK",
    help="Disk such as /dev/sdX, or a file that stands for one; may be given again.",
)
@target_option
@click.option(
    "--station",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Flash card after card, board after board, as FILE says, until Ctrl-C.",
)
@click.option(
    "--method",
    metavar="NAME",
    help="How a board that waits on USB is flashed: rockusb, rpiboot or jetson.",
)
@click.option(
    "--port", metavar="PORT", help="Socket of that board, such as 1-1.2, if several wait."
)
@click.option(
    "--option",
    "method_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="Something the method wants to know, such as loader=FILE; may be given again.",
)
@click.option("--sha256", metavar="HEX", help="What the image, or its archive, must be.")
@click.option("--bmap", "block_map", metavar="FILE|URL", help="Block map; default: one beside it.")
@click.option("-y", "--yes", is_flag=True, help="Do not ask.")
@click.option("--hostname", metavar="NAME", help="Host name; default: --name.")
@click.option("--user", metavar="NAME", help="User who logs in; default: edge.")
@click.option(
    "--ssh-key",
    "ssh_keys",
    multiple=True,
    metavar="FILE|KEY",
    help="Public key that may log in; may be given again.",
)
@click.option(
    "--wifi",
    metavar="SSID",
    help=f"Network to join; its password is asked for, or read from ${_PASSWORD_VARIABLE}.",
)
@click.option(
    "--wifi-password-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="File whose first line is the password.",
)
@click.option("--wifi-open", is_flag=True, help="The network has no password.")
@click.option("--wifi-country", metavar="CC", help="Where the device stands, such as DE.")
@click.option("--name", metavar="NAME", help="Keep the device in edgekit devices under NAME.")
@click.option(
    "--address",
    metavar="HOST[:PORT]",
    help="Where it will be reached; default: its host name in .local.",
)
@click.option("--replace", is_flag=True, help="It takes the place of the device of that NAME.")
@click.option("--bundle", metavar="MODEL", help="Recipe or ONNX file to be active at first boot.")
@click.option(
    "--allow-system-disk",
    is_flag=True,
    help="Let a disk through that is built in; never one that is mounted or in use.",
)
@click.option("--no-inspect", is_flag=True, help="Write an image that is not recognised.")
@click.option("--no-verify", is_flag=True, help="Do not read back what was written.")
@json_option
def flash(image: str | None, in_json: bool, list_: bool, **asked: Any) -> int:  # noqa: ANN401 - click hands over whatever was declared
    """Write IMAGE, a file or URL, packed or not, to disks; then read it back from them.

    The disks are shown and a yes is asked for before anything is erased. Any of --hostname,
    --user, --ssh-key, --wifi, --name and --bundle has a copy of the image edited first, so that
    the device starts as what you say.

    \b
    edgekit flash --list
    edgekit flash raspios.img.xz --to /dev/sdX --target rpi4
    edgekit flash raspios.img.xz --to /dev/sdX --target rpi4 --name bench-pi \\
        --ssh-key ~/.ssh/id_ed25519.pub --wifi workshop
    edgekit flash image.img.xz --method rockusb --target rk3588 --option loader=loader.bin
    edgekit flash --station station.toml
    """  # noqa: D301 - click reads the \b
    from edgekit.cli.output import make_output

    if list_:
        _list(in_json=in_json)
        return 0
    if asked["station"] is not None:
        return _station(image, asked, in_json=in_json)
    if asked["method"] is not None:
        from edgekit.cli.board_flashing import run_board

        return run_board(image, asked, _setup(asked), in_json=in_json)
    if asked["port"] or asked["method_options"]:
        raise click.UsageError("--port and --option are for a board that waits: --method NAME")
    if image is None:
        raise click.UsageError("name an IMAGE, or --list the disks")
    from edgekit.app.flash import FlashOptions, plan_flash
    from edgekit.app.flash import flash as run
    from edgekit.cli.views.flash import flashed_lines

    options = FlashOptions(
        image=image,
        to=asked["to"],
        target=asked["target"],
        sha256=asked["sha256"],
        block_map=asked["block_map"],
        allow_system=asked["allow_system_disk"],
        inspect=not asked["no_inspect"],
        verify=not asked["no_verify"],
        setup=_setup(asked),
    )
    plan = plan_flash(options)
    _confirm(plan, yes=asked["yes"], in_json=in_json)
    with make_output(in_json=in_json) as output:
        flashed = run(plan, emit=output.emit)
        output.result(flashed.as_json(), *flashed_lines(flashed))
    return 0 if flashed.ok else _EXIT_FAILED


def _station(image: str | None, asked: dict[str, Any], *, in_json: bool) -> int:
    from edgekit.cli.stationing import run_station_file

    given = [key for key, value in asked.items() if value and key not in {"station", "yes"}]
    if image is not None or given:
        said = ", ".join(["IMAGE"] * (image is not None) + given)
        raise click.UsageError(f"a station's file says it all, and cannot be given {said} besides")
    return run_station_file(asked["station"], yes=asked["yes"], in_json=in_json)


def _list(*, in_json: bool) -> None:
    from edgekit.app.flash import list_disks
    from edgekit.cli.output import make_output
    from edgekit.cli.views.flash import disk_table

    disks = list_disks()
    shown = disk_table(disks, refusals=True) if disks else "no disk is here"
    make_output(in_json=in_json).result({"disks": [each.as_json() for each in disks]}, shown)


def _confirm(plan: "FlashPlan", *, yes: bool, in_json: bool) -> None:
    """Show what will be erased, and ask; where nobody can answer, only --yes goes on."""
    import sys

    from edgekit.cli.views.flash import disk_table, plan_lines, question
    from edgekit.core.errors import UsageError

    if in_json and yes:
        return
    for line in (*plan_lines(plan), disk_table(plan.disks).plain()):
        click.echo(line, err=True)
    if yes:
        return
    if in_json or not sys.stdin.isatty():
        raise UsageError(
            "nobody is there to be asked whether these disks may be erased",
            hint="look at what is shown, then say --yes",
        )
    answer = click.prompt(question([each.disk for each in plan.disks]), default="", err=True)
    if answer.strip().lower() != "yes":
        raise UsageError("nothing was written: the answer was not yes", hint="type the whole word")


def _setup(asked: dict[str, Any]) -> "Setup | None":
    from edgekit.app.flash_setup import DEFAULT_USER, Setup

    # Of a script whose variable is not set: it must not go on as if nothing had been asked for.
    for key in _SETUP:
        if asked[key] == "" or (key == "ssh_keys" and "" in asked[key]):
            named = key.replace("_", "-").replace("keys", "key")
            raise click.UsageError(f"--{named} is given, and is empty")
    given = {key: asked[key] for key in _SETUP if asked[key]}
    if not asked["wifi"] and (asked["wifi_password_file"] or asked["wifi_open"]):
        raise click.UsageError("a Wi-Fi password is for a network: --wifi SSID")
    if not given:
        return None
    return Setup(
        **{"user": DEFAULT_USER, **given},
        wifi_password=_wifi_password(asked) if asked["wifi"] else None,
    )


def _wifi_password(asked: dict[str, Any]) -> str | None:
    """Return the network's password, which is never an argument: every user sees those."""
    import os
    import sys

    from edgekit.app.flash_setup import read_wifi_password

    file = asked["wifi_password_file"]
    if asked["wifi_open"]:
        if file is not None:
            raise click.UsageError("--wifi-open says that there is no password to read")
        return None
    if file is not None:
        return read_wifi_password(file)
    told = os.environ.get(_PASSWORD_VARIABLE)
    if told is not None:
        return told
    if not sys.stdin.isatty():
        raise click.UsageError(
            f"the password of {asked['wifi']} is not known: ${_PASSWORD_VARIABLE}, "
            "--wifi-password-file, or --wifi-open"
        )
    answer: str = click.prompt(f"Password of {asked['wifi']}", hide_input=True, err=True)
    return answer


COMMAND = flash
