"""Records as rows of SQLite, each with a digest of its own.

SQLite does not check its pages: a bit that flipped in a text is handed out as if it had been
written so. The digest tells, names a record when databases are merged, and lets rows be found
again in a file whose trees are broken (:mod:`edgekit.tune.salvage`). For that every row holds
all of its scope.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from edgekit.tune.record import Record, Scope

SCHEMA_VERSION: Final = 1
# The schema's number stands in the header twice: one flipped bit makes no file of the future.
APPLICATION_ID: Final = 0x65640000  # "ed", to which the schema's number is added
PAGE_BYTES: Final = 4096

# The trace comes last: a ranking reads the front of a row and leaves its overflow pages alone.
_TRIAL: Final = """\
CREATE TABLE trial (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    scope_key TEXT NOT NULL,
    structural_hash TEXT NOT NULL,
    scope TEXT NOT NULL,
    task TEXT NOT NULL,
    flops REAL NOT NULL,
    failure TEXT,
    costs TEXT NOT NULL,
    device TEXT NOT NULL,
    measured_at_s REAL NOT NULL,
    detail TEXT NOT NULL,
    trace TEXT NOT NULL
)"""
_TRIAL_OF_TASK: Final = "CREATE INDEX trial_of_task ON trial (scope_key, structural_hash)"
_WORKLOAD: Final = """\
CREATE TABLE workload (
    id INTEGER PRIMARY KEY,
    digest TEXT NOT NULL UNIQUE,
    tvm TEXT NOT NULL,
    structural_hash TEXT NOT NULL,
    json TEXT NOT NULL,
    UNIQUE (tvm, structural_hash)
)"""
SCHEMA: Final = (_TRIAL, _TRIAL_OF_TASK, _WORKLOAD)
TRIAL_COLUMNS: Final = (
    "digest, scope_key, structural_hash, scope, task, flops, failure, costs, device, "
    "measured_at_s, detail, trace"
)
INSERT_TRIAL: Final = (
    f"INSERT OR IGNORE INTO trial ({TRIAL_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608 - constants
)
RESTORE_TRIAL: Final = (
    f"INSERT OR IGNORE INTO trial (id, {TRIAL_COLUMNS}) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)"  # noqa: S608 - constants
)
WORKLOAD_COLUMNS: Final = "digest, tvm, structural_hash, json"
INSERT_WORKLOAD: Final = f"INSERT OR IGNORE INTO workload ({WORKLOAD_COLUMNS}) VALUES (?,?,?,?)"  # noqa: S608 - constants

Row = Sequence[Any]


class DamagedError(Exception):
    """Something in the database is not what was written; never leaves the room."""


@dataclass(frozen=True)
class Workload:
    """A task's module as MetaSchedule writes it, once for all of its trials.

    Attributes:
        tvm: version of TVM, which alone is bound to read it.
        json: text of ``Workload.as_json``.
    """

    tvm: str
    structural_hash: str
    json: str

    def __post_init__(self) -> None:
        if not (self.tvm and self.structural_hash and self.json):
            raise ValueError("a workload has a TVM version, a structural hash and a text")
        try:
            (self.tvm + self.structural_hash + self.json).encode()
        except UnicodeEncodeError:
            raise ValueError("text with half a surrogate pair cannot be kept") from None


def scope_key(scope: Scope) -> str:
    """Return the short text that stands for a scope in the index."""
    return _key_of_text(scope.as_text())


def row_of_trial(record: Record) -> Row:
    """Return the values of :data:`TRIAL_COLUMNS`."""
    held = (
        record.structural_hash,
        record.scope.as_text(),
        record.task,
        record.flops,
        record.failure,
        json.dumps(record.costs),
        record.device,
        record.measured_at_s,
        record.detail,
        record.trace,
    )
    return (_digest(held), scope_key(record.scope), *held)


def trial_of_row(row: Row) -> Record:
    """Return the record that :func:`row_of_trial` wrote.

    Raises:
        DamagedError: it wrote another.
    """
    _check_trial(row)
    _, _, structural_hash, scope, task, flops, failure, costs, device, at_s, detail, trace = row
    try:
        return Record(
            _scope_of(scope),
            structural_hash,
            task,
            trace,
            at_s,
            tuple(json.loads(costs)),
            failure,
            detail,
            flops,
            device,
        )
    except (ValueError, TypeError) as error:
        raise DamagedError(f"a trial cannot be read: {error}") from error


def row_of_workload(workload: Workload) -> Row:
    """Return the values of :data:`WORKLOAD_COLUMNS`."""
    held = (workload.tvm, workload.structural_hash, workload.json)
    return (_digest(held), *held)


def workload_of_row(row: Row) -> Workload:
    """Return the workload that :func:`row_of_workload` wrote.

    Raises:
        DamagedError: it wrote another.
    """
    check_workload(row)
    return Workload(*row[1:])


def _check_trial(row: Row) -> None:
    digest, key, *held = row
    try:
        sound = digest == _digest(held) and key == _key_of_text(held[1])
    except (TypeError, ValueError, AttributeError):  # a column of another type than was written
        sound = False
    if not sound:
        raise DamagedError("a trial is not what was written")


@lru_cache(maxsize=256)
def _scope_of(text: str) -> Scope:
    return Scope.from_value(json.loads(text))


def check_trials(rows: Iterable[Row]) -> None:
    """Check rows of :data:`TRIAL_COLUMNS` without making records of them.

    Raises:
        DamagedError: one is not what was written.
    """
    for row in rows:
        _check_trial(row)


def check_workload(row: Row) -> None:
    """Check a row of :data:`WORKLOAD_COLUMNS`.

    Raises:
        DamagedError: it is not what was written.
    """
    try:
        sound = row[0] == _digest(row[1:])
    except (TypeError, ValueError):
        sound = False
    if not sound:
        raise DamagedError("a workload is not what was written")


def _key_of_text(scope: str) -> str:
    return hashlib.sha256(scope.encode()).hexdigest()[:16]


def _digest(held: Sequence[object]) -> str:
    return hashlib.sha256(json.dumps(held, separators=(",", ":")).encode()).hexdigest()
