"""``edgekit targets [NAME]``: list the kinds of board, or show one."""

import click

from edgekit.cli.options import json_option


@click.command()
@click.argument("name", required=False)
@json_option
def targets(name: str | None, in_json: bool) -> None:
    """List the kinds of board, or show all that is known of NAME."""
    from dataclasses import asdict

    from edgekit.catalog.targets import load_target, target_names
    from edgekit.cli.output import make_output
    from edgekit.report.catalog import target_lines, target_table

    output = make_output(in_json=in_json)
    if name:
        target = load_target(name)
        output.result(_plain(asdict(target)), *target_lines(target))
    else:
        found = [load_target(each) for each in target_names()]
        output.result({"targets": [_plain(asdict(each)) for each in found]}, target_table(found))


def _plain(facts: dict[str, object]) -> dict[str, object]:
    return {**facts, "defined_in": str(facts["defined_in"])}


COMMAND = targets
