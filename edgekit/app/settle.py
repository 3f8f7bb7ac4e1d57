"""How each int8 lane is quantised: settled on the calibration side before the race begins."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Literal

from edgekit.app.arena import Arena
from edgekit.app.host_judge import HostJudge
from edgekit.app.lanes import Lane
from edgekit.app.quantise import choose_mix, choose_quantisation
from edgekit.core.candidate import Candidate
from edgekit.core.errors import UsageError
from edgekit.core.names import EngineName
from edgekit.core.quantisation import CalibrationSet, ChosenQuantisation, Quantisation

if TYPE_CHECKING:
    from edgekit.prepare.evaluation import EvaluationSet

Effort = Literal["first", "method", "all"]


def settle_int8(
    arena: Arena, lanes: Sequence[Lane], *, effort: Effort
) -> Mapping[EngineName, ChosenQuantisation]:
    """Set every int8 lane to the way to make it that loses least.

    An engine's methods are tried on this machine, on the calibration images; those that tell
    the accuracy are not looked at. An engine that cannot run here gets its first method.

    Args:
        arena: the race's surroundings.
        lanes: those of other precisions are left alone.
        effort: ``first`` takes each engine's first method untried; ``method`` tries them until
            one keeps the limit; ``all`` tries all of them, and which layers
            must stay in float.

    Returns:
        What was found out of each engine whose settings were tried.

    Raises:
        UsageError: the user's own calibration images will not do.
    """
    waiting = [lane for lane in lanes if lane.candidate.precision == "int8"]
    if not waiting:
        return {}
    try:
        calibration = arena.calibration()
    except UsageError as error:
        if arena.calibration_images is not None:
            raise
        for lane in waiting:
            lane.end("unsupported", f"{error.message}; {error.hint}")
        return {}
    side = _side(arena)
    for lane in waiting:
        lane.set(_with(lane, Quantisation(lane.plan.engine.methods[0])))
    if side is None or effort == "first":
        return {}
    with HostJudge(arena, side) as judge:
        tried = [
            (lane.plan.engine.name, _settle(lane, judge, calibration, effort)) for lane in waiting
        ]
    return {engine: found for engine, found in tried if found is not None}


def _side(arena: Arena) -> "EvaluationSet | None":
    from edgekit.prepare.calibration_side import load_calibration_side

    return load_calibration_side(
        arena.recipe,
        arena.model,
        evaluation=arena.evaluation,
        images=arena.calibration_images,
        emit=arena.emit,
    )


def _settle(
    lane: Lane, judge: HostJudge, calibration: CalibrationSet, effort: Effort
) -> ChosenQuantisation | None:
    arena, engine = lane.arena, lane.plan.engine
    refusal = judge.refusal(lane)
    if refusal:
        lane.notes.append(f"calibrated by its first method, {engine.methods[0]}: {refusal}")
        return None
    limit = arena.limits.max_drop
    chosen = choose_quantisation(
        engine,
        arena.model,
        arena.target,
        calibration,
        lambda quantisation: judge.drop(lane, quantisation, calibration),
        methods=engine.methods,
        max_drop=limit,
        mix=effort == "all",
        enough=None if effort == "all" else limit,
        emit=arena.emit,
    )
    lane.set(_with(lane, chosen.quantisation))
    lane.notes.append(chosen.reason)
    return chosen


def mend_refused(arena: Arena, lanes: Sequence[Lane]) -> None:
    """Keep the worst layers in float of each int8 lane that the gate refused, and judge it anew.

    Which layers, and how many, is found out on the calibration side. A lane that the gate
    refuses again keeps its mix: it is the best that was found. A lane that was slower than one
    that passed is left alone: layers in float would not make it faster.
    """
    passed = min((lane.brief_ms for lane in lanes if lane.row.status == "ok"), default=math.inf)
    refused = [lane for lane in lanes if _can_be_mended(lane) and lane.brief_ms <= passed]
    side = _side(arena) if refused else None
    if side is None:
        return
    calibration = arena.calibration()
    with HostJudge(arena, side) as judge:
        for lane in refused:
            if not judge.refusal(lane):
                lane.attempt(partial(_mend, lane, judge, calibration))


def _can_be_mended(lane: Lane) -> bool:
    how = lane.candidate.quantisation
    return lane.row.status == "gate" and how is not None and lane.plan.engine.mixes


def _mend(lane: Lane, judge: HostJudge, calibration: CalibrationSet) -> None:
    arena, how = lane.arena, lane.candidate.quantisation
    assert how is not None  # noqa: S101 - only int8 lanes are mended
    chosen = choose_mix(
        lane.plan.engine,
        arena.model,
        calibration,
        lambda quantisation: judge.drop(lane, quantisation, calibration),
        how,
        max_drop=arena.limits.max_drop,
        emit=arena.emit,
    )
    if chosen.quantisation != how:
        lane.notes.append(f"then {chosen.reason}")
        lane.set(_with(lane, chosen.quantisation))
        lane.build()
        lane.judge()


def _with(lane: Lane, quantisation: Quantisation) -> Candidate:
    return replace(lane.candidate, quantisation=quantisation)
