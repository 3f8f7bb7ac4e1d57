"""``edgekit rollback``: make active again what was active before."""

import click

from edgekit.cli.options import device_options


@click.command()
@device_options
def rollback(target: str | None, device: str | None, accept_new: bool, in_json: bool) -> None:
    """Make what was active before on a device active again."""
    from edgekit.app.status import roll_back
    from edgekit.cli.output import make_output
    from edgekit.cli.views.status import status_facts, status_lines

    with make_output(in_json=in_json) as output:
        found = roll_back(device, target, accept_new=accept_new, emit=output.emit)
        facts = status_facts(found.device, found.status)
        output.result(facts, *status_lines(found.device, found.status))


COMMAND = rollback
