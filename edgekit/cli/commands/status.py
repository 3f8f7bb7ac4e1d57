"""``edgekit status``: show what is active, and what rollback would bring back."""

import click

from edgekit.cli.options import device_options


@click.command()
@device_options
def status(target: str | None, device: str | None, accept_new: bool, in_json: bool) -> None:
    """Show what is active on a device, and what rollback would bring back."""
    from edgekit.app.status import device_status
    from edgekit.cli.output import make_output
    from edgekit.cli.views.status import status_facts, status_lines

    with make_output(in_json=in_json) as output:
        found = device_status(device, target, accept_new=accept_new, emit=output.emit)
        facts = status_facts(found.device, found.status)
        output.result(facts, *status_lines(found.device, found.status))


COMMAND = status
