"""``edgekit deploy MODEL``: the command that stands for all."""

from typing import TYPE_CHECKING, Any

import click

from edgekit.cli.options import device_options, trial_options

if TYPE_CHECKING:
    from edgekit.app.options import DeployOptions
    from edgekit.core.report import Report

_GATE_MISSED = 5
_ENGINE_FAILED = 4


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
    from edgekit.report.candidates import candidate_table, summary_lines

    options = _options(model, asked)
    with make_output(in_json=in_json) as output:
        report = run(options, emit=output.emit)
        output.result(report.as_json(), candidate_table(report), *summary_lines(report))
    return _exit_code(report)


def _options(model: str, asked: dict[str, Any]) -> "DeployOptions":
    from edgekit.app.options import (
        DeployOptions,
        bench_plan,
        parse_engines,
        parse_precisions,
        parse_size,
    )
    from edgekit.core.goal import parse_goal

    return DeployOptions(
        model=model,
        target=asked["target"],
        device=asked["device"],
        engines=parse_engines(asked["engine"]),
        precisions=parse_precisions(asked["precision"]),
        size=parse_size(asked["size"]) if asked["size"] else None,
        threads=asked["threads"],
        goals=tuple(parse_goal(goal) for goal in asked["goals"]),
        max_drop=asked["max_drop"],
        images=asked["images"],
        frames=asked["frames"],
        plan=bench_plan(runs=asked["runs"], seconds=asked["seconds"]),
        accept_new=asked["accept_new"],
        activate=not asked["no_activate"],
    )


def _exit_code(report: "Report") -> int:
    if report.chosen is not None:
        return 0
    ran = any(row.measurement is not None for row in report.candidates)
    return _GATE_MISSED if ran else _ENGINE_FAILED


COMMAND = deploy
