"""A race waits for what may pass, within one budget for all of its turns."""

from dataclasses import replace

import pytest

from edgekit.app import patience
from edgekit.app.patience import Patience
from edgekit.core.health import HealthSnapshot, ThermalZone
from edgekit.core.validity import Reason

HOT = Reason("throttled", "too hot", cools=True)
LOUD = Reason("disturbed", "others at work")
COLD = HealthSnapshot(1, zones=(ThermalZone(0, "cpu", 40.0),))


class World:
    """A clock that only sleep moves, and a device that cools by a degree a second."""

    def __init__(self, monkeypatch):
        self.now, self.heat_c, self.said = 0.0, 40.0, []
        monkeypatch.setattr(patience.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(patience.time, "sleep", self.sleep)

    def sleep(self, seconds):
        self.now += seconds
        self.heat_c -= seconds

    def health(self):
        return replace(COLD, zones=(ThermalZone(0, "cpu", self.heat_c),))

    def waited(self, kept, doubts, took_s=1.0):
        return kept.waited(doubts, took_s, self, self.said.append, "measure")


@pytest.fixture
def world(monkeypatch):
    return World(monkeypatch)


def test_turn_that_is_believed_costs_nothing(world):
    kept = Patience(60)
    kept.begin(world)
    assert not world.waited(kept, ())
    assert kept.left_s == 60
    assert world.now == 0


def test_heat_is_waited_out_until_the_device_is_cool(world):
    kept = Patience(60)
    kept.begin(world)
    world.heat_c = 60.0
    assert world.waited(kept, (HOT,))
    assert world.heat_c <= 43
    assert kept.left_s == 60 - 1 - world.now
    assert "measured again once it has cooled" in world.said[0].text


def test_budget_is_one_for_all_turns(world):
    kept = Patience(10)
    kept.begin(world)
    times = 0
    while world.waited(kept, (LOUD,)):
        times += 1
        assert times < 10
    assert times == 3
    assert world.now <= 10


def test_without_a_budget_nobody_asks_the_device(world):
    kept = Patience(0)
    kept.begin(None)
    assert not world.waited(kept, (HOT,))
