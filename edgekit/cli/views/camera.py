"""What became of a pipeline, and which cameras there are, as tables and lines."""

from typing import TYPE_CHECKING, Final

from edgekit.report.camera import figure_lines, stage_tables, what_if_table
from edgekit.report.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.app.camera_list import DeviceCameras
    from edgekit.app.camera_outcome import CameraOutcome

_UNREAD: Final = " (not read here)"
_MOST_UNREAD: Final = 10


def outcome_shown(outcome: "CameraOutcome") -> "Sequence[Table | str]":
    """Say where the time went, and where the record is."""
    shown: list[Table | str] = [_head(outcome), ""]
    for table in stage_tables(outcome.figures):
        shown += [table, ""]
    what_if = what_if_table(outcome.figures)
    if what_if.rows:
        shown += [what_if, ""]
    shown += figure_lines(outcome.figures)
    shown += [f"after {at_s:.1f} s: {runs} ({why})" for at_s, runs, why in outcome.switches]
    if outcome.watts is not None:
        shown.append(f"power: {outcome.watts:.2f} W, mean over the run")
    if outcome.hottest_c is not None and not outcome.emulated:
        shown.append(f"hottest: {outcome.hottest_c:.0f} degrees C")
    if outcome.broken:
        shown.append(f"it ended before its time: {outcome.broken}")
    elif outcome.stopped:
        shown.append("it was stopped before its time; the figures are of what was seen until then")
    shown += [f"not written: {each}" for each in outcome.unwritten]
    if outcome.answers is not None:
        shown.append(f"answers: {outcome.answers}")
    shown.append(f"record: {outcome.folder}")
    if outcome.trace is not None:
        shown.append(f"timeline: {outcome.trace} (open in ui.perfetto.dev)")
    return shown


def _head(outcome: "CameraOutcome") -> str:
    told = outcome.source
    rate = f" at {told['fps']:g} fps" if told.get("fps") else ""
    stamps = ", stamped on arrival" if told.get("timestamps") == "arrival" else ""
    small = outcome.decoded if outcome.decoded and outcome.decoded["by"] > 1 else None
    decoded = f", decoded at 1/{small['by']} ({small['width']}x{small['height']})" if small else ""
    runs = ", then ".join(runs for _bundle, runs in outcome.bundles)
    return (
        f"{told.get('name') or told.get('kind')} ({told.get('card') or told.get('driver')}): "
        f"{told.get('format')} {told.get('width')}x{told.get('height')}{rate}{stamps}{decoded} "
        f"through {outcome.model} on {runs}, {outcome.device}"
    )


def cameras_shown(found: "DeviceCameras") -> "Sequence[Table | str]":
    """One row for each format of a camera; what is no camera is told below."""
    rows = [
        (each.path, f"{each.card} ({each.driver})", form)
        for each in found.cameras
        for form in _forms(each.offered)
    ]
    columns = (Column("source"), Column("camera"), Column("offers"))
    shown: list[Table | str] = [Table(columns, _once(rows))] if rows else []
    if not rows:
        shown.append(f"no camera is on {found.device}")
    shown += [f"{path}: {why}" for path, why in found.refused]
    return shown


def _forms(offered: "Sequence[str]") -> "Sequence[str]":
    """Tell what cannot be read in one row: sensors offer the same in dozens of ways."""
    unread = dict.fromkeys(
        form.removesuffix(_UNREAD).rstrip() for form in offered if form.endswith(_UNREAD)
    )
    shown = [form for form in offered if not form.endswith(_UNREAD)]
    if unread:
        more = len(unread) - _MOST_UNREAD
        few = ", ".join(list(unread)[:_MOST_UNREAD]) + (f" and {more} more" if more > 0 else "")
        shown.append(few + _UNREAD)
    return shown or ["nothing"]


def _once(rows: "Sequence[tuple[str, str, str]]") -> tuple[tuple[str, ...], ...]:
    """Tell a camera's path and name in its first row alone."""
    told, before = [], ""
    for path, name, form in rows:
        told.append((path, name, form) if path != before else ("", "", form))
        before = path
    return tuple(told)
