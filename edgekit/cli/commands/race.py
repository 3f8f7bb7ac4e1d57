"""``edgekit race MODEL``: race every engine and precision with MODEL on a device."""

from typing import Any

import click

from edgekit.cli.options import device_options, trial_options


@click.command()
@click.argument("model")
@device_options
@trial_options
def race(model: str, in_json: bool, **asked: Any) -> int:  # noqa: ANN401 - click hands over whatever was declared
    """Race every engine and precision with MODEL on a device; activate nothing.

    MODEL is a recipe's name (see edgekit recipes) or the path of an ONNX file. What was measured
    before on the same device is not measured again (--fresh does).
    """
    from edgekit.app.race import race as run
    from edgekit.cli.output import make_output
    from edgekit.cli.racing import exit_code, race_options
    from edgekit.report.candidates import candidate_table, summary_lines

    options = race_options(model, asked, activate=False)
    with make_output(in_json=in_json) as output:
        report = run(options, emit=output.emit)
        output.result(report.as_json(), candidate_table(report), *summary_lines(report))
    return exit_code(report, asked)


COMMAND = race
