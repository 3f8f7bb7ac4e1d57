"""Tuning records as tables and lines."""

import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgekit.report.table import Column, Table

if TYPE_CHECKING:
    from edgekit.app.records import Overview, Taken
    from edgekit.tune.record import CostKind, Fingerprint
    from edgekit.tune.summaries import ScopeSummary, TaskSummary

_PER_GIGA = 1e-9
_HOW_TO_GET = "edgekit records import FILE brings an export in, merge FILE a records.sqlite"


def overview_facts(found: "Overview") -> Mapping[str, Any]:
    """What there are records of, as plain JSON values."""
    scopes = [
        {**asdict(summary), "task_list": [_task_facts(task) for task in tasks]}
        for summary, tasks in found.scopes
    ]
    return {"path": str(found.path), "scopes": scopes}


def overview_parts(found: "Overview") -> tuple["Table | str", ...]:
    """What there are records of, for people."""
    if not found.scopes:
        return (f"no tuning records at {found.path}", _HOW_TO_GET)
    tables = (_task_table(summary, tasks) for summary, tasks in found.scopes if tasks)
    return (_scope_table([summary for summary, _ in found.scopes]), *tables, f"in {found.path}")


def taken_facts(taken: "Sequence[Taken]") -> Mapping[str, Any]:
    """What was taken over, as plain JSON values."""
    return {"taken": [asdict(each) for each in taken]}


def taken_lines(taken: "Sequence[Taken]") -> tuple[str, ...]:
    """What was taken over, a line a file."""
    return tuple(
        f"{each.source}: {amount(each.new, 'new trial') if each.new else 'nothing new'}"
        for each in taken
    )


def amount(count: int, what: str) -> str:
    """How many of something, in words."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def _task_facts(task: "TaskSummary") -> Mapping[str, Any]:
    # JSON knows no infinity.
    return {**asdict(task), "best": task.best if math.isfinite(task.best) else None}


def _scope_table(summaries: "Sequence[ScopeSummary]") -> Table:
    columns = (
        Column("target"),
        Column("core"),
        Column("threads", numeric=True),
        Column("clocks"),
        Column("TVM"),
        Column("pipeline"),
        Column("cost"),
        Column("tasks", numeric=True),
        Column("trials", numeric=True),
        Column("failed", numeric=True),
        Column("last"),
    )
    rows = tuple(
        (
            each.scope.fingerprint.target,
            _core(each.scope.fingerprint),
            str(each.scope.fingerprint.threads),
            _clocks(each.scope.fingerprint),
            each.scope.tvm,
            each.scope.pipeline,
            each.scope.cost,
            str(each.tasks),
            str(each.trials),
            str(each.failures),
            _day(each.last_s),
        )
        for each in summaries
    )
    return Table(columns, rows)


def _task_table(summary: "ScopeSummary", tasks: "Sequence[TaskSummary]") -> Table:
    cost = summary.scope.cost
    columns = (
        Column("task"),
        Column("trials", numeric=True),
        Column("failed", numeric=True),
        Column("best", numeric=True),
        Column("GFLOPS" if cost == "seconds" else "FLOP/instruction", numeric=True),
        Column("structural hash"),
    )
    rows = tuple(
        (
            task.task,
            str(task.trials),
            str(task.failures),
            _cost(task.best, cost),
            _rate(task, cost),
            task.structural_hash,
        )
        for task in tasks
    )
    place = summary.scope.fingerprint
    title = (
        f"\n{place.target}, {amount(place.threads, 'thread')}, TVM {summary.scope.tvm}, "
        f"pipeline {summary.scope.pipeline}, {cost}"
    )
    return Table(columns, rows, title)


def _core(place: "Fingerprint") -> str:
    return " ".join((place.mcpu, *place.features))


def _clocks(place: "Fingerprint") -> str:
    clocks = "/".join(map(str, place.clocks_mhz))
    return " ".join(part for part in (f"{clocks} MHz" if clocks else "", place.governor) if part)


def _cost(cost: float, kind: "CostKind") -> str:
    if not math.isfinite(cost):
        return "-"
    return f"{cost * 1e3:.3f} ms" if kind == "seconds" else f"{cost:.0f}"


def _rate(task: "TaskSummary", kind: "CostKind") -> str:
    if not math.isfinite(task.best) or not task.flops:
        return "-"
    rate = task.flops / task.best
    return f"{rate * _PER_GIGA:.2f}" if kind == "seconds" else f"{rate:.2f}"


def _day(at_s: float) -> str:
    try:
        return time.strftime("%Y-%m-%d %H:%M", time.gmtime(at_s))
    except (OverflowError, ValueError, OSError):  # a time that an import brought
        return "-"
