"""Tuning records, as text, into a database of TVM's own. Runs inside the toolbox."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

# TVM has no types where this is checked.
Workload = Any
TuningRecord = Any
MeasureCandidate = Any
Database = Any


def read_traces(
    folder: Path, workload: Workload, found: Sequence[tuple[str, Sequence[float]]]
) -> Sequence[TuningRecord]:
    """Return the tuning records of one task.

    Args:
        folder: to be made; a schedule is read from a file only, as it is written into one.
        workload: the task's.
        found: traces and their costs.
    """
    from tvm.s_tir.meta_schedule.database import JSONDatabase

    if not found:
        return ()
    folder.mkdir(parents=True)
    files = (folder / "workloads.json", folder / "records.json")
    files[0].write_text(json.dumps(workload.as_json()) + "\n", encoding="utf-8")
    with files[1].open("w", encoding="utf-8") as stream:
        for trace, costs in found:
            fields = json.loads(trace)
            fields[1] = list(costs)
            stream.write(json.dumps([0, fields]) + "\n")
    return tuple(JSONDatabase(*map(str, files)).get_all_tuning_records())


def usable_traces(
    folder: Path, workload: Workload, found: Sequence[tuple[str, Sequence[float]]]
) -> Iterator[tuple[TuningRecord, MeasureCandidate]]:
    """Yield those of ``found`` that apply to the task, with what they make of it.

    A trace that came from elsewhere may have been edited, or be of another task.
    """
    try:
        records = read_traces(folder, workload, found)
    except Exception:  # noqa: BLE001 - TVM reads all or none, and fails in ways of its own
        middle = len(found) // 2
        if middle:
            yield from usable_traces(folder / "0", workload, found[:middle])
            yield from usable_traces(folder / "1", workload, found[middle:])
        return
    for record in records:
        with suppress(Exception):  # replayed here: it may be read and not apply
            yield record, record.as_measure_candidate()


def database_of(
    tasks: Sequence[tuple[Any, Any]], records: Mapping[str, Mapping[str, Any]], folder: Path
) -> tuple[Database, tuple[str, ...]]:
    """Return a database of the tasks' records, and the names of tasks whose record does not apply.

    Args:
        tasks: what ``build_pipeline.tasks_of`` gave.
        records: ``trace`` and ``costs`` by a task's key.
        folder: scratch.
    """
    from tvm.s_tir.meta_schedule.database import MemoryDatabase

    database = MemoryDatabase()
    unusable = []
    for task, function in tasks:
        if task.key not in records:
            continue
        held = records[task.key]
        workload = database.commit_workload(function)
        found = [(held["trace"], held["costs"])]
        usable = tuple(usable_traces(folder / task.key, workload, found))
        for record, _candidate in usable:
            database.commit_tuning_record(record)
        if not usable:
            unusable.append(task.name)
    return database, tuple(unusable)
