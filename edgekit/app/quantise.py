"""How an engine's int8 is made: the method that loses least, and what stays in float."""

from collections.abc import Callable, Sequence
from typing import Final

from edgekit.core.contracts import Engine, Unsupported
from edgekit.core.errors import EdgekitError, EngineError
from edgekit.core.events import EventSink, StepFinished, StepProgress, StepStarted
from edgekit.core.model import Model
from edgekit.core.quantisation import (
    CalibrationMethod,
    CalibrationSet,
    ChosenQuantisation,
    Quantisation,
    Sensitivity,
    Tried,
)
from edgekit.core.target import Target

Judge = Callable[[Quantisation], float]
Ranking = Callable[[CalibrationMethod], Sensitivity]

# Each try is a build and a run over the calibration side.
_MOST_MIXES: Final = 8


def refuse_int8(model: Model) -> Unsupported | None:
    """Tell why a model cannot be made int8 by any engine; ``None`` if it can."""
    from edgekit.prepare.sensitivity import quantisable

    if quantisable(model):
        return None
    return Unsupported(
        f"{model.name} has no layer that int8 could make faster: no convolution and no matrix "
        f"product among {', '.join(model.operators)}",
        hint="take fp32 or fp16",
    )


def choose_quantisation(  # noqa: PLR0913 - what is made, for whom, judged by what, within what
    engine: Engine,
    model: Model,
    target: Target,
    calibration: CalibrationSet,
    judge: Judge,
    *,
    methods: Sequence[CalibrationMethod],
    max_drop: float,
    mix: bool = True,
    enough: float | None = None,
    emit: EventSink,
) -> ChosenQuantisation:
    """Find the way to make ``model`` int8 that loses least on the calibration side.

    Every method is tried. Where the best of them loses more than ``max_drop`` and the engine can
    mix precisions, the layers that lose most stay in float: 1, 2, 4, 8 of them until the limit
    holds, then as few as will do. A way that cannot be built or judged is recorded and passed
    over; a limit that is missed yields the best there was. Whatever ``judge`` remembers is not
    done again, so that an interrupted search goes on where it was.

    Args:
        engine: whose int8 it is.
        model: in normal form.
        target: for which the engine builds.
        calibration: the model's inputs, for the ranking of the layers.
        judge: builds and runs one way, and tells how much accuracy it loses.
        methods: to be tried, the best guess first.
        max_drop: the limit.
        mix: whether layers may stay in float, if the engine can.
        enough: a drop that needs no better one: methods after it are not tried; ``None`` tries
            all.
        emit: told of the step.

    Raises:
        EngineError: there is no method to try.
    """
    if not methods:
        raise EngineError(f"{engine.name} has no method to make int8")
    step = f"quantise:{engine.name}"
    emit(StepStarted(step, f"Choose how {engine.name} makes {model.name} int8 for {target.name}"))

    def told(done: int, what: Quantisation) -> None:
        emit(StepProgress(step, done, None, str(what)))

    def ranking(method: CalibrationMethod) -> Sensitivity:
        return layer_losses(model, calibration, method, emit)

    try:
        trials = _Trials(judge, max_drop, told)
        wanted = ranking if engine.mixes and mix else None
        chosen = search_quantisation(trials, methods, wanted, enough)
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    emit(StepFinished(step, chosen.reason, ok=chosen.drop is not None))
    return chosen


def choose_mix(
    engine: Engine,
    model: Model,
    calibration: CalibrationSet,
    judge: Judge,
    pure: Quantisation,
    *,
    max_drop: float,
    emit: EventSink,
) -> ChosenQuantisation:
    """Find the fewest layers that must stay in float where pure int8 lost too much elsewhere.

    The gate refused ``pure`` on images that are not looked at here. Where it kept the limit on
    the calibration side all the same, a mix must lose no more than half of what it lost there.

    Raises:
        ModelError: the layers cannot be ranked.
    """
    step = f"mix:{engine.name}"
    emit(StepStarted(step, f"Keep {engine.name}'s worst layers of {model.name} in float"))

    def told(done: int, what: Quantisation) -> None:
        emit(StepProgress(step, done, None, str(what)))

    try:
        trials = _Trials(judge, max_drop, told)
        if trials.holds(pure):
            trials.max_drop = max(0.0, _drop(trials.all[0])) / 2
        layers = layer_losses(model, calibration, pure.method, emit)
        fewest = _fewest_in_float(trials, pure.method, layers)
        found = [tried for tried in trials.all if tried.quantisation == fewest]
        best = found[0] if found else trials.best or trials.all[0]
        chosen = _chosen(best, trials)
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    emit(StepFinished(step, chosen.reason))
    return chosen


def layer_losses(
    model: Model, calibration: CalibrationSet, method: CalibrationMethod, emit: EventSink
) -> Sensitivity:
    """Tell what int8 costs in each layer by itself, the worst first; cached.

    Raises:
        ModelError: ONNX Runtime cannot run the graph.
    """
    from edgekit.prepare.sensitivity import sensitivity_of
    from edgekit.toolbox.ranges import Ranges

    return sensitivity_of(model, calibration, Ranges, method=method, emit=emit)


class _Trials:
    """Judges each way once and remembers it, failures too."""

    def __init__(
        self, judge: Judge, max_drop: float, told: Callable[[int, Quantisation], None]
    ) -> None:
        self._judge = judge
        self._told = told
        self._tried: dict[Quantisation, Tried] = {}
        self.max_drop = max_drop

    def holds(self, quantisation: Quantisation) -> bool:
        """Try one way; tell whether the limit holds."""
        if quantisation not in self._tried:
            self._told(len(self._tried), quantisation)
            self._tried[quantisation] = self._try(quantisation)
        drop = self._tried[quantisation].drop
        return drop is not None and drop <= self.max_drop

    def _try(self, quantisation: Quantisation) -> Tried:
        try:
            return Tried(quantisation, self._judge(quantisation))
        except EdgekitError as error:
            return Tried(quantisation, None, error.message)

    @property
    def all(self) -> tuple[Tried, ...]:
        """Everything that was tried, in its order."""
        return tuple(self._tried.values())

    @property
    def best(self) -> Tried | None:
        """The least drop; of equal ones the first."""
        judged = [tried for tried in self._tried.values() if tried.drop is not None]
        return min(judged, key=_drop, default=None)


def _drop(tried: Tried) -> float:
    return tried.drop if tried.drop is not None else float("inf")


def search_quantisation(
    trials: _Trials,
    methods: Sequence[CalibrationMethod],
    ranking: Ranking | None,
    enough: float | None = None,
) -> ChosenQuantisation:
    """Try every method, then mixes of the best one; ``ranking``: ``None`` if none can be had."""
    for method in methods:
        trials.holds(Quantisation(method))
        if enough is not None and trials.best is not None and _drop(trials.best) <= enough:
            break
    best = trials.best
    if best is None:
        said = trials.all[0].error
        return ChosenQuantisation(
            trials.all[0].quantisation, None, trials.all, f"no method could be judged: {said}"
        )
    if _drop(best) <= trials.max_drop or ranking is None:
        return _chosen(best, trials)
    try:
        layers = ranking(best.quantisation.method)
    except EdgekitError as error:
        return _chosen(best, trials, f"; the layers could not be ranked: {error.message}")
    fewest = _fewest_in_float(trials, best.quantisation.method, layers)
    if fewest is not None:
        return _chosen(next(t for t in trials.all if t.quantisation == fewest), trials)
    return _chosen(trials.best or best, trials)


def _fewest_in_float(
    trials: _Trials, method: CalibrationMethod, layers: Sensitivity
) -> Quantisation | None:
    """Return the mix with the fewest layers in float that holds the limit, if one does."""

    def mix(count: int) -> Quantisation:
        return Quantisation(method, layers.float_plan(count))

    # With more than half of its layers in float a model is not int8 any more.
    most = len(layers.weighted) // 2
    count, failed, left = 1, 0, _MOST_MIXES
    while count <= most and left and not trials.holds(mix(count)):
        failed, count, left = count, count * 2, left - 1
    if count > most or not left:
        return None
    while count - failed > 1 and left > 1:
        left -= 1
        middle = (failed + count) // 2
        if trials.holds(mix(middle)):
            count = middle
        else:
            failed = middle
    return mix(count)


def _chosen(best: Tried, trials: _Trials, remark: str = "") -> ChosenQuantisation:
    missed = "" if _drop(best) <= trials.max_drop else f", beyond the limit of {trials.max_drop:g}"
    others = len([tried for tried in trials.all if tried.drop is not None])
    broken = len(trials.all) - others
    failures = f", {broken} could not be" if broken else ""
    reason = (
        f"{best.quantisation}: drop {_drop(best):.4f} on the calibration side{missed} "
        f"(best of {others} judged{failures}){remark}"
    )
    return ChosenQuantisation(best.quantisation, best.drop, trials.all, reason)
