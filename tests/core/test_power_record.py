"""A record of power is taken from the sampler's answer, or refused with its fault."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device_agent.power.rail import Rail
from device_agent.power.sampler import Sampler
from edgekit.core.errors import AgentError
from edgekit.core.power import PowerFault, PowerRecord, UnusedSensor

RAIL = {
    "source": "hwmon", "sensor": "ina226 1-0040", "label": "VIN", "scope": "rail",
    "quantity": "power_uw", "range_uj": None, "within": None, "update_interval_ns": None,
}  # fmt: skip
SERIES = {
    "rail": RAIL, "start_ns": 100, "steps_ns": [10, 20], "values": [1, 2, 3],
    "longest_unchanged_ns": 0, "faults": {},
}  # fmt: skip
RECORD = {
    "rate_hz": 100.0, "rounds": 3, "missed_rounds": 0, "ended_full": False, "wall_s": 0.03,
    "cpu_s": 0.001, "series": [SERIES],
}  # fmt: skip
FAULT = {"count": 2, "first_ns": 0, "last_ns": 1_500_000_000, "detail": "EIO"}

leaves = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
keys = st.sampled_from([*RECORD, *SERIES, *RAIL, *FAULT, "refused"])
values = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6),
    max_leaves=12,
)


def outcome(value):
    """Return the record, or the code of the agent's error."""
    try:
        return PowerRecord.from_json(value)
    except AgentError as error:
        return error.code


@given(values)
def test_any_json_is_a_record_or_an_agent_error(value):
    found = outcome(value)
    assert found == "protocol" or found.rate_hz > 0 or not found.series


@st.composite
def damaged(draw):
    """Return a sound record with anything at all in one place."""
    record = json.loads(json.dumps(RECORD))
    series = record["series"][0]
    series["faults"] = {"garbage": dict(FAULT)}
    place = draw(st.sampled_from([record, series, series["rail"], series["faults"]["garbage"]]))
    place[draw(st.sampled_from(sorted(place)))] = draw(values)
    return record


@given(damaged())
def test_record_damaged_in_one_place_is_a_record_or_an_agent_error(value):
    found = outcome(value)
    if found != "protocol":
        for series in found.series:
            assert len(series.times_ns) == len(series.values)
            assert all(type(number) is int for number in series.times_ns + series.values)


def test_record_of_a_real_sampler_is_read_back_whole(tmp_path):
    for name in ("steady", "broken"):
        (tmp_path / name).write_text("3125000\n" if name == "steady" else "nonsense\n")
    rails = [
        Rail("hwmon", "ina226 1-0040", name, "board").reads([str(tmp_path / name)])
        for name in ("steady", "broken")
    ]
    for rail in rails:
        rail.open()
    sampler = Sampler(rails, rate_hz=200)
    before_ns = time.monotonic_ns()
    sampler.run(seconds=0.1)
    sent = json.loads(json.dumps(sampler.as_json()))
    for rail in rails:
        rail.close()
    record = PowerRecord.from_json(sent)
    steady, broken = record.series
    assert (record.rounds, record.rate_hz) == (sent["rounds"], 200)
    assert record.cpu_share == pytest.approx(sent["cpu_share"])
    assert record.loop == "python"
    assert steady.times_ns == tuple(sampler.series[0].times_ns)
    assert steady.times_ns[0] >= before_ns - 1000
    assert set(steady.values) == {3_125_000}
    assert (broken.values, broken.times_ns) == ((), ())
    (fault,) = broken.faults
    assert (fault.kind, fault.count) == ("garbage", record.rounds)
    assert "nonsense" in fault.words()
    assert PowerRecord.from_json(record.as_json()) == record


def test_record_moves_to_another_clock_with_its_faults():
    record = PowerRecord.from_json({**RECORD, "series": [{**SERIES, "faults": {"garbage": FAULT}}]})
    (series,) = record.shifted(-1000).series
    assert record.shifted(-1000).idle_before_ns is None
    assert series.times_ns == (-900, -890, -870)
    assert series.values == (1, 2, 3)
    assert (series.faults[0].first_ns, series.faults[0].last_ns) == (-1000, 1_499_999_000)


def test_board_without_a_sensor_is_a_record_without_series():
    refused = {"source": "rapl", "sensor": "intel-rapl:0", "reason": "Permission denied"}
    record = PowerRecord.from_json({"refused": [refused]})
    assert (record.series, record.cpu_share) == ((), None)
    assert record.unused == (UnusedSensor(**refused),)
    assert PowerRecord.from_json({}).unused == ()


def test_idle_times_are_part_of_a_record_and_move_with_it():
    record = PowerRecord.from_json(
        {**RECORD, "idle_before_ns": [1, 50], "idle_after_ns": [200, 300]}
    )
    assert (record.idle_before_ns, record.idle_after_ns) == ((1, 50), (200, 300))
    assert PowerRecord.from_json(record.as_json()) == record
    assert record.shifted(5).idle_before_ns == (6, 55)


def test_fault_in_words_tells_how_often_and_over_how_long():
    assert PowerFault("unreadable", 2, 0, 1_500_000_000, "EIO").words() == (
        "unreadable 2 times within 1.5 s (EIO)"
    )
    assert PowerFault("vanished", 1, 5, 5).words() == "vanished once"


def test_names_of_a_newer_agent_are_passed_over():
    newer = {**RECORD, "humidity": 4, "series": [{**SERIES, "rail": {**RAIL, "colour": "red"}}]}
    assert PowerRecord.from_json(newer) == PowerRecord.from_json(RECORD)


def series(**other):
    return {**RECORD, "series": [{**SERIES, **other}]}


@pytest.mark.parametrize(
    ("table", "named"),
    [
        ([], "a record of power"),
        ({**RECORD, "rate_hz": 0}, "rate_hz"),
        ({**RECORD, "rate_hz": float("nan")}, "rate_hz"),
        ({**RECORD, "ended_full": 1}, "ended_full"),
        ({**RECORD, "loop": 1}, "a name"),
        ({**RECORD, "cpu_s": -1}, "cpu_s"),
        (series(values=[1, 2]), "one a time stamp"),
        (series(values=[1, 2, True]), "values"),
        (series(values=[1, 2, 3.0]), "values"),
        (series(values=[1, 2, 1 << 63]), "values"),
        (series(start_ns=None), "start_ns"),
        (series(steps_ns=[(1 << 63) - 1] * 2), "steps_ns"),
        (series(rail={**RAIL, "scope": "planet"}), "scope"),
        (series(rail={**RAIL, "quantity": "energy_uj"}), "range_uj"),
        (series(rail={**RAIL, "label": None}), "label"),
        (series(faults={"garbage": {**FAULT, "count": 0}}), "count"),
        ({**RECORD, "refused": [{"source": "rapl"}]}, "sensor"),
        ({**RECORD, "idle_before_ns": [1]}, "two moments"),
        ({**RECORD, "idle_after_ns": 5}, "idle_after_ns"),
    ],
)
def test_fault_is_named(table, named):
    with pytest.raises(AgentError, match=named):
        PowerRecord.from_json(table)
