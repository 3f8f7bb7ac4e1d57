"""``edgekit recipes [NAME]``: list the models that edgekit knows, or show one."""

import click

from edgekit.cli.options import json_option


@click.command()
@click.argument("name", required=False)
@json_option
def recipes(name: str | None, in_json: bool) -> None:
    """List the models that edgekit knows, or show all that is known of NAME."""
    from edgekit.catalog.recipes import load_recipe, recipe_names
    from edgekit.cli.output import make_output
    from edgekit.report.catalog import recipe_facts, recipe_lines, recipe_table

    output = make_output(in_json=in_json)
    if name:
        recipe = load_recipe(name)
        output.result(recipe_facts(recipe), *recipe_lines(recipe))
    else:
        found = [load_recipe(each) for each in recipe_names()]
        output.result({"recipes": [recipe_facts(each) for each in found]}, recipe_table(found))


COMMAND = recipes
