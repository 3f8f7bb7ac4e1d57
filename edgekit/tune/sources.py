"""Another file of records, read and never written."""

import sqlite3
from contextlib import closing
from pathlib import Path

from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, Note
from edgekit.tune.database import check, check_header, connect, refuse_newer
from edgekit.tune.record import Record
from edgekit.tune.rows import (
    TRIAL_COLUMNS,
    WORKLOAD_COLUMNS,
    DamagedError,
    Workload,
    trial_of_row,
    workload_of_row,
)
from edgekit.tune.salvage import salvage

_SQLITE_MAGIC = b"SQLite format 3\0"


def read_database(path: Path, own: Path, emit: EventSink) -> tuple[Record | Workload, ...]:
    """Return all that the database at ``path`` holds; of a damaged one, what is whole.

    Args:
        path: the file, which stays as it is.
        own: the database that it is read for.
        emit: told when it is damaged.

    Raises:
        UsageError: it is no database of records, a newer one, or ``own`` itself.
    """
    if not path.is_file():
        raise UsageError(f"there is no file {path}")
    if own.exists() and path.samefile(own):
        raise UsageError(f"{path} is the file of your own records", hint="name another one")
    try:
        check_header(path)
        with closing(connect(path, read_only=True)) as connection:
            return _read(connection, path)
    except (sqlite3.Error, UnicodeDecodeError, DamagedError) as damage:
        found = tuple(value for _, value in sorted(salvage(path), key=lambda pair: pair[0]))
        if not found:
            raise UsageError(f"{path} holds no tuning records", hint=_hint(path)) from damage
        trials = sum(isinstance(each, Record) for each in found)
        emit(Note(f"{path} is damaged ({damage}): {trials} trials could be read", warning=True))
        return found


def _read(connection: sqlite3.Connection, path: Path) -> tuple[Record | Workload, ...]:
    connection.execute("BEGIN")
    refuse_newer(connection, path)
    check(connection)
    workloads = connection.execute(f"SELECT {WORKLOAD_COLUMNS} FROM workload ORDER BY id")  # noqa: S608 - constants
    trials = connection.execute(f"SELECT {TRIAL_COLUMNS} FROM trial ORDER BY id")  # noqa: S608 - constants
    return (*map(workload_of_row, workloads), *map(trial_of_row, trials))


def _hint(path: Path) -> str:
    with path.open("rb") as stream:
        start = stream.read(len(_SQLITE_MAGIC))
    if start.startswith(b"{"):
        return f"it looks like an export: edgekit records import {path}"
    if start == _SQLITE_MAGIC:
        return "it is a database of something else"
    return "edgekit records merge takes another edgekit's records.sqlite"
