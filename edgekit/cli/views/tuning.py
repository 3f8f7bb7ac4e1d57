"""A session of tuning as a table and lines."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgekit.cli.views.records import amount
from edgekit.report.table import Column, Table

if TYPE_CHECKING:
    from edgekit.app.tune import TuneReport
    from edgekit.tune.session import Tuned
    from edgekit.tune.tasks import Task

_SHOWN = 12
_STOPS = {
    "trials": "all trials that were asked for are done",
    "time": "the time is up",
    "exhausted": "nothing is left to try",
    "interrupted": "interrupted; the same command goes on from here",
}


def tuning_facts(report: "TuneReport") -> Mapping[str, Any]:
    """What a session came to, as plain JSON values."""
    tuned = report.tuned
    return {
        "model": report.model,
        "target": report.scope.fingerprint.target,
        "emulated": report.emulated,
        "records": str(report.records),
        "stop": tuned.stop,
        "trials": tuned.trials,
        "failures": tuned.failures,
        "seconds": tuned.seconds,
        "model_s": _known(tuned.cost_s),
        "first_s": _known(_first_cost_s(tuned)),
        "tasks": [_task_facts(task) for task in tuned.tasks],
    }


def tuning_parts(report: "TuneReport") -> tuple["Table | str", ...]:
    """What a session came to, for people."""
    tuned = report.tuned
    rate = f", {tuned.trials / tuned.seconds:.1f} a second" if tuned.trials else ""
    failed = f", {tuned.failures} failed" if tuned.failures else ""
    lines = [f"{amount(tuned.trials, 'trial')}{failed}{rate}: {_STOPS[tuned.stop]}"]
    if math.isfinite(tuned.cost_s):
        first_ms = _first_cost_s(tuned) * 1e3
        lines.append(
            f"{report.model}: {tuned.cost_s * 1e3:.3g} ms by the best of each task, "
            f"{first_ms:.3g} ms by their first trials; edgekit race tells what that comes to"
        )
        if report.emulated:
            lines.append("these are times of an emulated processor, which no board has")
    else:
        missing = sum(not math.isfinite(task.best) for task in tuned.tasks)
        lines.append(f"{amount(missing, 'task')} without a record yet: tune on")
    return (_table(tuned), *lines, f"in {report.records}")


def _table(tuned: "Tuned") -> Table:
    columns = (
        Column("task"),
        Column("times", numeric=True),
        Column("trials", numeric=True),
        Column("first us", numeric=True),
        Column("best us", numeric=True),
        Column("GFLOPS", numeric=True),
    )
    costly = sorted(tuned.tasks, key=lambda task: -task.weight * min(task.best, 1e9))
    rows = tuple(
        (
            task.name,
            str(task.weight),
            str(task.trials),
            _microseconds(_first(task)),
            _microseconds(task.best),
            f"{task.flops / task.best / 1e9:.1f}" if math.isfinite(task.best) else "",
        )
        for task in costly[:_SHOWN]
    )
    return Table(columns, rows)


def _task_facts(task: "Task") -> Mapping[str, Any]:
    return {
        "hash": task.structural_hash,
        "name": task.name,
        "weight": task.weight,
        "flops": task.flops,
        "trials": task.trials,
        "first_s": _known(_first(task)),
        "best_s": _known(task.best),
    }


def _first(task: "Task") -> float:
    """Cost of the first trial that succeeded."""
    return next((cost for cost in task.bests if math.isfinite(cost)), math.inf)


def _first_cost_s(tuned: "Tuned") -> float:
    return math.fsum(task.weight * _first(task) for task in tuned.tasks)


def _known(cost: float) -> float | None:
    # JSON knows no infinity.
    return cost if math.isfinite(cost) else None


def _microseconds(cost: float) -> str:
    return f"{cost * 1e6:.4g}" if math.isfinite(cost) else ""
