"""The course of a long run: windows, where it slowed, and what was seen to slow it."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bench.soak import soak_of
from edgekit.core.errors import MeasurementInvalidError
from edgekit.core.health import ClusterClock, CoolingDevice, HealthSnapshot, ThermalZone

START_NS = 5_000_000_000
S = 1_000_000_000


def looks(seconds, throttled_from=None):
    """One look at the device a second, 2 s before the first inference to 1 s after the last."""
    for second in range(-2, seconds + 1):
        slow = throttled_from is not None and second >= throttled_from
        yield HealthSnapshot(
            START_NS + second * S,
            zones=(ThermalZone(0, "cpu-thermal", 80.0 if slow else 50.0),),
            cooling=(CoolingDevice(0, "thermal-cpufreq-0", 2 if slow else 0, 5),),
            clusters=(ClusterClock(0, current_khz=1_000_000 if slow else 1_800_000),),
        )


def samples(seconds, slow_from=None):
    """Inferences of 20 ms with 1 % of noise, 1.8 times as long from some second on."""
    draw, now, found = random.Random(3), 0.0, []
    while now < seconds:
        slower = 1.8 if slow_from is not None and now >= slow_from else 1.0
        found.append(int(2e7 * slower * draw.gauss(1, 0.01)))
        now += found[-1] / S
    return found


def soak(durations, health):
    return soak_of(durations, (START_NS, START_NS + sum(durations)), tuple(health))


def test_steady_run_is_sustained_and_never_throttled():
    found = soak(samples(120), looks(120))
    assert found.sustained_fps == pytest.approx(50, rel=0.01)
    assert found.initial_fps == pytest.approx(50, rel=0.01)
    assert (found.throttled_after_s, found.slowed_after_s, found.sign) == (None, None, "")


def test_throttled_run_tells_when_and_by_what():
    found = soak(samples(120, slow_from=40), looks(120, throttled_from=40))
    assert found.throttled_after_s == 40
    assert "thermal-cpufreq-0 limited the device" in found.sign
    assert found.slowed_after_s == pytest.approx(40, abs=2)
    assert found.initial_fps / found.sustained_fps == pytest.approx(1.8, rel=0.01)
    cool, hot = found.windows[0], found.windows[-1]
    assert (cool.temperature_c, hot.temperature_c) == (50, 80)
    assert (cool.clock_mhz, hot.clock_mhz) == (1800, 1000)


def test_speed_that_comes_back_was_no_lasting_loss():
    durations = samples(60, slow_from=40) + samples(60)
    found = soak(durations, looks(120))
    assert found.slowed_after_s is None


def test_slowdown_without_a_sensor_is_told_without_a_cause():
    found = soak(samples(120, slow_from=40), [])
    assert found.slowed_after_s == pytest.approx(40, abs=2)
    assert found.throttled_after_s is None
    assert found.windows[0].temperature_c is None


def test_run_too_short_for_windows_is_refused():
    with pytest.raises(MeasurementInvalidError, match="no course"):
        soak([S, S], looks(2))


@given(st.lists(st.integers(10**5, 2 * 10**9), min_size=20, max_size=300))
def test_windows_hold_every_inference_once_and_in_order(durations):
    try:
        found = soak(durations, [])
    except MeasurementInvalidError:
        return
    total_s = sum(durations) / S
    assert found.windows[0].start_s == 0
    assert all(a.end_s == b.start_s for a, b in itertools.pairwise(found.windows))
    counted = sum(window.fps * (window.end_s - window.start_s) for window in found.windows)
    # What comes after the last whole window is left out.
    assert counted <= len(durations) + 1e-6
    assert found.windows[-1].end_s <= total_s * (1 + 1e-9)
    assert len(found.windows) <= 121
