"""What deploy and race share: reading the options, and the exit status."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit.app.options import DeployOptions
    from edgekit.core.report import Report

_GATE_MISSED = 5
_ENGINE_FAILED = 4
INVALID = 6


def race_options(model: str, asked: dict[str, Any], *, activate: bool) -> "DeployOptions":
    """Read what was asked for on the command line.

    Raises:
        UsageError: a value cannot be meant.
    """
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
        accept_licence=parse_engines(asked["accept_licence"]),
        activate=activate,
        calibration=asked["calibration"],
        calibration_count=asked["calibration_count"],
        labels=asked["labels"],
        evaluate=asked["evaluate"],
        cut_head=not asked["no_head_cut"],
        quick=asked["quick"],
        fresh=asked["fresh"],
        repeat_budget_s=asked["budget"],
        timeout_s=asked["timeout"],
    )


def accepts_invalid(asked: "Mapping[str, Any]") -> bool:
    """Tell whether times that are not to be believed are no failure, by option or setting."""
    from edgekit.catalog.settings import settings

    return bool(asked["accept_invalid"]) or settings().accept_invalid


def exit_code(report: "Report", asked: "Mapping[str, Any]") -> int:
    """Return the exit status of a race.

    0 for a winner whose times may be believed, or are no claim (emulated); 6 for one whose times
    may not; 5 for a missed gate or goal, 4 where nothing ran at all.
    """
    if report.chosen is not None:
        claimed = not report.facts.emulated
        return INVALID if claimed and not report.valid and not accepts_invalid(asked) else 0
    ran = any(row.measurement is not None for row in report.candidates)
    return _GATE_MISSED if ran else _ENGINE_FAILED
