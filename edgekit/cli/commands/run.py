"""``edgekit run IMAGE...``: have what is active on a device answer your images."""

from pathlib import Path

import click

from edgekit.cli.options import device_options


@click.command()
@click.argument(
    "images",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="IMAGE...",
)
@device_options
def run(
    images: tuple[Path, ...],
    target: str | None,
    device: str | None,
    accept_new: bool,
    in_json: bool,
) -> None:
    """Run what is active on a device on IMAGEs, and print its answers."""
    from edgekit.app.run_active import run_active
    from edgekit.cli.output import make_output
    from edgekit.report.answers import answer_facts, answer_table

    with make_output(in_json=in_json) as output:
        outcome = run_active(images, device, target, accept_new=accept_new, emit=output.emit)
        answers = [(str(each.image), each.answers) for each in outcome.images]
        facts = {"device": outcome.device, "bundle": outcome.bundle, "model": outcome.name}
        output.result(
            {**facts, "images": answer_facts(answers, outcome.classes)},
            answer_table(answers, outcome.classes),
        )


COMMAND = run
