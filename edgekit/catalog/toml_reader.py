"""Strict TOML: a frozen dataclass is the schema, and every fault is told at once.

A field without a default is a required key; its annotation is the type. Understood are
``str``, ``int``, ``float``, ``bool``, ``Literal``, ``Path``, ``X | None``, ``tuple[X, ...]``,
``tuple[X, Y]``, another dataclass (a table), ``Mapping[str, X]`` (a table of free names) and
``object`` (anything TOML can say). A field whose metadata holds ``"key"`` goes by that name in
the file. A :class:`KeyFaultError` from a schema's ``__post_init__`` is told like the others.
"""

import dataclasses
import re
import tomllib
import types
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from edgekit.catalog.toml_lines import KeyPath, line_of, locate_keys
from edgekit.core.errors import CatalogError, UsageError
from edgekit.core.names import nearest

_Schema = TypeVar("_Schema")
Check = Callable[[_Schema], Iterable[tuple[KeyPath, str]]]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a file, and the path of the key it is wrong with."""

    path: KeyPath
    text: str


class KeyFaultError(UsageError):
    """Raised in a schema's ``__post_init__``: the value of ``key`` cannot be meant."""

    def __init__(self, key: str, text: str) -> None:
        super().__init__(text)
        self.key = key


class _Bad:
    """Stands in for a value that could not be read; its fault is on the list."""


_BAD: Final = _Bad()
_MEND: Final = "mend the file, then run the same command again; nothing was done"


def read_toml(
    file: Path,
    schema: type[_Schema],
    *,
    given: Mapping[str, object] | None = None,
    check: Check[_Schema] | None = None,
    amend: Callable[[dict[str, object]], dict[str, object]] | None = None,
) -> _Schema:
    """Read ``file`` as an instance of ``schema``.

    Args:
        file: the TOML file.
        schema: a frozen dataclass.
        given: fields that do not stand in the file, such as its own name.
        check: yields ``(key path, fault)`` for what types cannot say.
        amend: changes the parsed table before it is read.

    Raises:
        CatalogError: the file is not to be read, is not TOML, or has faults; the message
            holds all of them, each with file and line.
    """
    text, table = parse_toml(file)
    faults: list[Fault] = []
    value = _table(schema, amend(table) if amend else table, (), given or {}, faults)
    if not faults and check is not None and isinstance(value, schema):
        faults.extend(Fault(path, fault) for path, fault in check(value))
    if faults or not isinstance(value, schema):
        raise _error(file, text, faults)
    return value


def read_present(file: Path, schema: type) -> dict[str, object]:
    """Read the keys that stand in ``file``, each as ``schema`` types it; all are optional.

    Raises:
        CatalogError: as for :func:`read_toml`.
    """
    text, table = parse_toml(file)
    faults: list[Fault] = []
    present = _fields(schema, table, (), faults)
    if faults:
        raise _error(file, text, faults)
    return present


def read_named_tables(file: Path, schema: type[_Schema]) -> dict[str, _Schema]:
    """Read a file that is nothing but tables, each an instance of ``schema``.

    The table's name goes into the schema's field ``name``.

    Raises:
        CatalogError: as for :func:`read_toml`.
    """
    text, table = parse_toml(file)
    faults: list[Fault] = []
    read: dict[str, _Schema] = {}
    for name, entry in table.items():
        if not isinstance(entry, dict):
            faults.append(Fault((name,), f"{name!r} stands outside a table; begin one: [NAME]"))
            continue
        value = _table(schema, entry, (name,), {"name": name}, faults)
        if isinstance(value, schema):
            read[name] = value
    if faults:
        raise _error(file, text, faults)
    return read


def parse_toml(file: Path) -> tuple[str, dict[str, object]]:
    """Return the text of a TOML file and what it says, unchecked.

    Raises:
        CatalogError: the file is not to be read or is not TOML.
    """
    try:
        text = file.read_bytes().decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as error:
        raise CatalogError(
            f"{file} is not UTF-8 text: byte {error.start}", hint="save the file as UTF-8"
        ) from error
    except OSError as error:
        raise CatalogError(f"cannot read {file}: {error.strerror}", hint=_MEND) from error
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        where = re.search(r"\(at line (\d+), column (\d+)\)", str(error))
        line = f"{where[1]}:{where[2]}" if where else str(text.count("\n") + 1)
        fault = re.sub(r" \(at [^)]*\)$", "", str(error))
        raise CatalogError(f"{file}:{line}: not TOML: {fault}", hint=_MEND) from error


def _error(file: Path, text: str, faults: list[Fault]) -> CatalogError:
    lines = locate_keys(text)
    told = sorted({(line_of(lines, fault.path), fault.text) for fault in faults})
    listing = [f"{file}:{line}: {fault}" for line, fault in told]
    if len(listing) == 1:
        return CatalogError(listing[0], hint=_MEND)
    return CatalogError("\n  ".join([f"{file} has {len(listing)} faults:", *listing]), hint=_MEND)


def _table(
    schema: type,
    table: Mapping[str, object],
    path: KeyPath,
    given: Mapping[str, object],
    faults: list[Fault],
) -> object:
    """Read one table as an instance of ``schema``, or put its faults on the list."""
    before = len(faults)
    values = _fields(schema, table, path, faults, frozenset(given))
    for field in dataclasses.fields(schema):
        key = _key(field)
        required = (
            field.default is dataclasses.MISSING
            and field.default_factory is dataclasses.MISSING
            and field.name not in given
        )
        if required and key not in table:
            place = f" in [{_dotted(path)}]" if path else ""
            faults.append(Fault(path, f"key {key!r} is missing{place}"))
    if len(faults) > before:
        return _BAD
    try:
        instance: object = schema(**values, **given)
    except KeyFaultError as error:
        faults.append(Fault((*path, error.key), error.message))
        return _BAD
    return instance


def _fields(
    schema: type,
    table: Mapping[str, object],
    path: KeyPath,
    faults: list[Fault],
    given: frozenset[str] = frozenset(),
) -> dict[str, object]:
    """Read the keys that are present; unknown and mistyped ones go on the list."""
    fields = {_key(f): f.name for f in dataclasses.fields(schema) if f.name not in given}
    hints = field_types(schema)
    values: dict[str, object] = {}
    for key, value in table.items():
        if key not in fields:
            near = nearest(key, fields.keys() - table.keys())
            meant = f"; did you mean {near[0]!r}?" if near else f"; known: {', '.join(fields)}"
            place = f" in [{_dotted(path)}]" if path else ""
            faults.append(Fault((*path, key), f"unknown key {key!r}{place}{meant}"))
            continue
        values[fields[key]] = _value(hints[fields[key]], value, (*path, key), faults)
    return values


@cache
def field_types(schema: type) -> dict[str, Any]:
    """Return the types of a dataclass's fields; working them out costs more than reading a file."""
    return get_type_hints(schema)


def _key(field: "dataclasses.Field[Any]") -> str:
    return str(field.metadata.get("key", field.name))


def _value(wanted: Any, value: object, path: KeyPath, faults: list[Fault]) -> object:  # noqa: ANN401 - an annotation may be anything
    origin = get_origin(wanted)
    if wanted is object:
        return value
    if origin in {Union, types.UnionType}:
        (inner,) = (option for option in get_args(wanted) if option is not types.NoneType)
        return _value(inner, value, path, faults)
    if origin is Literal:
        return _literal(get_args(wanted), value, path, faults)
    if origin is tuple:
        return _sequence(get_args(wanted), value, path, faults)
    if dataclasses.is_dataclass(wanted) or origin is not None:
        return _mapping(wanted, value, path, faults)
    return _scalar(wanted, value, path, faults)


def _scalar(wanted: type, value: object, path: KeyPath, faults: list[Fault]) -> object:
    if wanted is Path and isinstance(value, str):
        return Path(value)
    if wanted is float and type(value) is int:
        return float(value)
    # type() and not isinstance(): to Python a bool is an int, to a reader of TOML it is not.
    if type(value) is wanted:
        return value
    return _mistyped(_WORDS.get(wanted, "a string"), value, path, faults)


def _literal(
    options: tuple[object, ...], value: object, path: KeyPath, faults: list[Fault]
) -> object:
    if value in options and any(type(value) is type(option) for option in options):
        return value
    near = nearest(value, map(str, options)) if isinstance(value, str) else ()
    meant = f"; did you mean {near[0]!r}?" if near else ""
    listed = ", ".join(map(repr, options))
    faults.append(Fault(path, f"{_dotted(path)} is {value!r}, must be one of {listed}{meant}"))
    return _BAD


def _sequence(
    arguments: tuple[Any, ...], value: object, path: KeyPath, faults: list[Fault]
) -> object:
    if not isinstance(value, list):
        return _mistyped("an array", value, path, faults)
    if len(arguments) == 2 and arguments[1] is Ellipsis:  # noqa: PLR2004 - tuple[X, ...]
        kinds = [arguments[0]] * len(value)
    else:
        kinds = list(arguments)
    if len(kinds) != len(value):
        faults.append(
            Fault(path, f"{_dotted(path)} must have {len(kinds)} elements, has {len(value)}")
        )
        return _BAD
    return tuple(
        _value(kind, element, (*path, index), faults)
        for index, (kind, element) in enumerate(zip(kinds, value, strict=True))
    )


def _mapping(wanted: Any, value: object, path: KeyPath, faults: list[Fault]) -> object:  # noqa: ANN401 - an annotation may be anything
    if not isinstance(value, dict):
        return _mistyped("a table", value, path, faults)
    if dataclasses.is_dataclass(wanted) and isinstance(wanted, type):
        return _table(wanted, value, path, {}, faults)
    _, inner = get_args(wanted)
    return {key: _value(inner, entry, (*path, key), faults) for key, entry in value.items()}


_WORDS: Final[Mapping[type, str]] = {
    str: "a string",
    int: "an integer",
    float: "a number",
    bool: "true or false",
    list: "an array",
    dict: "a table",
}


def _mistyped(wanted: str, value: object, path: KeyPath, faults: list[Fault]) -> _Bad:
    found = _WORDS.get(type(value), "a date or time")
    faults.append(Fault(path, f"{_dotted(path)} must be {wanted}, is {found}"))
    return _BAD


def _dotted(path: KeyPath) -> str:
    text = ""
    for step in path:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text
