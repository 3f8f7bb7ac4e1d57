"""``edgekit cluster scheduler|worker``: have other machines compile for ``edgekit tune``."""

from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from typing import NoReturn

    from edgekit.app.cluster import Command


@click.group()
def cluster() -> None:
    """Have other machines compile for edgekit tune --workers dask://HOST:PORT.

    \b
    edgekit cluster scheduler --host 10.0.0.5        on one machine
    edgekit cluster worker 10.0.0.5:8786             on each that is to help
    """  # noqa: D301 - click reads the \b


@cluster.command()
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    metavar="ADDRESS",
    help="Address to listen on. Whoever reaches it can run programs on every worker.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=8786, show_default=True)
def scheduler(host: str, port: int) -> None:
    """Run the scheduler, which hands out the work, until Ctrl-C."""
    from edgekit.app.cluster import scheduler_command
    from edgekit.cli.output import make_output

    with make_output(in_json=False) as output:
        command = scheduler_command(host, port, emit=output.emit)
    _become(command)


@cluster.command()
@click.argument("address", metavar="HOST:PORT")
@click.option(
    "--processes",
    type=click.IntRange(1),
    metavar="N",
    help="Candidates to compile at once; default: one for each core.",
)
def worker(address: str, processes: int | None) -> None:
    """Compile what the scheduler at HOST:PORT hands out, until Ctrl-C."""
    from edgekit.app.cluster import worker_command
    from edgekit.cli.output import make_output

    with make_output(in_json=False) as output:
        command = worker_command(address, processes or 0, emit=output.emit)
    _become(command)


def _become(command: "Command") -> "NoReturn":
    """Put the server in the place of this process: signals and exit code are its own then."""
    import os

    os.execve(  # noqa: S606 - no shell is wanted
        command.arguments[0], command.arguments, dict(command.environment)
    )


COMMAND = cluster
