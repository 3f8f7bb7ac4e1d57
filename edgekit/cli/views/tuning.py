"""A session of tuning as a table and lines. Instructions are shown as such, never as a speed."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.cli.views.records import amount
from edgekit.report.table import Column, Table

if TYPE_CHECKING:
    from edgekit.app.tune import TuneReport
    from edgekit.tune.record import CostKind
    from edgekit.tune.session import Tuned
    from edgekit.tune.tasks import Task

_SHOWN = 12
_FAR = 1e18  # a cost that none has, for what has none
_UNITS: Mapping["CostKind", str] = {"seconds": "s", "instructions": "instructions"}
_NEXT: Mapping["CostKind", str] = {
    "seconds": "; edgekit race tells what that comes to",
    "instructions": "",
}
_EMULATED: Mapping["CostKind", str] = {
    "seconds": "these are times of an emulated processor, which no board has",
    "instructions": "counted on an emulated processor: they rank schedules, and are no speed",
}
_STOPS = {
    "trials": "all trials that were asked for are done",
    "time": "the time is up",
    "exhausted": "nothing is left to try",
    "interrupted": "interrupted; the same command goes on from here",
}


def tuning_facts(report: "TuneReport") -> Mapping[str, Any]:
    """What a session came to, as plain JSON values."""
    tuned, cost = report.tuned, report.scope.cost
    unit = _UNITS[cost]
    return {
        "model": report.model,
        "target": report.scope.fingerprint.target,
        "emulated": report.emulated,
        "cost": cost,
        "records": str(report.records),
        "stop": tuned.stop,
        "trials": tuned.trials,
        "failures": tuned.failures,
        "seconds": tuned.seconds,
        f"model_{unit}": _known(tuned.cost) if tuned.tasks else None,
        f"first_{unit}": _known(_first_cost(tuned)) if tuned.tasks else None,
        "tasks": [_task_facts(task, unit) for task in tuned.tasks],
    }


def tuning_parts(report: "TuneReport") -> tuple["Table | str", ...]:
    """What a session came to, for people."""
    tuned, cost = report.tuned, report.scope.cost
    rate = f", {tuned.trials / tuned.seconds:.1f} a second" if tuned.trials else ""
    failed = f", {tuned.failures} failed" if tuned.failures else ""
    lines = [f"{amount(tuned.trials, 'trial')}{failed}{rate}: {_STOPS[tuned.stop]}"]
    if not tuned.tasks:
        lines.append(f"{report.model}: it has no function that tuning could make faster")
    elif math.isfinite(tuned.cost):
        lines.append(
            f"{report.model}: {_whole(tuned.cost, cost)} by the best of each task, "
            f"{_whole(_first_cost(tuned), cost)} by their first trials{_NEXT[cost]}"
        )
        if report.emulated:
            lines.append(_EMULATED[cost])
    else:
        missing = sum(not math.isfinite(task.best) for task in tuned.tasks)
        lines.append(f"{amount(missing, 'task')} without a success yet: tune on")
    tried = [task for task in tuned.tasks if task.trials]
    if not tried:
        return (*lines, f"in {report.records}")
    costly = sorted(tried, key=lambda task: -task.weight * min(task.best, _FAR))
    if len(tried) > _SHOWN:
        more = amount(len(tried) - _SHOWN, "task")
        lines.insert(0, f"{more} more cost less: edgekit records list --tasks")
    return (_table(costly[:_SHOWN], cost), *lines, f"in {report.records}")


def _table(tasks: "Sequence[Task]", cost: "CostKind") -> Table:
    timed = cost == "seconds"
    columns = (
        Column("task"),
        Column("times", numeric=True),
        Column("trials", numeric=True),
        Column("first us" if timed else "first instructions", numeric=True),
        Column("best us" if timed else "best instructions", numeric=True),
        Column("GFLOPS" if timed else "FLOP/instruction", numeric=True),
    )
    rows = tuple(
        (
            task.name,
            str(task.weight),
            str(task.trials),
            _cost(_first(task), cost),
            _cost(task.best, cost),
            _rate(task, cost) if math.isfinite(task.best) else "",
        )
        for task in tasks
    )
    return Table(columns, rows)


def _task_facts(task: "Task", unit: str) -> Mapping[str, Any]:
    return {
        "hash": task.structural_hash,
        "name": task.name,
        "weight": task.weight,
        "flops": task.flops,
        "trials": task.trials,
        f"first_{unit}": _known(_first(task)),
        f"best_{unit}": _known(task.best),
    }


def _first(task: "Task") -> float:
    """Cost of the first trial that succeeded."""
    return next((cost for cost in task.bests if math.isfinite(cost)), math.inf)


def _first_cost(tuned: "Tuned") -> float:
    return math.fsum(task.weight * _first(task) for task in tuned.tasks)


def _known(cost: float) -> float | None:
    # JSON knows no infinity.
    return cost if math.isfinite(cost) else None


def _whole(cost: float, kind: "CostKind") -> str:
    return f"{cost * 1e3:.3g} ms" if kind == "seconds" else f"{cost:,.0f} instructions"


def _cost(cost: float, kind: "CostKind") -> str:
    if not math.isfinite(cost):
        return ""
    return f"{cost * 1e6:.4g}" if kind == "seconds" else f"{cost:,.0f}"


def _rate(task: "Task", kind: "CostKind") -> str:
    rate = task.flops / task.best
    return f"{rate / 1e9:.1f}" if kind == "seconds" else f"{rate:.2f}"
