"""A flashing station's plan and report, as lines and a table."""

from typing import TYPE_CHECKING

from edgekit.cli.views.flash import size_words
from edgekit.report.table import Column, Table

if TYPE_CHECKING:
    from edgekit.app.station_recipe import StationRecipe
    from edgekit.app.station_report import StationReport, StationUnit


def plan_lines(recipe: "StationRecipe") -> tuple[str, ...]:
    """What will be done with each unit."""
    sockets = ", ".join(recipe.ports) or "any"
    lines = [
        f"image    {recipe.image or 'the system that the method brings'}",
        f"target   {recipe.target}",
        f"sockets  {sockets}; disks of at most {recipe.largest_gb:g} GB",
        f"units    {recipe.count or 'until Ctrl-C'}, named {recipe.name}",
    ]
    if not recipe.inspect:
        lines.append("         not inspected: nothing tells whether the image fits the target")
    lines.append("Every unit that is put in from now on is flashed; what is in already is not.")
    return tuple(lines)


def unit_table(report: "StationReport") -> Table:
    """One row per unit."""
    names = ("unit", "state", "port", "serial", "size", "time", "what")
    columns = tuple(Column(name, numeric=name in {"size", "time"}) for name in names)
    return Table(columns, tuple(_row(unit) for unit in report.units))


def report_line(report: "StationReport") -> str:
    """How many there are, and what to do with the others."""
    failed = len(report.units) - report.made
    if not failed:
        return f"{report.made} made, none failed"
    return f"{report.made} made, {failed} not: flash those anew before they are used"


def _row(unit: "StationUnit") -> tuple[str, ...]:
    checked = {"all": "read back and equal", "sample": "sample equal", "none": "not read back"}
    return (
        unit.name,
        unit.state,
        unit.port,
        unit.serial or "-",
        size_words(unit.size_bytes) if unit.size_bytes else "-",
        f"{unit.took_s:.0f} s",
        checked[unit.checked] if unit.state == "ok" else unit.error,
    )
