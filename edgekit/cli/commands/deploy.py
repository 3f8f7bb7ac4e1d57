"""``edgekit deploy MODEL``: build MODEL for a board, race it there, activate the winner."""

from typing import Any

import click

from edgekit.cli.options import device_options, trial_options


@click.command()
@click.argument("model")
@device_options
@trial_options
@click.option("--no-activate", is_flag=True, help="Measure only; leave the device as it is.")
def deploy(model: str, in_json: bool, **asked: Any) -> int:  # noqa: ANN401 - click hands over whatever was declared
    """Build MODEL for a board, measure every candidate there, activate the winner.

    MODEL is a recipe's name (see edgekit recipes) or the path of an ONNX file.
    """
    from edgekit.app.deploy import deploy as run
    from edgekit.cli.output import make_output
    from edgekit.cli.racing import exit_code, race_options
    from edgekit.report.candidates import candidate_table, summary_lines

    options = race_options(model, asked, activate=not asked["no_activate"])
    with make_output(in_json=in_json) as output:
        report = run(options, emit=output.emit)
        output.result(report.as_json(), candidate_table(report), *summary_lines(report))
    return exit_code(report, asked)


COMMAND = deploy
