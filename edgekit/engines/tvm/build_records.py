"""Tuning records, as text, into a database of TVM's own. Runs inside the toolbox."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

# TVM has no types where this is checked.
Workload = Any
TuningRecord = Any
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


def database_of(
    tasks: Sequence[tuple[Any, Any]], records: Mapping[str, Mapping[str, Any]], folder: Path
) -> Database:
    """Return a database with a record for each task that has one.

    Args:
        tasks: what ``build_pipeline.tasks_of`` gave.
        records: ``trace`` and ``costs`` by a task's key.
        folder: scratch.
    """
    from tvm.s_tir.meta_schedule.database import MemoryDatabase

    database = MemoryDatabase()
    for task, function in tasks:
        if task.key not in records:
            continue
        held = records[task.key]
        workload = database.commit_workload(function)
        found = [(held["trace"], held["costs"])]
        for record in read_traces(folder / task.key, workload, found):
            database.commit_tuning_record(record)
    return database
