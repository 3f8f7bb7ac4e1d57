"""What there are records of, counted, and which of it resembles what."""

import json
import math
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Final, Literal, get_args

from edgekit.tune.record import Fingerprint, Scope
from edgekit.tune.rows import DamagedError, scope_key

Closeness = Literal["other cost", "other clocks", "other threads", "same core", "same architecture"]
_ORDER: Final[tuple[Closeness, ...]] = get_args(Closeness)


@dataclass(frozen=True)
class ScopeSummary:
    """A scope and how many trials it has.

    Attributes:
        tasks: that have at least one trial.
        trials: all of them, failures too.
        failures: trials that failed.
        last_s: when the newest trial was, in seconds since the epoch.
    """

    scope: Scope
    tasks: int
    trials: int
    failures: int
    last_s: float


@dataclass(frozen=True)
class TaskSummary:
    """A task within one scope.

    Attributes:
        task: its name in the newest trial.
        best: least cost, in the scope's unit; infinite if no trial succeeded.
    """

    structural_hash: str
    task: str
    flops: float
    trials: int
    failures: int
    best: float


@dataclass(frozen=True)
class Similar:
    """A scope from which traces may be taken as candidates.

    Attributes:
        closeness: ``other cost``: the same hardware, counted otherwise; ``other clocks``: the same
            core, features and threads on another board or at other clocks; ``other threads``:
            besides, for another number of threads; ``same core``: with other features;
            ``same architecture``: another core.
    """

    scope: Scope
    closeness: Closeness
    trials: int


def summarise_scopes(held: sqlite3.Connection) -> tuple[ScopeSummary, ...]:
    """Count what there is, in the order in which the scopes were begun."""
    counted = held.execute(
        "SELECT min(id), count(DISTINCT structural_hash), count(*), count(failure), "
        "max(measured_at_s) FROM trial GROUP BY scope_key ORDER BY 1"
    ).fetchall()
    return tuple(
        ScopeSummary(_scope(held, first), tasks, trials, failures, last_s)
        for first, tasks, trials, failures, last_s in counted
    )


def summarise_tasks(held: sqlite3.Connection, scope: Scope) -> tuple[TaskSummary, ...]:
    """Count the trials of each task, in the order of their first."""
    rows = held.execute(
        "SELECT structural_hash, task, flops, failure, costs FROM trial "
        "WHERE scope_key = ? ORDER BY id",
        (scope_key(scope),),
    )
    found: dict[str, TaskSummary] = {}
    for structural_hash, task, flops, failure, costs in rows:
        before = found.get(structural_hash) or TaskSummary(
            structural_hash, task, flops, 0, 0, math.inf
        )
        found[structural_hash] = replace(
            before,
            task=task,
            trials=before.trials + 1,
            failures=before.failures + (failure is not None),
            best=before.best if failure else min(before.best, cost_of_text(costs)),
        )
    return tuple(found.values())


def similar_scopes(scope: Scope, known: Sequence[ScopeSummary]) -> tuple[Similar, ...]:
    """Choose the scopes whose traces ``scope`` can read, the most similar first.

    Of equally close ones those come first that share more features, then those with more
    successful trials.
    """
    wanted = set(scope.fingerprint.features)
    found: list[tuple[tuple[int, int, int], Similar]] = []
    for each in known:
        closeness = _closeness(scope, each.scope)
        sound = each.trials - each.failures
        if closeness and sound:
            shared = len(wanted & set(each.scope.fingerprint.features))
            rank = (_ORDER.index(closeness), -shared, -sound)
            found.append((rank, Similar(each.scope, closeness, each.trials)))
    return tuple(similar for _, similar in sorted(found, key=lambda pair: pair[0]))


def other_versions(scope: Scope, known: Sequence[ScopeSummary]) -> tuple[ScopeSummary, ...]:
    """Choose the scopes that differ by a version alone."""
    return tuple(
        each
        for each in known
        if each.scope != scope
        and replace(each.scope, tvm=scope.tvm, pipeline=scope.pipeline) == scope
    )


def _closeness(wanted: Scope, other: Scope) -> Closeness | None:
    if other == wanted or (other.tvm, other.pipeline) != (wanted.tvm, wanted.pipeline):
        return None
    here, there = wanted.fingerprint, other.fingerprint
    steps: tuple[tuple[bool, Closeness], ...] = (
        (here == there, "other cost"),
        (_built_alike(here, there) and here.threads == there.threads, "other clocks"),
        (_built_alike(here, there), "other threads"),
        (here.architecture == there.architecture and here.mcpu == there.mcpu, "same core"),
        (here.architecture == there.architecture, "same architecture"),
    )
    return next((closeness for holds, closeness in steps if holds), None)


def _built_alike(here: Fingerprint, there: Fingerprint) -> bool:
    return (here.architecture, here.mcpu, here.features) == (
        there.architecture,
        there.mcpu,
        there.features,
    )


def _scope(held: sqlite3.Connection, trial: int) -> Scope:
    found = held.execute("SELECT scope FROM trial WHERE id = ?", (trial,)).fetchone()
    if found is None:
        raise DamagedError("an index names a trial that is not there")
    (text,) = found
    try:
        return Scope.from_value(json.loads(text))
    except ValueError as error:
        raise DamagedError(f"a scope cannot be read: {error}") from error


def cost_of_text(costs: str) -> float:
    """Return the cost of a trial that succeeded, of what its column ``costs`` holds.

    Raises:
        DamagedError: it cannot be read.
    """
    try:
        return float(median(json.loads(costs)))
    except (ValueError, TypeError) as error:
        raise DamagedError(f"costs cannot be read: {error}") from error
