"""The search for the way to make int8 that loses least."""

from dataclasses import dataclass

import pytest

from edgekit.app import quantise
from edgekit.app.quantise import choose_mix, choose_quantisation, refuse_int8
from edgekit.core.errors import BuildError, EngineError, ModelError
from edgekit.core.events import StepFinished, StepProgress
from edgekit.core.model import FileRef, Model, Pipeline, StepSpec
from edgekit.core.quantisation import LayerLoss, Quantisation, Sensitivity

LAYERS = tuple(f"layer{index:02}" for index in range(40, 0, -1))  # the worst first


@dataclass
class EngineThatMixes:
    name: str = "some"
    mixes: bool = True


@dataclass
class Board:
    name: str = "board"


class Judge:
    """Drops by method, less for each of the worst layers that stays in float."""

    def __init__(self, drops, gain=0.0):
        self.drops, self.gain = drops, gain
        self.asked = []

    def __call__(self, quantisation):
        self.asked.append(quantisation)
        drop = self.drops[quantisation.method]
        if isinstance(drop, Exception):
            raise drop
        assert set(quantisation.float_layers) == set(LAYERS[: len(quantisation.float_layers)])
        return drop - self.gain * len(quantisation.float_layers)


@pytest.fixture
def ranked(monkeypatch):
    asked = []

    def worst(model, calibration, method, emit):
        asked.append(method)
        losses = [LayerLoss(name, "Conv", True, 20, "y", 0.1) for name in LAYERS]
        join = LayerLoss("join", "Concat", False, 0, "y", 0.1)
        return Sensitivity((join, *losses), method, 4)

    monkeypatch.setattr(quantise, "layer_losses", worst)
    return asked


def model(*operators):
    file = FileRef(None, "0" * 64, 0)
    steps = Pipeline(StepSpec("tensor"), StepSpec("tensor"))
    return Model("tiny", file, file, "0" * 64, (), (), operators, False, steps, steps)


def choose(judge, *, mixes=True, max_drop=0.01, methods=None, events=None):
    return choose_quantisation(
        EngineThatMixes(mixes=mixes),
        model("Conv"),
        Board(),
        None,
        judge,
        methods=tuple(judge.drops) if methods is None else methods,
        max_drop=max_drop,
        emit=events if events is not None else (lambda event: None),
    )


def test_every_method_is_tried_and_the_least_drop_wins(ranked):
    judge = Judge({"percentile": 0.004, "minmax": -0.001, "kl": 0.2})
    found = choose(judge)
    assert found.quantisation == Quantisation("minmax")
    assert found.drop == -0.001
    assert [tried.drop for tried in found.tried] == [0.004, -0.001, 0.2]
    assert "minmax" in found.reason
    assert not ranked


def test_first_of_equal_methods_wins(ranked):
    assert choose(Judge({"average": 0.0, "minmax": 0.0})).quantisation.method == "average"


@pytest.mark.parametrize("needed", [1, 2, 3, 5, 7, 8, 11, 16])
def test_fewest_layers_stay_in_float_that_hold_the_limit(needed, ranked):
    judge = Judge({"kl": 0.9, "minmax": 0.01 + needed * 0.01 - 1e-9}, gain=0.01)
    found = choose(judge)
    assert found.quantisation == Quantisation("minmax", tuple(sorted(LAYERS[:needed])))
    assert found.drop <= 0.01
    assert len(set(judge.asked)) == len(judge.asked)
    assert ranked == ["minmax"]


def test_engine_that_cannot_mix_yields_its_best_method(ranked):
    found = choose(Judge({"minmax": 0.05, "kl": 0.03}, gain=1), mixes=False)
    assert found.quantisation == Quantisation("kl")
    assert "beyond the limit of 0.01" in found.reason
    assert not ranked


def test_missed_limit_yields_the_best_mix(ranked):
    found = choose(Judge({"minmax": 0.5}, gain=0.001))
    assert len(found.quantisation.float_layers) == 16
    assert found.drop == pytest.approx(0.484)
    assert "beyond the limit" in found.reason
    # More than half in float is no int8 model any more.
    assert max(len(tried.quantisation.float_layers) for tried in found.tried) <= len(LAYERS) / 2


def test_failure_is_recorded_and_passed_over(ranked):
    judge = Judge({"minmax": BuildError("no such range"), "kl": 0.002})
    found = choose(judge)
    assert found.quantisation == Quantisation("kl")
    assert found.tried[0].drop is None
    assert found.tried[0].error == "no such range"
    assert "1 could not be" in found.reason


def test_mix_that_cannot_be_built_does_not_end_the_search(ranked):
    judge = Judge({"minmax": 0.041}, gain=0.01)
    plain = judge.__class__.__call__

    def stumbling(quantisation):
        if len(quantisation.float_layers) == 2:
            raise BuildError("two is too few")
        return plain(judge, quantisation)

    stumbling.drops = judge.drops
    found = choose(stumbling)
    assert len(found.quantisation.float_layers) == 4
    assert [tried.error for tried in found.tried if tried.drop is None] == ["two is too few"]


def test_nothing_that_can_be_judged_yields_the_first_method(ranked):
    judge = Judge({"minmax": BuildError("broken"), "kl": BuildError("too")})
    seen = []
    found = choose(judge, events=seen.append)
    assert found.quantisation == Quantisation("minmax")
    assert found.drop is None
    assert "broken" in found.reason
    assert not [event for event in seen if isinstance(event, StepFinished)][-1].ok


def test_layers_that_cannot_be_ranked_leave_the_best_method(monkeypatch):
    def fail(*_):
        raise ModelError("no ranking")

    monkeypatch.setattr(quantise, "layer_losses", fail)
    found = choose(Judge({"minmax": 0.05}))
    assert found.quantisation == Quantisation("minmax")
    assert "no ranking" in found.reason


def test_interrupted_search_ends_at_once_and_says_so(ranked):
    seen = []

    def interrupt(quantisation):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        choose(interrupt, methods=("minmax",), events=seen.append)
    assert not seen[-1].ok


def test_progress_names_what_is_tried(ranked):
    seen = []
    choose(Judge({"minmax": 0.02}, gain=0.02), events=seen.append)
    told = [event.unit for event in seen if isinstance(event, StepProgress)]
    assert told == ["minmax", "minmax, 1 layer in float"]


def test_no_method_at_all_is_an_error():
    with pytest.raises(EngineError, match="no method"):
        choose(Judge({}))


def test_model_without_weights_is_refused_for_int8():
    assert refuse_int8(model("Conv", "Relu")) is None
    refusal = refuse_int8(model("Relu", "Sigmoid"))
    assert "Relu, Sigmoid" in refusal.reason
    assert refusal.hint


def test_methods_after_one_that_is_good_enough_are_not_tried(ranked):
    judge = Judge({"percentile": 0.02, "average": 0.004, "minmax": 0.001})
    chosen = choose_quantisation(
        EngineThatMixes(), model("Conv"), Board(), None, judge,
        methods=("percentile", "average", "minmax"), max_drop=0.01, enough=0.005,
        emit=lambda _: None,
    )  # fmt: skip
    assert chosen.quantisation == Quantisation("average")
    assert len(judge.asked) == 2


def test_without_mixing_the_best_method_is_all_there_is(ranked):
    judge = Judge({"percentile": 0.02, "average": 0.03}, gain=0.01)
    chosen = choose_quantisation(
        EngineThatMixes(), model("Conv"), Board(), None, judge,
        methods=("percentile", "average"), max_drop=0.01, mix=False, emit=lambda _: None,
    )  # fmt: skip
    assert chosen.quantisation == Quantisation("percentile")
    assert not ranked


@pytest.mark.parametrize(("drop", "layers"), [(0.03, 4), (0.008, 1)])
def test_what_the_gate_refused_keeps_as_few_layers_in_float_as_will_do(ranked, drop, layers):
    """Beyond the limit: until it holds. Within it: until half of what was lost is left."""
    judge = Judge({"percentile": drop}, gain=0.005)
    chosen = choose_mix(
        EngineThatMixes(), model("Conv"), None, judge, Quantisation("percentile"),
        max_drop=0.01, emit=lambda _: None,
    )  # fmt: skip
    assert len(chosen.quantisation.float_layers) == layers


def test_mix_that_never_holds_yields_the_best_there_was(ranked):
    judge = Judge({"percentile": 0.5}, gain=0.001)
    chosen = choose_mix(
        EngineThatMixes(), model("Conv"), None, judge, Quantisation("percentile"),
        max_drop=0.01, emit=lambda _: None,
    )  # fmt: skip
    assert chosen.drop < 0.5
    assert "beyond the limit" in chosen.reason
