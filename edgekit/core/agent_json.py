"""Values out of what an agent answered: each is checked, and a wrong one is named.

A name that is absent or null gives ``None``: the agent could not tell.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from edgekit.core.errors import AgentError

Table = Mapping[str, Any]

_Item = TypeVar("_Item")
_MOST_ITEMS: Final = 8192  # no device has as many cores, zones or coolers
_MOST: Final = 1e18
_INT64: Final = 1 << 63


def wrong(name: str, value: object, wanted: str) -> AgentError:
    """Return the error that names what was wrong."""
    shown = repr(value)[:60]
    return AgentError(f"the agent's answer holds {name} = {shown}, not {wanted}", code="protocol")


def as_table(value: object, name: str) -> Table:
    """Return a value that is a table."""
    if not isinstance(value, Mapping):
        raise wrong(name, value, "a table")
    return value


def tables(table: Table, name: str, make: Callable[[Table], _Item]) -> tuple[_Item, ...]:
    """Return what is made of each table of a list."""
    return many(table, name, lambda entry: make(as_table(entry, f"an entry of {name}")))


def many(table: Table, name: str, make: Callable[[object], _Item]) -> tuple[_Item, ...]:
    """Return what is made of each entry of a list."""
    entries = table.get(name, ())
    if not isinstance(entries, list | tuple) or len(entries) > _MOST_ITEMS:
        raise wrong(name, entries, "a list")
    return tuple(make(entry) for entry in entries)


def wholes(table: Table, name: str) -> tuple[int, ...]:
    """Return a list of signed 64-bit numbers, of any length; no step of it is Python's."""
    entries = table.get(name, ())
    if not isinstance(entries, list | tuple):
        raise wrong(name, entries, "a list")
    if not set(map(type, entries)) <= {int}:
        raise wrong(name, entries[:8], "whole numbers")
    if entries and not -_INT64 <= min(entries) <= max(entries) < _INT64:
        raise wrong(name, entries[:8], "numbers of 64 bits")
    return tuple(entries)


def whole(table: Table, name: str, least: int = 0) -> int | None:
    """Return a whole number of at least ``least``."""
    value = table.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise wrong(name, value, f"a whole number of at least {least}")
    return value


def number(table: Table, name: str, least: float = -_MOST) -> float | None:
    """Return a number of at least ``least``."""
    value = table.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(name, value, "a number")
    if not least <= value <= _MOST:  # nor is a NaN
        raise wrong(name, value, f"a number from {least:g} to {_MOST:g}")
    return float(value)


def text(table: Table, name: str) -> str | None:
    """Return a text."""
    value = table.get(name)
    return None if value is None else word(value)


def word(value: object) -> str:
    """Return a value that is a text."""
    if not isinstance(value, str):
        raise wrong("a name", value, "a text")
    return value


def needed(value: _Item | None, name: str) -> _Item:
    """Return a value that must not be absent."""
    if value is None:
        raise wrong(name, value, "a value")
    return value
