"""Goals such as ``fps >= 10``: what a deployment must reach, as data.

Grammar: ``FIELD OP NUMBER`` with the fields of :data:`FIELDS` and the operators ``>=``,
``<=``, ``>``, ``<``. Several goals are given in order of priority.
"""

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from edgekit.core.candidate import CandidateResult
from edgekit.core.errors import UsageError
from edgekit.core.names import nearest

_OPERATORS: Final[dict[str, Callable[[float, float], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_BYTES_PER_MB = 1e6
_GOAL = re.compile(r"\s*([a-z][a-z0-9_]*)\s*(>=|<=|>|<)\s*([0-9]+(?:\.[0-9]+)?)\s*")


def _fps(row: CandidateResult) -> float | None:
    return row.measurement.fps if row.measurement else None


def _latency_ms(row: CandidateResult) -> float | None:
    # An emulated device's times are no times: such a goal cannot be judged there.
    measured = row.measurement
    return measured.model.p50 if measured and not measured.emulated else None


def _memory_mb(row: CandidateResult) -> float | None:
    peak = row.measurement.memory_peak_bytes if row.measurement else None
    return None if peak is None else peak / _BYTES_PER_MB


def _size_mb(row: CandidateResult) -> float | None:
    return None if row.size_bytes is None else row.size_bytes / _BYTES_PER_MB


def _drop(row: CandidateResult) -> float | None:
    return row.accuracy.drop if row.accuracy else None


FIELDS: Final[dict[str, Callable[[CandidateResult], float | None]]] = {
    "fps": _fps,
    "latency_ms": _latency_ms,
    "drop": _drop,
    "memory_mb": _memory_mb,
    "size_mb": _size_mb,
}


@dataclass(frozen=True)
class Goal:
    """One bound on one figure of a candidate."""

    field: str
    comparison: str
    bound: float

    def __str__(self) -> str:
        return f"{self.field} {self.comparison} {self.bound:g}"

    def value(self, row: CandidateResult) -> float | None:
        """The figure that the goal speaks of; ``None`` where it was not measured."""
        return FIELDS[self.field](row)

    def met_by(self, row: CandidateResult) -> bool | None:
        """Tell whether ``row`` meets the goal; ``None`` where it cannot be judged."""
        value = self.value(row)
        return None if value is None else _OPERATORS[self.comparison](value, self.bound)


def parse_goal(text: str) -> Goal:
    """Read a goal.

    Raises:
        UsageError: it is not of the grammar, or the field is unknown.
    """
    match = _GOAL.fullmatch(text)
    if match is None:
        raise UsageError(
            f"{text!r} is not a goal",
            hint=f"write FIELD OP NUMBER, such as 'fps >= 10'; fields: {', '.join(FIELDS)}",
        )
    field, comparison, bound = match.groups()
    if field not in FIELDS:
        near = nearest(field, FIELDS)
        known = f"fields: {', '.join(FIELDS)}"
        raise UsageError(
            f"no goal can be set on {field!r}",
            hint=f"did you mean {near[0]}? {known}" if near else known,
        )
    return Goal(field, comparison, float(bound))
