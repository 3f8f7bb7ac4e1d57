"""Int8 lanes that cannot be judged on this machine follow one that can."""

from dataclasses import dataclass, field

import pytest

from edgekit.app import settle
from edgekit.app.settle import settle_judged
from edgekit.core.candidate import Candidate
from edgekit.core.quantisation import ChosenQuantisation, Quantisation, Tried


@dataclass
class Engine:
    name: str
    methods: tuple = ("minmax", "average")
    mixes: bool = True


@dataclass
class Plan:
    engine: Engine


@dataclass
class Lane:
    plan: Plan
    candidate: Candidate
    notes: list = field(default_factory=list)

    def set(self, candidate):
        self.candidate = candidate


class Judge:
    def __init__(self, *unable):
        self._unable = unable

    def refusal(self, lane):
        return "it runs elsewhere" if lane.plan.engine.name in self._unable else ""


def lane(name, **engine):
    first = engine.get("methods", ("minmax",))[0]
    candidate = Candidate(name, "int8", (), quantisation=Quantisation(first))
    return Lane(Plan(Engine(name, **engine)), candidate)


@pytest.fixture
def settled(monkeypatch):
    """Settle lanes, ONNX Runtime's by ``how``, and return what the others were given."""

    def settle_with(how, *lanes, drop=0.001):
        def judged(lane, judge, calibration, effort):
            lane.set(settle._with(lane, how))
            return ChosenQuantisation(how, drop, (Tried(how, drop),), "judged")

        monkeypatch.setattr(settle, "_settle", judged)
        unable = [each.plan.engine.name for each in lanes]
        settle_judged([lane("onnxruntime"), *lanes], Judge(*unable), None, "method")
        return [each.candidate.quantisation for each in lanes]

    return settle_with


def test_engine_that_cannot_run_here_is_made_as_the_one_that_can(settled):
    how, other = Quantisation("average", ("stem",)), lane("tvm")
    assert settled(how, other) == [how]
    assert "made as onnxruntime's int8 was" in other.notes[0]
    assert "it runs elsewhere" in other.notes[0]


@pytest.mark.parametrize(
    ("how", "engine"),
    [
        (Quantisation("average"), {"methods": ("engine", "kl")}),
        (Quantisation("average", ("stem",)), {"mixes": False}),
    ],
)
def test_engine_that_cannot_follow_takes_its_first_method(settled, how, engine):
    other = lane("rknn", **engine)
    (found,) = settled(how, other)
    assert found == Quantisation(other.plan.engine.methods[0])
    assert "first method" in other.notes[0]


def test_nothing_follows_what_could_not_be_judged(settled):
    other = lane("tvm")
    assert settled(Quantisation("average"), other, drop=None) == [Quantisation("minmax")]


def test_nothing_follows_where_nothing_runs():
    alone = lane("tvm")
    assert settle_judged([alone], Judge("tvm"), None, "method") == {}
    assert alone.candidate.quantisation == Quantisation("minmax")
