"""The offset of two clocks, against one that is known."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.bench.clocks import (
    ClockOffset,
    RoundTrip,
    clock_offset,
    offset_of_run,
    on_device_clock,
)
from edgekit.core.errors import MeasurementInvalidError
from edgekit.core.power import PowerRecord, RailFacts, RailSeries

DELAYS = st.integers(0, 10**10)


def round_trip(sent_ns, offset_ns, there_ns, dwell_ns, back_ns):
    received_ns = sent_ns + there_ns
    answered_ns = received_ns + dwell_ns
    return RoundTrip(
        sent_ns, received_ns + offset_ns, answered_ns + offset_ns, answered_ns + back_ns
    )


@given(
    st.integers(-(10**18), 10**18),
    st.lists(st.tuples(st.integers(0, 10**15), DELAYS, DELAYS, DELAYS), min_size=1, max_size=20),
)
def test_true_offset_lies_within_the_uncertainty(offset_ns, ways):
    trips = [round_trip(sent, offset_ns, *way) for sent, *way in ways]
    found = clock_offset(trips)
    assert abs(found.offset_ns - offset_ns) <= found.uncertainty_ns
    assert found.uncertainty_ns == (min(there + back for _, there, _, back in ways) + 1) // 2
    assert found.round_trips == len(trips)


@given(st.integers(-(10**18), 10**18), DELAYS, DELAYS, st.integers(0, 10**15))
def test_offset_is_exact_where_both_ways_take_equally_long(offset_ns, way_ns, dwell_ns, moment_ns):
    found = clock_offset([round_trip(5, offset_ns, way_ns, dwell_ns, way_ns)])
    assert found.offset_ns == offset_ns
    assert found.to_device_ns(moment_ns) == moment_ns + offset_ns


def test_quickest_round_trip_is_believed_and_not_the_mean():
    slow_back = [round_trip(k * 1000, 70, 10, 5, 900) for k in range(9)]
    found = clock_offset([*slow_back, round_trip(10**6, 70, 8, 5, 8)])
    assert (found.offset_ns, found.uncertainty_ns) == (70, 8)


@pytest.mark.parametrize(
    "trips",
    [
        [],
        [RoundTrip(0, 10, 20, 5)],
        [RoundTrip(0, 20, 10, 50)],
        [RoundTrip(0, 10, 20, 50), RoundTrip(100, 10, 20, 50)],
    ],
)
def test_clock_that_ran_backwards_is_refused(trips):
    with pytest.raises(MeasurementInvalidError):
        clock_offset(trips)


def test_clocks_that_drift_apart_are_off_by_half_of_it_at_most():
    found = offset_of_run(ClockOffset(1000, 50, 4), ClockOffset(1301, 80, 4))
    assert found == ClockOffset(1150, 80 + 151, 8)
    assert abs(found.offset_ns - 1000) <= found.uncertainty_ns
    assert abs(found.offset_ns - 1301) <= found.uncertainty_ns


def test_record_of_the_host_is_told_by_the_devices_clock():
    series = RailSeries(RailFacts("scpi", "meter", "meter", "wall"), (5, 7), (1, 2))
    record = PowerRecord(10.0, 2, 0, ended_full=False, wall_s=1, cpu_s=0, series=(series,))
    moved, unsure_ns = on_device_clock(record, ClockOffset(100, 8, 1), half_reading_ns=3)
    assert moved.series[0].times_ns == (105, 107)
    assert unsure_ns == 11
