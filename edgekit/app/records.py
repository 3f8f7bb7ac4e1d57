"""Use cases of the tuning records: look at them, send them about, take others' in."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from edgekit.catalog.settings import settings
from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, Note, ignore
from edgekit.core.names import unknown_name
from edgekit.tune.records import RECORDS_FILE, Records, open_records
from edgekit.tune.summaries import ScopeSummary, TaskSummary


@dataclass(frozen=True)
class Overview:
    """What there are records of.

    Attributes:
        path: where they stand.
        scopes: in the order in which they were begun, each with its tasks where they were asked
            for.
    """

    path: Path
    scopes: tuple[tuple[ScopeSummary, tuple[TaskSummary, ...]], ...]


@dataclass(frozen=True)
class Taken:
    """What a file brought: ``new`` trials that were not known before."""

    source: str
    new: int


def records_file() -> Path:
    """Return where this user's tuning records stand; the file need not exist."""
    return settings().records_dir / RECORDS_FILE


def own_records(emit: EventSink = ignore) -> Records:
    """Open this user's tuning records."""
    return open_records(records_file(), emit=emit)


def overview(
    target: str | None = None, *, with_tasks: bool = False, emit: EventSink = ignore
) -> Overview:
    """Say what there are records of.

    Args:
        target: only of this kind of board.
        with_tasks: list the tasks of each scope too.
        emit: told when the file was damaged.

    Raises:
        UnknownNameError: there are records, but none of this target.
        UsageError: the file cannot be used.
    """
    path = records_file()
    if not path.exists():
        return Overview(path, ())
    with own_records(emit) as records:
        chosen = _of_target(records, target)
        listed = ((each, records.tasks(each.scope) if with_tasks else ()) for each in chosen)
        return Overview(path, tuple(listed))


def export_records(stream: IO[str], target: str | None = None, *, emit: EventSink = ignore) -> int:
    """Write records as JSON lines; return how many trials.

    Raises:
        UnknownNameError: there are records, but none of this target.
        UsageError: there is nothing to export, or the file cannot be used.
    """
    if not records_file().exists():
        raise UsageError(
            f"there are no tuning records at {records_file()}",
            hint="EDGEKIT_RECORDS_DIR names the folder of records that stand elsewhere",
        )
    with own_records(emit) as records:
        return records.export(stream, [each.scope for each in _of_target(records, target)])


def export_to_file(
    path: Path, target: str | None = None, *, force: bool = False, emit: EventSink = ignore
) -> int:
    """Write records to a file, which appears when it is whole; return how many trials.

    Raises:
        UnknownNameError: there are records, but none of this target.
        UsageError: the file is there already or is none, such as a device; there is nothing to
            export, or the records cannot be used.
        OSError: the file cannot be written.
    """
    if not path.parent.is_dir():
        raise UsageError(f"there is no folder {path.parent}", hint="make it, or name another one")
    if path.exists() and not path.is_file():
        raise UsageError(f"{path} is no file", hint="- writes to standard output")
    if path.exists() and not force:
        raise UsageError(f"{path} is there already", hint="--force replaces it")
    if path.exists() and records_file().exists() and path.samefile(records_file()):
        raise UsageError(f"{path} is the file of your own records", hint="name another one")
    place = path.resolve()  # a link to it stays one
    growing = place.with_name(f".{place.name}.{os.getpid()}")
    try:
        with growing.open("w", encoding="utf-8") as stream:
            trials = export_records(stream, target, emit=emit)
        growing.replace(place)
    finally:
        growing.unlink(missing_ok=True)
    return trials


def import_records(stream: IO[str], name: str, *, emit: EventSink = ignore) -> Taken:
    """Take over an export, all of it or nothing.

    Raises:
        UsageError: lines of it are wrong, or the file of records cannot be used.
    """
    with own_records(emit) as records:
        return Taken(name, records.import_(stream, name))


def merge_records(paths: Sequence[Path], *, emit: EventSink = ignore) -> tuple[Taken, ...]:
    """Take over other databases of records, each of them whole or not at all.

    Raises:
        UsageError: one is no database of records; those before it are taken over, and told.
    """
    taken: list[Taken] = []
    with own_records(emit) as records:
        for path in paths:
            try:
                taken.append(Taken(str(path), records.merge(path)))
            except UsageError:
                for each in taken:
                    emit(Note(f"{each.source} was taken over: {each.new} new"))
                raise
    return tuple(taken)


def _of_target(records: Records, target: str | None) -> tuple[ScopeSummary, ...]:
    found = records.scopes()
    if target is None:
        return found
    chosen = tuple(each for each in found if each.scope.fingerprint.target == target)
    if found and not chosen:
        known = {each.scope.fingerprint.target for each in found}
        raise unknown_name("target with tuning records", target, known)
    return chosen
