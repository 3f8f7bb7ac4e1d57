"""``edgekit update``: bring a signed system to a running device's second slot."""

from pathlib import Path

import click

from edgekit.cli.options import Duration, device_options


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--return",
    "return_s",
    type=Duration(),
    default="5m",
    show_default=True,
    help="How long the device may take to come back.",
)
@device_options
def update(
    bundle: Path,
    return_s: float,
    target: str | None,
    device: str | None,
    accept_new: bool,
    in_json: bool,
) -> None:
    """Bring BUNDLE, a signed RAUC bundle, to a device that has two slots.

    The device restarts into it. The new system stays if it answers as the former one did; if
    not, the former one is back, and the command ends with 7.
    """
    from dataclasses import asdict

    from edgekit.app.ab_update import update_device
    from edgekit.app.devices import locate
    from edgekit.cli.output import make_output
    from edgekit.core.errors import RolledBackError

    with make_output(in_json=in_json) as output:
        located = locate(device, target)
        done = update_device(
            located, bundle, emit=output.emit, accept_new=accept_new, return_s=return_s
        )
        if done.outcome == "fell-back":
            raise RolledBackError(
                f"{located.name} runs its former system again: {done.reason}",
                hint="look at the new system's console; the device can take another update now",
            )
        text = f"{located.name} runs version {done.version} from slot {done.after}"
        output.result(asdict(done), f"{text} (before: slot {done.before})")


COMMAND = update
