"""Choosing among candidates, with the reason in words."""

import math
from collections.abc import Collection, Sequence

from edgekit.bench.pareto import pareto_front
from edgekit.bench.rounds import is_open, is_tie, split
from edgekit.core.candidate import Candidate, CandidateResult
from edgekit.core.goal import Goal
from edgekit.core.measurement import Measurement
from edgekit.core.report import Choice


def choose(
    rows: Sequence[CandidateResult],
    goals: Sequence[Goal],
    leaders: Collection[Candidate] = (),
) -> Choice | None:
    """Choose the best of the rows that passed the gate; ``None`` if none did.

    Goals come first, in order of priority: a row that reaches the first goal is better than any
    that does not, and so on; one that cannot be judged holds against nobody. Then, on a real
    device, the smallest median latency wins; candidates that the noise does not tell from it are
    a tie, and the more accurate, then the smaller of them wins. An emulated device has no speed:
    the most accurate, then the smallest wins.

    Args:
        rows: what came of each candidate.
        goals: in order of priority.
        leaders: those that were measured longer because noise left open which is faster. The
            others were known to be slower by then, or no different: how they would stand to
            one of the leaders that happened to meet more noise is no question any more.
    """
    fit = _fit(rows, goals)
    if not fit:
        return None
    winner, reason = _fastest(fit, leaders)
    assert winner.bundle is not None  # noqa: S101 - what ran was bundled
    missed = tuple(str(goal) for goal in missed_goals(winner, goals))
    return Choice(winner.candidate, winner.bundle, reason, missed)


def undecided_leaders(
    rows: Sequence[CandidateResult], goals: Sequence[Goal]
) -> tuple[CandidateResult, ...]:
    """Return the fastest that may be chosen and those that more rounds might tell from it.

    None, where the noise leaves nothing open that matters.
    """
    fit = [row for row in _fit(rows, goals) if _is_timed(row)]
    if not fit:
        return ()
    best = min(fit, key=_median_ms)
    near = [row for row in fit if row is not best and is_open(*_paired(row, best))]
    return (best, *near) if near else ()


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


def _fit(rows: Sequence[CandidateResult], goals: Sequence[Goal]) -> Sequence[CandidateResult]:
    """Return the rows that passed the gate and miss the fewest goals, by priority."""
    passed = [row for row in rows if row.status == "ok"]
    fewest = min((_missed(row, goals) for row in passed), default=())
    return [row for row in passed if _missed(row, goals) == fewest]


def _is_timed(row: CandidateResult) -> bool:
    return row.measurement is not None and not row.measurement.emulated


def _missed(row: CandidateResult, goals: Sequence[Goal]) -> tuple[bool, ...]:
    return tuple(goal.met_by(row) is False for goal in goals)


def _fastest(
    fit: Sequence[CandidateResult], leaders: Collection[Candidate]
) -> tuple[CandidateResult, str]:
    if not all(_is_timed(row) for row in fit):
        winner = min(fit, key=_accuracy_then_size)
        return winner, "speed is not judged on an emulated device; most accurate of those"
    contenders = [row for row in fit if row.candidate in leaders] or fit
    best = min(contenders, key=_median_ms)
    tied = [best, *(row for row in fit if row is not best and _tie(row, best, contenders))]
    winner = min(tied, key=_accuracy_then_size)
    return winner, _why(winner, tied, fit)


def _tie(
    one: CandidateResult, best: CandidateResult, contenders: Sequence[CandidateResult]
) -> bool:
    pair = _paired(one, best)
    return is_tie(*pair) and (one in contenders or not is_open(*pair))


def _paired(
    one: CandidateResult, other: CandidateResult
) -> tuple[Sequence[Sequence[int]], Sequence[Sequence[int]]]:
    """Return the rounds in which the two stood beside each other; leaders have more of them."""
    pairs = list(zip(_rounds(one.measurement), _rounds(other.measurement), strict=False))
    return [a for a, _ in pairs], [b for _, b in pairs]


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
