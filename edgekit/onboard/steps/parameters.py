"""Strict reading of a step's parameters."""

from typing import Any, List, Mapping, Optional, Sequence, Set, Tuple

_MISSING = object()


class Parameters:
    """A step's parameters, read one by one; what nobody read is an error.

    Args:
        step: name of the step, for messages.
        values: as parsed from JSON.
    """

    def __init__(self, step: str, values: Mapping[str, Any]) -> None:
        self._step = step
        self._values = values
        self._read: Set[str] = set()

    def _take(self, key: str, default: Any) -> Any:
        self._read.add(key)
        value = self._values.get(key, default)
        if value is _MISSING:
            raise ValueError(f"step {self._step!r} needs parameter {key!r}")
        return value

    def _wrong(self, key: str, expected: str) -> ValueError:
        value = self._values.get(key)
        return ValueError(f"step {self._step!r}: {key} must be {expected}, not {value!r}")

    def number(self, key: str, default: float) -> float:
        """A finite number."""
        value = self._take(key, default)
        if not _is_number(value):
            raise self._wrong(key, "a number")
        return float(value)

    def count(self, key: str, default: int, minimum: int = 1) -> int:
        """An integer of at least ``minimum``."""
        value = self._take(key, default)
        if not isinstance(value, int) or isinstance(value, bool) or value < minimum:
            raise self._wrong(key, f"an integer of at least {minimum}")
        return value

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def word(self, key: str, default: Optional[str], choices: Sequence[str] = ()) -> Optional[str]:
        """A text, one of ``choices`` where there are any."""
        value = self._take(key, default)
        if value is not None and not isinstance(value, str):
            raise self._wrong(key, "a text")
        if choices and value not in choices:
            raise self._wrong(key, "one of " + ", ".join(choices))
        return value

    def size(self, key: str = "size") -> Tuple[int, int]:
        """Height and width: two positive integers, required."""
        value = self._take(key, _MISSING)
        whole = isinstance(value, (list, tuple)) and len(value) == 2  # noqa: PLR2004 - h, w
        if not whole or not all(isinstance(edge, int) and edge > 0 for edge in value):
            raise self._wrong(key, "[height, width] in pixels")
        return value[0], value[1]

    def per_channel(self, key: str, default: float) -> Tuple[float, float, float]:
        """One number for all three channels, or one for each."""
        value = self._take(key, default)
        values = [value] * 3 if _is_number(value) else value
        whole = isinstance(values, (list, tuple)) and len(values) == 3  # noqa: PLR2004 - channels
        if not whole or not all(_is_number(one) for one in values):
            raise self._wrong(key, "a number or three numbers")
        return float(values[0]), float(values[1]), float(values[2])

    def mapping(self, key: str) -> Optional[Mapping[str, Any]]:
        """A table of values, ``None`` where the parameter is absent."""
        value = self._take(key, None)
        if value is not None and not isinstance(value, Mapping):
            raise self._wrong(key, "a table")
        return value

    def rows(self, key: str) -> List[List[float]]:
        """A list of lists of numbers, required."""
        value = self._take(key, _MISSING)
        if not isinstance(value, (list, tuple)) or not all(
            isinstance(row, (list, tuple)) and row and all(_is_number(one) for one in row)
            for row in value
        ):
            raise self._wrong(key, "a list of lists of numbers")
        return [[float(one) for one in row] for row in value]

    def counts(self, key: str, default: Sequence[int]) -> List[int]:
        """A list of positive integers."""
        value = self._take(key, default)
        if not isinstance(value, (list, tuple)) or not all(
            isinstance(one, int) and one > 0 for one in value
        ):
            raise self._wrong(key, "a list of positive integers")
        return list(value)

    def words(self, key: str) -> Optional[List[str]]:
        """A list of texts, ``None`` where the parameter is absent."""
        value = self._take(key, None)
        if value is None:
            return None
        if not isinstance(value, (list, tuple)) or not all(isinstance(one, str) for one in value):
            raise self._wrong(key, "a list of texts")
        return list(value)

    def finish(self) -> None:
        """Refuse parameters that no one asked for."""
        unknown = sorted(set(self._values) - self._read)
        if unknown:
            raise ValueError(
                f"step {self._step!r} has no parameter {', '.join(map(repr, unknown))}; "
                f"it has {', '.join(sorted(self._read)) or 'none'}"
            )


def _is_number(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) != float("inf") and value == value  # noqa: PLR0124 - refuses NaN
