"""Choosing among candidates, with the reason in words."""

import math
from collections.abc import Sequence

from edgekit.bench.pareto import pareto_front
from edgekit.bench.rounds import is_tie, split
from edgekit.core.candidate import CandidateResult
from edgekit.core.goal import Goal
from edgekit.core.measurement import Measurement
from edgekit.core.report import Choice


def choose(rows: Sequence[CandidateResult], goals: Sequence[Goal]) -> Choice | None:
    """Choose the best of the rows that passed the gate; ``None`` if none did.

    Goals come first, in order of priority: a row that reaches the first goal is better than any
    that does not, and so on; one that cannot be judged holds against nobody. Then, on a real
    device, the smallest median latency wins; candidates that the noise does not tell from it are
    a tie, and the more accurate, then the smaller of them wins. An emulated device has no speed:
    the most accurate, then the smallest wins.
    """
    passed = [row for row in rows if row.status == "ok"]
    if not passed:
        return None
    fewest = min(_missed(row, goals) for row in passed)
    fit = [row for row in passed if _missed(row, goals) == fewest]
    winner, reason = _fastest(fit)
    assert winner.bundle is not None  # noqa: S101 - what ran was bundled
    missed = tuple(str(goal) for goal in missed_goals(winner, goals))
    return Choice(winner.candidate, winner.bundle, reason, missed)


def missed_goals(row: CandidateResult, goals: Sequence[Goal]) -> tuple[Goal, ...]:
    """Return the goals that ``row`` is known to miss, in order of priority."""
    return tuple(goal for goal in goals if goal.met_by(row) is False)


def pareto(rows: Sequence[CandidateResult]) -> tuple[int, ...]:
    """Return the indices of the rows that passed and that nobody beats in everything.

    What counts is the median latency, the drop in accuracy and the size of the files.
    """
    passed = [number for number, row in enumerate(rows) if row.status == "ok"]
    points = [_figures(rows[number]) for number in passed]
    return tuple(passed[index] for index in pareto_front(points))


def _figures(row: CandidateResult) -> tuple[float | None, ...]:
    measured = row.measurement
    timed = measured if measured and not measured.emulated else None
    return (
        timed.model.p50 if timed else None,
        row.accuracy.drop if row.accuracy else None,
        None if row.size_bytes is None else float(row.size_bytes),
    )


def _missed(row: CandidateResult, goals: Sequence[Goal]) -> tuple[bool, ...]:
    return tuple(goal.met_by(row) is False for goal in goals)


def _fastest(fit: Sequence[CandidateResult]) -> tuple[CandidateResult, str]:
    if any(row.measurement is None or row.measurement.emulated for row in fit):
        winner = min(fit, key=_accuracy_then_size)
        return winner, "speed is not judged on an emulated device; most accurate of those"
    best = min(fit, key=_median_ms)
    tied = [row for row in fit if row is best or _tie(row, best)]
    winner = min(tied, key=_accuracy_then_size)
    return winner, _why(winner, tied, fit)


def _tie(one: CandidateResult, other: CandidateResult) -> bool:
    return is_tie(*_alike(_rounds(one.measurement), _rounds(other.measurement)))


def _alike(
    one: Sequence[Sequence[int]], other: Sequence[Sequence[int]]
) -> tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]:
    """Rounds can be paired where both have as many; otherwise all samples are one round."""
    if len(one) == len(other):
        return one, other
    return [[ns for each in one for ns in each]], [[ns for each in other for ns in each]]


def _rounds(measured: Measurement | None) -> Sequence[Sequence[int]]:
    assert measured is not None  # noqa: S101 - only measured rows are compared
    samples = measured.samples_ns or (round(measured.model.p50 * 1e6),)
    return split(samples, measured.rounds) if measured.rounds else [samples]


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


def _median_ms(row: CandidateResult) -> float:
    return row.measurement.model.p50 if row.measurement else math.inf


def _accuracy_then_size(row: CandidateResult) -> tuple[float, float, float]:
    return (
        row.accuracy.drop if row.accuracy else math.inf,
        row.error.max_abs if row.error else math.inf,
        row.size_bytes or math.inf,
    )
