"""Tuning records: every trial of every task, kept as soon as it was measured.

::

    with open_records(folder / RECORDS_FILE, emit=emit) as records:
        records.keep_workloads(workloads)        # once, when the tasks are known
        for record in records.trials(scope):     # what a tuner starts from
            ...
        records.append(record)                   # on disk when it returns

A trial that :meth:`Records.append` returned from survives ``kill -9`` and a power cut. Two tunes
may append at once. A damaged file is put aside, what can be read of it is kept, and the caller
is told (:mod:`edgekit.tune.store`).
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO, Final, TypeVar

from edgekit.core.closing import Closing
from edgekit.core.events import EventSink, ignore
from edgekit.tune import record_lines, sources
from edgekit.tune.database import insert
from edgekit.tune.record import Record, Scope
from edgekit.tune.rows import (
    TRIAL_COLUMNS,
    WORKLOAD_COLUMNS,
    Row,
    Workload,
    scope_key,
    trial_of_row,
    workload_of_row,
)
from edgekit.tune.store import Store
from edgekit.tune.summaries import (
    ScopeSummary,
    Similar,
    TaskSummary,
    cost_of_text,
    other_versions,
    similar_scopes,
    summarise_scopes,
    summarise_tasks,
)

Answer = TypeVar("Answer")
RECORDS_FILE: Final = "records.sqlite"
_BATCH: Final = 200
_OF_TASK: Final = "scope_key = ? AND structural_hash = ?"


def open_records(path: Path, *, emit: EventSink = ignore, thorough: bool = True) -> "Records":
    """Open the records at ``path``; a file that is not there is made on first use.

    Args:
        path: the file, :data:`RECORDS_FILE` in the setting ``records_dir``.
        emit: told when the file was damaged and what was kept.
        thorough: read the whole file once, on first use, to check it. Without, a row is checked
            when it is read: for a quick look-up, which may miss a row whose index is damaged.
    """
    return Records(Store(path, emit, thorough=thorough), emit)


class Records(Closing):
    """The records of one file. A context manager; safe among threads and processes.

    Every method raises :class:`UsageError` where the file cannot be used.
    """

    def __init__(self, store: Store, emit: EventSink = ignore) -> None:
        self._store = store
        self._emit = emit

    @property
    def path(self) -> Path:
        """Where the records stand."""
        return self._store.path

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def append(self, record: Record) -> bool:
        """Keep a trial for good; tell whether it is new (equal trials are one)."""
        return bool(self._store.run(lambda held: insert(held, (record,))))

    def keep_workloads(self, workloads: Iterable[Workload]) -> None:
        """Keep the modules that trials refer to; those that are known stay as they are."""
        listed = tuple(workloads)
        self._store.run(lambda held: insert(held, listed))

    def workloads(self, tvm: str) -> tuple[Workload, ...]:
        """Return the modules that are known for a version of TVM."""
        query = f"SELECT id, {WORKLOAD_COLUMNS} FROM workload WHERE tvm = ?"  # noqa: S608 - constants
        return tuple(self._read(query, (tvm,), workload_of_row))

    def trials(self, scope: Scope, structural_hash: str | None = None) -> Iterator[Record]:
        """Yield the trials of a scope, or of one task of it, failures too, oldest first.

        A slow reader holds nobody up: the file is locked for a batch at a time.
        """
        where, values = "scope_key = ?", [scope_key(scope)]
        if structural_hash is not None:
            where, values = _OF_TASK, [*values, structural_hash]
        query = f"SELECT id, {TRIAL_COLUMNS} FROM trial WHERE {where}"  # noqa: S608 - constants
        return self._read(query, values, trial_of_row)

    def best(self, scope: Scope, structural_hash: str) -> Record | None:
        """Return the trial of least cost, ``None`` if none of the task succeeded."""

        def find(held: sqlite3.Connection) -> Record | None:
            # Costs alone are ranked: traces are long, and a look-up at every deploy must be quick.
            rows = held.execute(
                f"SELECT id, costs FROM trial WHERE {_OF_TASK} AND failure IS NULL",  # noqa: S608 - constants
                (scope_key(scope), structural_hash),
            )
            ranked = min(((cost_of_text(costs), number) for number, costs in rows), default=None)
            if ranked is None:
                return None
            query = f"SELECT {TRIAL_COLUMNS} FROM trial WHERE id = ?"  # noqa: S608 - constants
            return trial_of_row(held.execute(query, (ranked[1],)).fetchone())

        return self._store.run(find)

    def top(self, scope: Scope, structural_hash: str, count: int) -> tuple[Record, ...]:
        """Return up to ``count`` successful trials of a task with distinct traces, best first."""

        def find(held: sqlite3.Connection) -> tuple[Record, ...]:
            rows = held.execute(
                f"SELECT {TRIAL_COLUMNS} FROM trial WHERE {_OF_TASK} AND failure IS NULL "  # noqa: S608 - constants
                "ORDER BY id",
                (scope_key(scope), structural_hash),
            )
            best: dict[str, Record] = {}
            for record in sorted(map(trial_of_row, rows), key=lambda each: each.cost):
                best.setdefault(record.trace, record)
            return tuple(best.values())[:count]

        return self._store.run(find)

    def missing(self, scope: Scope, structural_hashes: Iterable[str]) -> tuple[str, ...]:
        """Return those tasks of which no trial succeeded, in their order."""

        def find(held: sqlite3.Connection) -> set[str]:
            rows = held.execute(
                "SELECT DISTINCT structural_hash FROM trial "
                "WHERE scope_key = ? AND failure IS NULL",
                (scope_key(scope),),
            )
            return {structural_hash for (structural_hash,) in rows}

        known = self._store.run(find)
        return tuple(each for each in dict.fromkeys(structural_hashes) if each not in known)

    def scopes(self) -> tuple[ScopeSummary, ...]:
        """Return what there are records of, in the order in which they were begun."""
        return self._store.run(summarise_scopes)

    def tasks(self, scope: Scope) -> tuple[TaskSummary, ...]:
        """Return what is known of each task of a scope, in the order of their first trials."""
        return self._store.run(lambda held: summarise_tasks(held, scope))

    def similar(self, scope: Scope) -> tuple[Similar, ...]:
        """Return other scopes whose traces a tuner may start from, the most similar first.

        Their costs mean nothing here: such a trace is a candidate to be measured.
        """
        return similar_scopes(scope, self.scopes())

    def other_versions(self, scope: Scope) -> tuple[ScopeSummary, ...]:
        """Return the scopes that differ by TVM's or the pipeline's version alone.

        Their records apply to nothing in ``scope``; the sum of ``trials`` says how many they are.
        """
        return other_versions(scope, self.scopes())

    def merge(self, path: Path) -> int:
        """Take over what the database at ``path`` has and this one has not.

        All of it or nothing. The other file stays as it is; from a damaged one, what can be read
        is taken, and the sink is told.

        Returns:
            How many trials were new.

        Raises:
            UsageError: it is no database of records, a newer one, or this very file.
        """
        found = sources.read_database(path, self.path, self._emit)
        return self._store.run(lambda held: insert(held, found))

    def export(self, stream: IO[str], scopes: Sequence[Scope] | None = None) -> int:
        """Write trials and their workloads as JSON lines; return how many trials.

        Args:
            stream: text that takes any character.
            scopes: whose records to write; ``None`` for all.
        """
        listed = [each.scope for each in self.scopes()] if scopes is None else scopes
        wanted = {(scope.tvm, t.structural_hash) for scope in listed for t in self.tasks(scope)}
        held = (
            each
            for tvm in dict.fromkeys(scope.tvm for scope in listed)
            for each in self.workloads(tvm)
            if (tvm, each.structural_hash) in wanted
        )
        trials = (each for scope in listed for each in self.trials(scope))
        return record_lines.write(stream, held, trials)

    def import_(self, stream: IO[str], name: str = "the stream") -> int:
        """Take over what :meth:`export` wrote, all of it or nothing.

        Args:
            stream: text.
            name: what messages call it.

        Returns:
            How many trials were new.

        Raises:
            UsageError: lines are wrong; the message names them by their numbers.
        """
        found = record_lines.read(stream, name)
        return self._store.run(lambda held: insert(held, found))

    def _read(
        self, query: str, values: Sequence[str], value_of: Callable[[Row], Answer]
    ) -> Iterator[Answer]:
        """Yield rows by their number; trials keep their numbers when a file is mended."""
        last = 0

        def batch(held: sqlite3.Connection) -> list[tuple[int, Answer]]:
            found = held.execute(f"{query} AND id > ? ORDER BY id LIMIT ?", (*values, last, _BATCH))
            return [(row[0], value_of(row[1:])) for row in found]

        while rows := self._store.run(batch):
            yield from (value for _, value in rows)
            last = rows[-1][0]
