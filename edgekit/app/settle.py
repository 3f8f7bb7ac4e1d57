"""How each int8 lane is quantised: settled on the calibration side before the race begins."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, Literal

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

# One scale and zero point for each tensor, a scale for each output channel of the weights: what
# most engines do. It runs on every host.
_PROXY: Final[EngineName] = "onnxruntime"


def settle_int8(
    arena: Arena, lanes: Sequence[Lane], *, effort: Effort
) -> Mapping[EngineName, ChosenQuantisation]:
    """Set every int8 lane to the way to make it that loses least.

    An engine's methods are tried on this machine, on the calibration images; those that tell
    the accuracy are not looked at. An engine that cannot run here gets what ONNX Runtime's int8
    of the same race was given, where it can be made so, else its first method.

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
    # With nothing to be judged on, there is nothing that calibration images must not share.
    looks = effort != "first" or arena.evaluation is not None
    side = _side(arena) if looks else None
    for lane in waiting:
        lane.set(_with(lane, Quantisation(lane.plan.engine.methods[0])))
    if side is None or effort == "first":
        return {}
    with HostJudge(arena, side) as judge:
        return settle_judged(waiting, judge, calibration, effort)


def settle_judged(
    lanes: Sequence[Lane], judge: HostJudge, calibration: CalibrationSet, effort: Effort
) -> Mapping[EngineName, ChosenQuantisation]:
    """Settle those lanes that can be judged here; the others follow one of them."""
    found: dict[EngineName, ChosenQuantisation] = {}
    refusals = [(lane, judge.refusal(lane)) for lane in lanes]
    for lane, refusal in refusals:
        if not refusal:
            found[lane.plan.engine.name] = _settle(lane, judge, calibration, effort)
    for lane, refusal in refusals:
        if refusal:
            _follow(lane, refusal, found.get(_PROXY))
    return found


def _side(arena: Arena) -> "EvaluationSet | None":
    from edgekit.prepare.calibration_side import load_calibration_side

    return load_calibration_side(
        arena.recipe,
        arena.model,
        evaluation=arena.evaluation,
        images=arena.calibration_images,
        emit=arena.emit,
    )


def _follow(lane: Lane, refusal: str, proxy: ChosenQuantisation | None) -> None:
    """Make a lane int8 as another engine was that could be judged here, if it can be."""
    how = proxy.quantisation if proxy is not None and proxy.drop is not None else None
    if how is not None and _can_make(lane, how):
        lane.set(_with(lane, how))
        lane.notes.append(f"made as {_PROXY}'s int8 was ({how}): {refusal}")
    else:
        method = lane.plan.engine.methods[0]
        lane.notes.append(f"calibrated by its first method, {method}: {refusal}")


def _can_make(lane: Lane, how: Quantisation) -> bool:
    engine = lane.plan.engine
    return how.method in engine.methods and (engine.mixes or not how.float_layers)


def _settle(
    lane: Lane, judge: HostJudge, calibration: CalibrationSet, effort: Effort
) -> ChosenQuantisation:
    arena, engine = lane.arena, lane.plan.engine
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
        refusals = [(lane, judge.refusal(lane)) for lane in refused]
        for lane, refusal in refusals:
            if not refusal:
                lane.attempt(partial(_mend, lane, judge, calibration))
    proxy = next((lane for lane in lanes if _is_proxy(lane)), None)
    for lane, refusal in refusals:
        if refusal and proxy is not None:
            lane.attempt(partial(_mend_alike, lane, proxy))


def _is_proxy(lane: Lane) -> bool:
    return lane.plan.engine.name == _PROXY and lane.candidate.precision == "int8"


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
        _make_anew(lane, chosen.quantisation, f"then {chosen.reason}")


def _mend_alike(lane: Lane, proxy: Lane) -> None:
    """Keep those layers in float that another engine had to."""
    how = proxy.candidate.quantisation
    if how is None or how == lane.candidate.quantisation or not _can_make(lane, how):
        return
    if proxy.row.status == "ok":
        _make_anew(lane, how, f"then made as {_PROXY}'s int8 was, which passed: {how}")


def _make_anew(lane: Lane, how: Quantisation, note: str) -> None:
    lane.notes.append(note)
    lane.set(_with(lane, how))
    lane.build()
    lane.judge()


def _with(lane: Lane, quantisation: Quantisation) -> Candidate:
    return replace(lane.candidate, quantisation=quantisation)
