"""Choosing among candidates, with the reason in words."""

import math
from collections.abc import Sequence

from edgekit.core.candidate import CandidateResult
from edgekit.core.goal import Goal
from edgekit.core.report import Choice

_TIE = 1.03  # closer than this, two medians of a short run do not tell candidates apart


def choose(rows: Sequence[CandidateResult], goals: Sequence[Goal]) -> Choice | None:
    """Choose the winner among the rows that passed the gate and miss no goal.

    On a real device the smallest median latency wins; candidates within 3 % of it are a tie,
    and the more accurate, then the smaller of them wins. An emulated device has no speed: the
    most accurate, then the smallest wins. A goal that cannot be judged excludes nobody.
    """
    fit = [row for row in rows if row.status == "ok" and not missed_goals(row, goals)]
    if not fit:
        return None
    if any(row.measurement is None or row.measurement.emulated for row in fit):
        winner = min(fit, key=_accuracy_then_size)
        return _choice(winner, "speed is not judged on an emulated device; most accurate of those")
    best = min(_median_ms(row) for row in fit)
    tied = [row for row in fit if _median_ms(row) <= best * _TIE]
    winner = min(tied, key=_accuracy_then_size)
    return _choice(winner, _why(winner, tied, fit))


def missed_goals(row: CandidateResult, goals: Sequence[Goal]) -> tuple[Goal, ...]:
    """Return the goals that ``row`` is known to miss, in order of priority."""
    return tuple(goal for goal in goals if goal.met_by(row) is False)


def _why(
    winner: CandidateResult, tied: Sequence[CandidateResult], fit: Sequence[CandidateResult]
) -> str:
    speed = f"{_median_ms(winner):.2f} ms"
    if len(fit) == 1:
        return f"{speed}; the only one that passed"
    if len(tied) > 1:
        others = ", ".join(str(row.candidate) for row in tied if row is not winner)
        return f"{speed}; a tie in speed with {others}, and the more accurate or smaller wins"
    runner_up = min((row for row in fit if row is not winner), key=_median_ms)
    ratio = _median_ms(runner_up) / _median_ms(winner)
    return f"fastest: {speed}, {ratio:.2f}x the speed of {runner_up.candidate}"


def _choice(row: CandidateResult, reason: str) -> Choice:
    assert row.bundle is not None  # noqa: S101 - what ran was bundled
    return Choice(candidate=row.candidate, bundle=row.bundle, reason=reason)


def _median_ms(row: CandidateResult) -> float:
    return row.measurement.model.p50 if row.measurement else math.inf


def _accuracy_then_size(row: CandidateResult) -> tuple[float, float, float]:
    return (
        row.accuracy.drop if row.accuracy else math.inf,
        row.error.max_abs if row.error else math.inf,
        row.size_bytes or math.inf,
    )
