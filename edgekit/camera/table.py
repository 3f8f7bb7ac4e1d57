"""Values out of a camera run's JSON: each is checked, and a wrong one is named."""

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from edgekit.core.errors import RunnerError

Table = Mapping[str, Any]

LARGEST: Final = (1 << 63) - 1

_Item = TypeVar("_Item")
_SHOWN: Final = 60


def wrong(name: str, value: object, wanted: str) -> RunnerError:
    """Return the error that names what was wrong."""
    shown = repr(value)
    shown = shown if len(shown) <= _SHOWN else shown[:_SHOWN] + "..."
    return RunnerError(
        f"the camera run's record holds {name} = {shown}, not {wanted}",
        hint="run it again; if it comes again, the bundle and edgekit are of different versions: "
        "build and deploy anew",
    )


def value_of(table: Table, name: str) -> object:
    """Return what a table has under a name, which must be there."""
    if name not in table:
        raise wrong(name, None, "there at all")
    return table[name]


def as_table(value: object, name: str) -> Table:
    """Return a value that is a table."""
    if not isinstance(value, Mapping):
        raise wrong(name, value, "a table")
    return value


def as_whole(value: object, name: str, least: int = 0, most: int = LARGEST) -> int:
    """Return a value that is a whole number from ``least`` to ``most``."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise wrong(name, value, "a whole number")
    if not least <= value <= most:
        bounds = f"of at least {least}" if value < least else f"of at most {most}"
        raise wrong(name, value, f"a whole number {bounds}")
    return value


def as_number(value: object, name: str) -> float:
    """Return a value that is a number of at least 0."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise wrong(name, value, "a number")
    if not 0 <= value <= LARGEST:  # nor is a NaN
        raise wrong(name, value, "a number of at least 0")
    return float(value)


def as_text(value: object, name: str) -> str:
    """Return a value that is a text."""
    if not isinstance(value, str):
        raise wrong(name, value, "a text")
    return value


def listed(value: object, name: str, make: Callable[[object, str], _Item]) -> tuple[_Item, ...]:
    """Return what is made of each entry of a list."""
    if not isinstance(value, list | tuple):
        raise wrong(name, value, "a list")
    return tuple(make(entry, f"{name}[{at}]") for at, entry in enumerate(value))


def fields(value: object, name: str, count: int) -> tuple[object, ...]:
    """Return the fields of an entry that is a list of ``count`` of them."""
    if not isinstance(value, list | tuple) or len(value) != count:
        raise wrong(name, value, f"a list of {count}")
    return tuple(value)


def names(value: object, name: str) -> tuple[str, ...]:
    """Return a list of texts, of which no two are the same."""
    found = listed(value, name, as_text)
    if len(set(found)) != len(found):
        raise wrong(name, value, "names that differ")
    return found
