"""A run is repeated until it is believed, and no longer than its budget."""

from dataclasses import replace

import pytest

from edgekit.bench.repeats import COOL_MARGIN_C, Repeats, is_cool
from edgekit.core.health import ClusterClock, CoolingDevice, HealthSnapshot, ThermalZone
from edgekit.core.validity import Reason, Validity

BELIEVED = Validity((), (), None)
HOT = Validity((Reason("throttled", "too hot", cools=True),), (), None)
NOISY = Validity((Reason("noisy", "wide"),), (), None)
RUN_S = 10.0


class World:
    """A clock that only runs, waits and cool-downs move."""

    def __init__(self, *verdicts):
        self.now = 0.0
        self.verdicts = list(verdicts)
        self.slept, self.cooled, self.told = [], [], []

    def run(self):
        self.now += RUN_S
        return self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0]

    def sleep(self, seconds):
        self.slept.append(seconds)
        self.now += seconds

    def cool(self, at_most_s):
        self.cooled.append(at_most_s)
        self.now += min(30, at_most_s)

    def tries(self, budget_s):
        repeats = Repeats(
            self.run, lambda run: run, self.cool, budget_s, clock=lambda: self.now, sleep=self.sleep
        )
        return repeats.tries(self.told.append)


def test_run_that_is_believed_is_the_only_one():
    world = World(BELIEVED)
    (tried,) = world.tries(100)
    assert tried.validity.valid
    assert world.now == RUN_S
    assert world.told == []


def test_noise_is_waited_out_ever_longer():
    world = World(NOISY, NOISY, BELIEVED)
    tries = world.tries(100)
    assert [tried.validity for tried in tries] == [NOISY, NOISY, BELIEVED]
    assert world.slept == [1, 2]
    assert [tried.waited_s for tried in tries] == [1, 2, 0]
    assert world.told == [NOISY, NOISY]


def test_heat_is_cooled_down_with_time_left_for_the_next_run():
    world = World(HOT, BELIEVED)
    tries = world.tries(100)
    assert world.cooled == [100 - RUN_S]
    assert [tried.waited_s for tried in tries] == [30, 0]


@pytest.mark.parametrize("verdict", [HOT, NOISY])
@pytest.mark.parametrize("budget_s", [0, 5, 10.5, 60, 300])
def test_budget_is_kept_and_the_last_run_stands_with_its_reasons(verdict, budget_s):
    world = World(verdict)
    tries = world.tries(budget_s)
    assert world.now <= RUN_S + budget_s
    assert tries[-1].validity == verdict
    assert len(tries) == 1 + len(world.slept) + len(world.cooled)
    if budget_s < RUN_S:
        assert len(tries) == 1


ZONE = ThermalZone(0, "cpu-thermal", 45.0)
BEFORE = HealthSnapshot(
    1,
    zones=(ZONE,),
    cooling=(CoolingDevice(0, "cpufreq-cpu0", 0, 3),),
    clusters=(ClusterClock(0, limit_max_khz=1_800_000),),
)


def test_device_is_cool_again_near_where_it_was():
    assert is_cool(BEFORE, BEFORE)
    warm = replace(ZONE, temperature_c=45.0 + COOL_MARGIN_C)
    assert is_cool(replace(BEFORE, zones=(warm,)), BEFORE)
    hot = replace(ZONE, temperature_c=45.1 + COOL_MARGIN_C)
    assert not is_cool(replace(BEFORE, zones=(hot,)), BEFORE)


def test_device_that_is_still_limited_is_not_cool():
    limited = replace(BEFORE, cooling=(CoolingDevice(0, "cpufreq-cpu0", 1, 3),))
    assert not is_cool(limited, BEFORE)
    assert is_cool(limited, limited)
    capped = replace(BEFORE, clusters=(ClusterClock(0, limit_max_khz=1_400_000),))
    assert not is_cool(capped, BEFORE)


def test_sensor_that_came_or_went_holds_up_nothing():
    assert is_cool(replace(BEFORE, zones=()), BEFORE)
    assert is_cool(BEFORE, replace(BEFORE, zones=(), cooling=(), clusters=()))
