"""The tables of records in SQLite: made, checked, filled."""

import contextlib
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from edgekit.core.errors import UsageError
from edgekit.tune.record import Record
from edgekit.tune.rows import (
    APPLICATION_ID,
    INSERT_TRIAL,
    INSERT_WORKLOAD,
    PAGE_BYTES,
    RESTORE_TRIAL,
    SCHEMA,
    SCHEMA_VERSION,
    TRIAL_COLUMNS,
    WORKLOAD_COLUMNS,
    DamagedError,
    Workload,
    check_trials,
    check_workload,
    row_of_trial,
    row_of_workload,
)

_BUSY_TIMEOUT_S: Final = 60.0  # for programs other than edgekit, which do not take its lock
_NUMBERS: Final = 1 << 40  # a row's number beyond is damage
_HEADER_BYTES: Final = 100
_JOURNALS: Final = (b"\1\1", b"\2\2")  # rollback journal, write-ahead log
_SCHEMA_FORMATS: Final = tuple(number.to_bytes(4) for number in range(5))


def connect(path: Path, *, read_only: bool = False) -> sqlite3.Connection:
    """Open a database whose texts are handed out even where they are no UTF-8.

    Raises:
        sqlite3.Error: it cannot be opened.
    """
    connection = sqlite3.connect(
        f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}",
        uri=True,
        timeout=_BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,  # threads take turns by the lock
    )
    # Where a text is damaged its digest shall say so, not the decoder.
    connection.text_factory = lambda held: held.decode(errors="replace")
    return connection


def check_header(path: Path) -> None:
    """Check what SQLite would take for a file of the future, or one that it may only read.

    Source: https://www.sqlite.org/fileformat2.html, section 1.3.

    Raises:
        DamagedError: no SQLite would write this header.
    """
    try:
        with path.open("rb") as stream:
            header = stream.read(_HEADER_BYTES)
    except FileNotFoundError:
        return
    if header and (header[18:20] not in _JOURNALS or header[44:48] not in _SCHEMA_FORMATS):
        raise DamagedError("its header is not SQLite's")


def configure(connection: sqlite3.Connection) -> None:
    """Say how the file is written, whatever the SQLite at hand was built to prefer."""
    connection.execute(f"PRAGMA page_size={PAGE_BYTES}")
    connection.execute("PRAGMA auto_vacuum=NONE")
    connection.execute("PRAGMA encoding='UTF-8'")
    connection.execute("PRAGMA journal_mode=DELETE")
    connection.execute("PRAGMA synchronous=EXTRA")


def prepare(connection: sqlite3.Connection, path: Path) -> bool:
    """Make the tables in an empty file; tell whether it had some.

    Raises:
        UsageError: a later edgekit made them.
        DamagedError: the file is neither empty nor one of records.
        sqlite3.Error: SQLite found it first.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        refuse_newer(connection, path)
        tables = _has_tables(connection, path)
        if not tables:
            make_tables(connection)
        connection.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            connection.execute("ROLLBACK")
        raise
    return tables


def make_tables(connection: sqlite3.Connection) -> None:
    """Make the tables in a file that has none."""
    for statement in SCHEMA:
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id={APPLICATION_ID + SCHEMA_VERSION}")
    connection.execute(f"PRAGMA user_version={SCHEMA_VERSION}")


def check(connection: sqlite3.Connection, *, thorough: bool = True) -> None:
    """Check the tables, and if ``thorough`` every page and every row in them.

    Raises:
        DamagedError: something is not what was written.
        sqlite3.Error: SQLite found it first.
    """
    if not _has_our_schema(connection):
        raise DamagedError("its tables are not those of edgekit")
    if _version(connection) != SCHEMA_VERSION:
        raise DamagedError("its header does not say which schema it has")
    if not thorough:
        return
    (verdict,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
    if verdict != "ok":
        raise DamagedError(" ".join(str(verdict).split()))
    check_trials(connection.execute(f"SELECT {TRIAL_COLUMNS} FROM trial"))  # noqa: S608 - constants
    for row in connection.execute(f"SELECT {WORKLOAD_COLUMNS} FROM workload"):  # noqa: S608 - constants
        check_workload(row)


def refuse_newer(connection: sqlite3.Connection, path: Path) -> None:
    """Refuse a database that a later edgekit made.

    Raises:
        UsageError: it is one.
    """
    version = _version(connection)
    if version is not None and version > SCHEMA_VERSION:
        raise UsageError(
            f"the tuning records at {path} have schema {version}; this edgekit knows "
            f"{SCHEMA_VERSION}",
            hint="use the edgekit that made them, or name another folder in EDGEKIT_RECORDS_DIR",
        )


def insert(connection: sqlite3.Connection, found: Iterable[Record | Workload]) -> int:
    """Insert what is not there yet; return how many trials were new."""
    new = 0
    for each in found:
        if isinstance(each, Record):
            new += connection.execute(INSERT_TRIAL, row_of_trial(each)).rowcount
        else:
            connection.execute(INSERT_WORKLOAD, row_of_workload(each))
    return new


def restore(connection: sqlite3.Connection, number: int, found: Record | Workload) -> int:
    """Insert what was salvaged under its own number, so that a reader in mid-way goes on."""
    if isinstance(found, Record) and 0 < number < _NUMBERS:
        done = connection.execute(RESTORE_TRIAL, (number, *row_of_trial(found)))
        if done.rowcount:
            return 1
    # The number itself is covered by no digest: if it is taken, any other will do.
    return insert(connection, (found,))


def _has_tables(connection: sqlite3.Connection, path: Path) -> bool:
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    # SQLite takes a file that is cut to less than a page for an empty one.
    if not tables and path.stat().st_size:
        raise DamagedError("there are no tables in it")
    return bool(tables)


def _has_our_schema(connection: sqlite3.Connection) -> bool:
    found = connection.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {sql for (sql,) in found} == set(SCHEMA)


def _version(connection: sqlite3.Connection) -> int | None:
    """Return the schema's number, ``None`` where the header contradicts itself."""
    version = _pragma(connection, "user_version")
    return version if _pragma(connection, "application_id") == APPLICATION_ID + version else None


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    (value,) = connection.execute(f"PRAGMA {name}").fetchone()
    return int(value)
