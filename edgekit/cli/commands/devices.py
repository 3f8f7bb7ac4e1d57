"""``edgekit devices add|list|probe|remove``: keep your boards under names, and see how they are."""

from pathlib import Path

import click

from edgekit.cli.options import accept_new_option, json_option, target_option


@click.group()
def devices() -> None:
    """Keep the boards on your desk and in the field under names."""


@devices.command()
@click.argument("name")
@click.argument("address")
@target_option
@click.option("--identity", type=click.Path(path_type=Path), help="Private key to offer first.")
@click.option("--proxy-jump", metavar="HOST", help="Go through HOST, as with ssh -J.")
@click.option("--note", default="", help="A remark for people.")
@json_option
def add(
    name: str,
    address: str,
    target: str | None,
    identity: Path | None,
    proxy_jump: str | None,
    note: str,
    in_json: bool,
) -> None:
    """Keep the board at ADDRESS ([user@]host[:port]) under NAME."""
    from edgekit.app.inventory import add_to_inventory
    from edgekit.cli.output import make_output
    from edgekit.cli.views.inventory import entry_facts, entry_line

    entry = add_to_inventory(
        name, address, target=target, identity_file=identity, proxy_jump=proxy_jump, note=note
    )
    make_output(in_json=in_json).result(entry_facts(entry), f"added {entry_line(entry)}")


@devices.command("list")
@json_option
def list_(in_json: bool) -> None:
    """List the boards that are known by name."""
    from edgekit.catalog.devices import load_devices
    from edgekit.cli.output import make_output
    from edgekit.cli.views.inventory import entry_facts, entry_table

    entries = load_devices()
    output = make_output(in_json=in_json)
    shown = entry_table(entries) if entries else "none yet: edgekit devices add NAME user@host"
    output.result({"devices": [entry_facts(entry) for entry in entries]}, shown)


@devices.command()
@click.argument("device")
@target_option
@accept_new_option
@json_option
def probe(device: str, target: str | None, accept_new: bool, in_json: bool) -> None:
    """Read what DEVICE is (a name, user@host, virtual or local), and which target fits it."""
    from edgekit.app.inventory import probe as run
    from edgekit.cli.output import make_output
    from edgekit.cli.views.inventory import facts_lines, probe_facts

    with make_output(in_json=in_json) as output:
        found = run(device, target, accept_new=accept_new, emit=output.emit)
        output.result(
            probe_facts(found.facts, found.target), *facts_lines(found.facts, found.target)
        )


@devices.command()
@click.argument("name")
@json_option
def remove(name: str, in_json: bool) -> None:
    """Forget the board NAME. Nothing is changed on the board itself."""
    from edgekit.catalog.devices import remove_device
    from edgekit.cli.output import make_output

    remove_device(name)
    make_output(in_json=in_json).result({"removed": name}, f"removed {name}")


COMMAND = devices
