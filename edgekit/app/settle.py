"""How each int8 lane is quantised: settled on the calibration side before the race begins."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from edgekit.app.arena import Arena
from edgekit.app.host_judge import HostJudge
from edgekit.app.lanes import Lane
from edgekit.app.quantise import choose_quantisation
from edgekit.core.candidate import Candidate
from edgekit.core.errors import UsageError
from edgekit.core.names import EngineName
from edgekit.core.quantisation import CalibrationSet, ChosenQuantisation, Quantisation

if TYPE_CHECKING:
    from edgekit.prepare.evaluation import EvaluationSet

_STEP: Final = "settle"


def settle_int8(
    arena: Arena, lanes: Sequence[Lane], *, quick: bool
) -> Mapping[EngineName, ChosenQuantisation]:
    """Set every int8 lane to the calibration method, and the float layers, that lose least.

    Each engine's methods are tried on this machine, on the calibration images; those that tell
    the accuracy are not looked at. An engine that cannot run here, and every engine where
    ``quick`` is asked for, gets its first method.

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
    if side is None or quick:
        return {}
    with HostJudge(arena, side) as judge:
        tried = [
            (lane.plan.engine.name, _settle(arena, lane, judge, calibration)) for lane in waiting
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
    arena: Arena, lane: Lane, judge: HostJudge, calibration: CalibrationSet
) -> ChosenQuantisation | None:
    engine = lane.plan.engine
    refusal = judge.refusal(lane)
    if refusal:
        lane.notes.append(f"calibrated by its first method, {engine.methods[0]}: {refusal}")
        return None
    title = f"Settle how {engine.name} is quantised"
    with arena.step(f"{_STEP}:{engine.name}", title):
        chosen = choose_quantisation(
            engine,
            arena.model,
            arena.target,
            calibration,
            lambda quantisation: judge.drop(lane, quantisation, calibration),
            methods=engine.methods,
            max_drop=arena.limits.max_drop,
            emit=arena.emit,
        )
    lane.set(_with(lane, chosen.quantisation))
    lane.notes.append(chosen.reason)
    return chosen


def _with(lane: Lane, quantisation: Quantisation) -> Candidate:
    return replace(lane.candidate, quantisation=quantisation)
