"""Records as JSON lines: to be sent, kept with a project, or looked at with other tools.

::

    {"format": "edgekit tuning records", "version": 1}
    {"workload": {"tvm": ..., "structural_hash": ..., "json": ...}}
    {"scope": {"fingerprint": {...}, "tvm": ..., "pipeline": ..., "cost": "seconds"}}
    {"trial": {"structural_hash": ..., "trace": ..., "costs": [...], ...}}
    {"end": {"workloads": 1, "trials": 1}}

Trials belong to the scope above them. The last line tells a whole file from one that was cut.
"""

import json
from collections.abc import Iterable, Mapping
from typing import IO, Any, Final

from edgekit.core.errors import UsageError
from edgekit.tune.record import Record, Scope
from edgekit.tune.rows import Workload

FORMAT: Final = "edgekit tuning records"
VERSION: Final = 1
_KINDS: Final = ("workload", "scope", "trial", "end")
_FAULTS_TOLD: Final = 10
_WORKLOAD_KEYS: Final = frozenset({"tvm", "structural_hash", "json"})


def write(stream: IO[str], workloads: Iterable[Workload], trials: Iterable[Record]) -> int:
    """Write a whole file of lines; return how many trials.

    Args:
        stream: text.
        workloads: modules that the trials refer to.
        trials: those of one scope together.
    """
    _put(stream, {"format": FORMAT, "version": VERSION})
    counted = {"workloads": 0, "trials": 0}
    for each in workloads:
        held = {"tvm": each.tvm, "structural_hash": each.structural_hash, "json": each.json}
        _put(stream, {"workload": held})
        counted["workloads"] += 1
    scope: Scope | None = None
    for record in trials:
        if record.scope != scope:
            scope = record.scope
            stream.write(f'{{"scope":{scope.as_text()}}}\n')
        _put(stream, {"trial": record.as_value()})
        counted["trials"] += 1
    _put(stream, {"end": counted})
    return counted["trials"]


def read(stream: IO[str], name: str) -> tuple[Record | Workload, ...]:
    """Read a whole file of lines.

    Args:
        stream: text.
        name: what messages call it.

    Raises:
        UsageError: it is none, or lines are wrong: up to ten, with their numbers.
    """
    reader = _Reader(name)
    try:
        for number, line in enumerate(stream, 1):
            reader.take(number, line)
    except UnicodeDecodeError as error:
        raise UsageError(
            f"{name} is no text, so no export of tuning records",
            hint="edgekit records merge takes a records.sqlite",
        ) from error
    return reader.finish()


def _put(stream: IO[str], value: Mapping[str, object]) -> None:
    stream.write(json.dumps(value, separators=(",", ":")) + "\n")


class _Reader:
    def __init__(self, name: str) -> None:
        self._name = name
        self._found: list[Record | Workload] = []
        self._faults: list[str] = []
        self._fault_count = 0
        self._scope: Scope | None = None
        self._scope_is_wrong = False
        self._lines = 0
        self._ended = False

    def take(self, number: int, line: str) -> None:
        self._lines = number
        if number == 1:
            self._begin(line)
            return
        try:
            self._take(line)
        except ValueError as error:
            self._fault(f"line {number}: {error}")

    def finish(self) -> tuple[Record | Workload, ...]:
        if not self._lines:
            raise UsageError(f"{self._name} is empty", hint=_HINT)
        if not self._ended and not self._fault_count:
            self._fault(f"line {self._lines} is not the last one: the rest was cut off")
        if self._fault_count:
            more = self._fault_count - len(self._faults)
            told = [*self._faults, *([f"and {more} lines more"] if more else [])]
            raise UsageError(
                f"{self._name} cannot be imported, nothing was taken:\n  " + "\n  ".join(told),
                hint="export it again, or mend those lines",
            )
        return tuple(self._found)

    def _begin(self, line: str) -> None:
        try:
            first = _object(line)
        except ValueError:
            first = {}
        if first.get("format") != FORMAT:
            raise UsageError(f"{self._name} is no export of tuning records", hint=_HINT)
        if first.get("version") != VERSION:
            raise UsageError(
                f"{self._name} has version {first.get('version')} of the format; this edgekit "
                f"knows {VERSION}",
                hint="import it with the edgekit that wrote it, or a later one",
            )

    def _take(self, line: str) -> None:
        if self._ended:
            raise ValueError("something follows the last line")
        top = _object(line)
        if len(top) != 1 or (kind := next(iter(top))) not in _KINDS:
            raise ValueError(f"a line holds one of {', '.join(_KINDS)}")
        value = top[kind]
        if kind == "workload":
            self._found.append(_workload(value))
        elif kind == "scope":
            self._take_scope(value)
        elif kind == "trial":
            self._take_trial(value)
        else:
            self._end(value)

    def _take_scope(self, value: object) -> None:
        self._scope, self._scope_is_wrong = None, True
        self._scope = Scope.from_value(value)
        self._scope_is_wrong = False

    def _take_trial(self, value: object) -> None:
        if self._scope_is_wrong:
            return  # told at the scope's own line
        if self._scope is None:
            raise ValueError("a trial stands before any scope")
        self._found.append(Record.from_value(value, self._scope))

    def _end(self, value: object) -> None:
        self._ended = True
        trials = sum(isinstance(each, Record) for each in self._found)
        counted = {"workloads": len(self._found) - trials, "trials": trials}
        if value != counted and not self._fault_count:
            raise ValueError(f"the file should hold {json.dumps(value)}, and holds {counted}")

    def _fault(self, text: str) -> None:
        self._fault_count += 1
        if len(self._faults) < _FAULTS_TOLD:
            self._faults.append(text)


_HINT: Final = "edgekit records import takes what edgekit records export wrote"


def _workload(value: object) -> Workload:
    if not isinstance(value, dict) or value.keys() != _WORKLOAD_KEYS:
        raise ValueError(f"a workload has {', '.join(sorted(_WORKLOAD_KEYS))}")
    if not all(isinstance(text, str) for text in value.values()):
        raise ValueError("a workload is text")
    return Workload(**value)


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"no JSON: {error.msg} at column {error.colno}") from None
    except RecursionError:
        raise ValueError("JSON that is nested too deeply") from None
    if not isinstance(value, dict):
        raise ValueError("no JSON object")  # noqa: TRY004 - a fault of the file
    return value
