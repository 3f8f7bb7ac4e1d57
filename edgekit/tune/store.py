"""The one file that records stand in: opened, locked, checked, and mended if it is damaged.

Journal: SQLite's rollback journal, deleted at each commit and synced with its folder
(``synchronous=EXTRA``), not a write-ahead log. A trial takes a hundred milliseconds and more, so
that what a log would save does not count; and without one all that was acknowledged stands in
one file at any moment: it can be copied, sent and merged as it lies, a user's home on a network
file system may hold it, and what is salvaged from it is all there is.

All of edgekit's processes take turns by a lock beside the file. SQLite's own locks would do for
writing, but not for putting another file in this one's place.
"""

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, NoReturn, TypeVar

from edgekit.catalog.cache import FileLock
from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, Note, ignore
from edgekit.tune.database import (
    check,
    check_header,
    configure,
    connect,
    make_tables,
    prepare,
    restore,
)
from edgekit.tune.rows import DamagedError
from edgekit.tune.salvage import salvage

Answer = TypeVar("Answer")
_BROKEN: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
_PRIMARY_CODE: Final = 0xFF  # the rest of a code is SQLite's detail of it


class Store:
    """A database of records at ``path``; what is damaged is mended in whatever call meets it.

    Safe among threads and processes.

    Args:
        path: made on first use, with its folders.
        emit: told when the database was damaged and what was kept of it.
        thorough: check the whole file when it is opened, not only what is read of it.
    """

    def __init__(self, path: Path, emit: EventSink = ignore, *, thorough: bool = True) -> None:
        self.path = path
        self._emit = emit
        self._thorough = thorough
        self._connection: sqlite3.Connection | None = None
        self._file: tuple[int, int] | None = None

    def run(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        """Return what ``work`` returns, all of it in one transaction, alone on the file.

        Raises:
            UsageError: the file cannot be used: newer than this edgekit, locked, no space, its
                folder cannot be made or written.
        """
        with self._locked():
            try:
                return self._once(work)
            except DamagedError as damage:
                self._mend(damage)
            try:
                return self._once(work)
            except DamagedError as damage:
                raise UsageError(
                    f"the tuning records at {self.path} are damaged again: {damage}",
                    hint="look after the disk; move the file away to begin anew",
                ) from damage

    def close(self) -> None:
        """Close the file; the next use opens it again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        # One object a turn: a lock's object is not for several threads.
        lock = FileLock(self.path.with_name(f".{self.path.name}.lock"))
        try:
            lock.acquire()
        except OSError as error:
            raise _useless(self.path, f"{error.filename}: {error.strerror}") from error
        try:
            yield
        finally:
            lock.release()

    def _once(self, work: Callable[[sqlite3.Connection], Answer]) -> Answer:
        try:
            connection = self._open()
            connection.execute("BEGIN")
            try:
                answer = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            _refuse(error, self.path)
        except UnicodeDecodeError as error:  # sqlite3's own, of a message with damaged names in it
            raise DamagedError("its tables are not those of edgekit") from error
        return answer

    def _open(self) -> sqlite3.Connection:
        """Return the connection to the file that stands there now, checked once."""
        if self._connection is not None and _identity(self.path) == self._file:
            return self._connection
        self.close()
        with contextlib.suppress(IsADirectoryError):  # SQLite says it better
            check_header(self.path)
        connection = connect(self.path)
        try:
            configure(connection)
            if prepare(connection, self.path):
                check(connection, thorough=self._thorough)
        except BaseException:
            connection.close()
            raise
        self._connection, self._file = connection, _identity(self.path)
        return connection

    def _mend(self, damage: DamagedError) -> None:
        """Put a database with all that can still be read in the place of the damaged one."""
        self.close()
        aside = _free_name(self.path)
        anew = self.path.with_name(f".{self.path.name}.rebuilding")
        for leftover in (anew, _journal(anew)):
            leftover.unlink(missing_ok=True)
        kept = _rebuild(self.path, anew)
        # A journal left here would be played back into the new file.
        with contextlib.suppress(FileNotFoundError):
            _journal(self.path).rename(_journal(aside))
        try:
            aside.hardlink_to(self.path)
        except OSError:  # a file system without links: for a moment no file stands there
            self.path.rename(aside)
        anew.replace(self.path)
        self._emit(
            Note(
                f"the tuning records at {self.path} were damaged ({damage}): {kept} trials could "
                f"be read and are kept; the damaged file is {aside}",
                warning=True,
            )
        )


def _rebuild(damaged: Path, anew: Path) -> int:
    connection = connect(anew)
    try:
        configure(connection)
        connection.execute("BEGIN IMMEDIATE")
        make_tables(connection)
        kept = sum(restore(connection, *found) for found in salvage(damaged))
        connection.execute("COMMIT")
    except sqlite3.Error as error:
        _refuse(error, anew)
    finally:
        connection.close()
    return kept


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - on every append
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _journal(path: Path) -> Path:
    return path.with_name(f"{path.name}-journal")


def _free_name(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    for count in range(1, 1000):
        again = f"-{count}" if count > 1 else ""
        aside = path.with_name(f"{path.stem}.damaged-{stamp}{again}{path.suffix}")
        if not aside.exists():
            return aside
    raise UsageError(
        f"{path.parent} holds a thousand damaged files of this second", hint="look after the disk"
    )


def _refuse(error: sqlite3.Error, path: Path) -> NoReturn:
    if isinstance(error, (sqlite3.ProgrammingError, sqlite3.IntegrityError)):
        raise error  # a bug of edgekit's own
    code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
    if code in _BROKEN:
        raise DamagedError(str(error)) from error
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        raise UsageError(
            f"the tuning records at {path} are locked by another program",
            hint="close what has the file open, then run the same command again",
        ) from error
    raise _useless(path, str(error)) from error


def _useless(path: Path, why: str) -> UsageError:
    return UsageError(
        f"the tuning records at {path} cannot be used: {why}",
        hint="is the folder writable and the disk not full? EDGEKIT_RECORDS_DIR names another one",
    )
