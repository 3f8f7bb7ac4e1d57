"""``edgekit compare RUN_A RUN_B``: explain why two runs differ, in words and numbers."""

import click

from edgekit.cli.options import json_option


@click.command()
@click.argument("first", metavar="RUN_A")
@click.argument("second", metavar="RUN_B")
@json_option
def compare(first: str, second: str, in_json: bool) -> None:
    """Explain the gap between two runs: what differs, and how much that accounts for.

    RUN_A and RUN_B are ids of runs that bench, race or deploy printed (or the beginning of one),
    or their folders; :ENGINE-PRECISION behind it chooses one of several candidates.
    """
    from edgekit.app.compare import compare_runs
    from edgekit.cli.output import make_output
    from edgekit.report.comparison import comparison_lines

    with make_output(in_json=in_json) as output:
        found = compare_runs(first, second)
        output.result(found.as_json(), *comparison_lines(found))


COMMAND = compare
