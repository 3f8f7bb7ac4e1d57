"""When a lighter bundle takes over: after a while of bad, back after longer of good."""

import pytest

from edgekit.onboard.camera.adapt import Switch, hottest_c, thermal_files

S = 1_000_000_000
LATE = {
    "late_ms": 100.0,
    "back_ms": 60.0,
    "after_s": 3.0,
    "back_after_s": 10.0,
    "hot_c": 0.0,
    "back_c": 0.0,
}
HOT = {**LATE, "late_ms": 0.0, "back_ms": 0.0, "hot_c": 80.0, "back_c": 70.0}


def fed(switch, readings, start_s=1):
    """Feed one reading a second; return the seconds and directions of switches."""
    seen = []
    for second, (latency_ms, temperature_c) in enumerate(readings, start_s):
        switched = switch.update(second * S, latency_ms, temperature_c)
        if switched:
            seen.append((second, *switched[:2]))
    return seen


def test_late_for_long_enough_goes_on_to_the_lighter_one():
    assert fed(Switch(LATE, 2), [(150, None)] * 6) == [(4, 0, 1)]


def test_one_late_second_changes_nothing():
    assert fed(Switch(LATE, 2), [(150, None), (150, None), (90, None)] * 10) == []


def test_it_comes_back_when_good_for_longer_and_not_before():
    switch = Switch(LATE, 2)
    fed(switch, [(150, None)] * 4)
    assert switch.current == 1
    assert fed(switch, [(50, None)] * 9, 10) == []
    assert fed(switch, [(50, None)] * 3, 19) == [(20, 1, 0)]


def test_between_the_limits_it_stays_where_it_is():
    switch = Switch(LATE, 2)
    fed(switch, [(150, None)] * 4)
    assert fed(switch, [(80, None)] * 60, 10) == []
    assert switch.current == 1


def test_after_a_switch_the_next_bundle_is_judged_anew():
    assert fed(Switch(LATE, 3), [(150, None)] * 12) == [(4, 0, 1), (8, 1, 2)]


def test_hot_switches_by_temperature_alone():
    switch = Switch(HOT, 2)
    assert fed(switch, [(500, 85.0)] * 5) == [(4, 0, 1)]
    assert fed(switch, [(500, 65.0)] * 11, 10) == [(20, 1, 0)]


def test_frames_that_take_longer_than_a_second_are_late():
    assert fed(Switch(LATE, 2), [(2500, None), (None, None), (None, None)] * 3) == [(4, 0, 1)]
    assert fed(Switch(LATE, 2), [(2500, None), (None, None), (90, None)] * 10) == []


def test_seconds_without_the_source_are_no_late_ones():
    switch = Switch(LATE, 2)
    assert fed(switch, [(150, None)]) == []
    for second in range(2, 60):
        assert switch.update(second * S, None, None, there=False) is None
    assert fed(switch, [(150, None)] * 4, 60) == [(63, 0, 1)]


def test_nothing_delivered_or_no_sensor_is_no_judgement():
    assert fed(Switch(LATE, 2), [(None, 95.0)] * 30) == []
    assert fed(Switch(HOT, 2), [(500, None)] * 30) == []


def test_the_hottest_zone_that_can_be_read_counts(tmp_path):
    for number, text in enumerate(["41000\n", "55500\n", "none\n"]):
        zone = tmp_path / "class" / "thermal" / f"thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "temp").write_text(text)
    files = thermal_files(str(tmp_path))
    assert hottest_c(files) == pytest.approx(55.5)
    assert hottest_c([]) is None
