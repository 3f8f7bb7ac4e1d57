"""Energy against what is known of steps, ramps and counters."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edgekit.bench.energy import (
    CounterSamples,
    Interval,
    Limits,
    PowerSamples,
    energy_of,
    power_spread_w,
)
from edgekit.core.errors import MeasurementInvalidError

S = 1_000_000_000
ANY = Limits(max_gap_s=1e9, max_unchanged_s=1e9, min_samples=0, max_power_w=1e9)
RANGE_UJ = 262_143_328_850


def sampled(power_uw, times_ns):
    return PowerSamples(tuple(times_ns), tuple(round(power_uw(t)) for t in times_ns))


@st.composite
def ascending(draw, at_least=2):
    start = draw(st.integers(-(10**15), 10**15))
    steps = draw(st.lists(st.integers(1, 10**9), min_size=at_least - 1, max_size=30))
    times = [start]
    for step in steps:
        times.append(times[-1] + step)
    return tuple(times)


@st.composite
def power_samples(draw):
    times = draw(ascending(3))
    size = len(times)
    powers = draw(st.lists(st.integers(0, 10**8), min_size=size, max_size=size))
    return PowerSamples(times, tuple(powers))


@st.composite
def three_moments(draw, times):
    moments = st.integers(times[0], times[-1])
    three = draw(st.lists(moments, min_size=3, max_size=3, unique=True))
    return sorted(three)


@given(st.floats(1.0, 9.0), st.floats(0, 0.01))
def test_step_in_mid_run_is_within_two_percent_of_the_analytic_value(step_s, phase_s):
    times = [round((k * 0.01 + phase_s - 0.02) * S) for k in range(1005)]
    samples = sampled(lambda t: 3_125_000 if t < step_s * S else 6_250_000, times)
    energy = energy_of(samples, Interval(0, 10 * S))
    analytic_j = 3.125 * step_s + 6.25 * (10 - step_s)
    assert energy.joules == pytest.approx(analytic_j, rel=0.02)
    # What is stated bounds it: a step is off by half its height times the gap, at most.
    assert abs(energy.joules - analytic_j) <= energy.sampling_sd_j * 3**0.5 + 1e-6


@given(
    ascending(),
    st.integers(0, 10**7),
    st.integers(0, 1000),
    st.data(),
)
def test_ramp_is_exact_whatever_the_spacing_and_the_edges(times, base_uw, uw_per_us, data):
    samples = PowerSamples(
        tuple(t * 1000 for t in times),
        tuple(base_uw + uw_per_us * (t - times[0]) for t in times),
    )
    start = data.draw(st.integers(times[0] * 1000, times[-1] * 1000 - 1))
    end = data.draw(st.integers(start + 1, times[-1] * 1000))
    from_us, to_us = ((moment - times[0] * 1000) / 1000 for moment in (start, end))
    mean_uw = base_uw + uw_per_us * (from_us + to_us) / 2
    energy = energy_of(samples, Interval(start, end), ANY)
    assert energy.joules == pytest.approx(mean_uw * (end - start) / 1e15, rel=1e-6, abs=1e-12)


@given(st.data())
def test_parts_of_an_interval_add_up(data):
    samples = data.draw(power_samples())
    start, middle, end = data.draw(three_moments(samples.times_ns))
    whole = energy_of(samples, Interval(start, end), ANY).joules
    first = energy_of(samples, Interval(start, middle), ANY).joules
    second = energy_of(samples, Interval(middle, end), ANY).joules
    assert first + second == pytest.approx(whole, rel=1e-9, abs=1e-12)


@given(st.data())
def test_energy_lies_between_least_and_most_power(data):
    samples = data.draw(power_samples())
    start, _, end = data.draw(three_moments(samples.times_ns))
    energy = energy_of(samples, Interval(start, end), ANY)
    assert energy.mean_w <= max(samples.power_uw) / 1e6 * (1 + 1e-9)
    assert energy.mean_w >= min(samples.power_uw) / 1e6 * (1 - 1e-9)


@given(st.data(), st.integers(0, RANGE_UJ - 1))
def test_wrapping_counter_counts_as_one_that_does_not(data, start_uj):
    times = data.draw(ascending(3))
    steps = data.draw(
        st.lists(st.integers(0, 10**9), min_size=len(times) - 1, max_size=len(times) - 1)
    )
    straight = [0]
    for step in steps:
        straight.append(straight[-1] + step)
    wrapping = CounterSamples(
        times, tuple((start_uj + value) % RANGE_UJ for value in straight), RANGE_UJ
    )
    plain = CounterSamples(times, tuple(straight), RANGE_UJ)
    start, middle, end = data.draw(three_moments(times))
    # A watt limit that a gap of 1 ns keeps to cannot rule out a second wrap in one of 1 s.
    limits = Limits(max_gap_s=1e9, max_unchanged_s=1e9, min_samples=0, max_power_w=2e5)
    too_quick = any(
        step > 2e5 * 1e6 * (b - a) / S for step, a, b in zip(steps, times, times[1:], strict=False)
    )
    assume(not too_quick)
    interval = Interval(start, end)
    whole = energy_of(wrapping, interval, limits).joules
    assert whole == pytest.approx(energy_of(plain, interval, limits).joules, abs=1e-9)
    parts = [Interval(start, middle), Interval(middle, end)]
    added = sum(energy_of(wrapping, part, limits).joules for part in parts)
    assert added == pytest.approx(whole, rel=1e-9, abs=1e-9)


def test_counter_of_steady_power_that_wraps_in_mid_run():
    times = tuple(range(0, 11 * S, S // 100))
    near = RANGE_UJ - 40_000_000
    counted = tuple((near + t * 15 // 1000) % RANGE_UJ for t in times)  # 15 W
    assert counted[-1] < counted[0]
    interval = Interval(S // 3, 10 * S)
    energy = energy_of(CounterSamples(times, counted, RANGE_UJ), interval)
    assert energy.joules == pytest.approx(15 * interval.seconds, rel=1e-9)
    assert energy.mean_w == pytest.approx(15)
    assert power_spread_w(CounterSamples(times, counted, RANGE_UJ), interval) < 1e-6


def test_counter_that_was_reset_is_refused():
    times = tuple(range(0, 3 * S, S // 100))
    counted = tuple(t // 100 if t < S else t // 100 - S // 100 for t in times)
    with pytest.raises(MeasurementInvalidError, match="reset"):
        energy_of(CounterSamples(times, counted, RANGE_UJ), Interval(0, 2 * S))


def test_counter_that_may_have_wrapped_twice_is_refused():
    times = tuple(range(0, 30 * S, S))
    counted = tuple(t // 100 % 400_000_000 for t in times)
    with pytest.raises(MeasurementInvalidError, match="more than once"):
        energy_of(CounterSamples(times, counted, 400_000_000), Interval(0, 20 * S), Limits(2))


@given(st.data())
def test_time_stamps_out_of_order_or_twice_are_refused(data):
    times = data.draw(ascending(3))
    mixed = data.draw(st.permutations([*times, data.draw(st.sampled_from(times))]))
    powers = tuple(range(len(mixed)))
    with pytest.raises(MeasurementInvalidError, match="time stamp"):
        PowerSamples(tuple(mixed), powers)
    with pytest.raises(MeasurementInvalidError, match="time stamp"):
        CounterSamples(tuple(mixed), powers, RANGE_UJ)


STEADY = PowerSamples(
    tuple(range(0, 20 * S, S // 100)), tuple(4_000_000 + k % 7 for k in range(2000))
)


def without(samples, start_ns, end_ns):
    kept = [
        pair
        for pair in zip(samples.times_ns, samples.power_uw, strict=True)
        if not start_ns < pair[0] < end_ns
    ]
    return PowerSamples(*map(tuple, zip(*kept, strict=True)))


@pytest.mark.parametrize(
    ("samples", "interval", "reason"),
    [
        (STEADY, Interval(-1, 10 * S), "begin 1e-06 ms inside"),
        (STEADY, Interval(S, 20 * S), "end 10 ms inside"),
        (PowerSamples((), ()), Interval(0, S), "no reading"),
        (without(STEADY, 5 * S, 6 * S), Interval(S, 10 * S), "no reading for 1000 ms"),
        (without(STEADY, 5 * S, 6 * S), Interval(5 * S + 1, 6 * S - 1), "no reading for 1000 ms"),
        (STEADY, Interval(S, S + S // 20), "6 readings in 0.05 s, 10 are needed"),
        (
            PowerSamples(STEADY.times_ns, (4_000_000,) * 2000),
            Interval(S, 19 * S),
            "read 4000000 for more than 10 s: it is stuck",
        ),
    ],
)
def test_readings_that_cannot_tell_are_refused_with_the_reason(samples, interval, reason):
    with pytest.raises(MeasurementInvalidError) as caught:
        energy_of(samples, interval)
    assert reason in str(caught.value)
    assert caught.value.hint


def test_gap_outside_the_interval_does_no_harm():
    samples = without(STEADY, 15 * S, 16 * S)
    assert energy_of(samples, Interval(S, 14 * S)).mean_w == pytest.approx(4, rel=1e-5)
    with pytest.raises(MeasurementInvalidError, match="no reading"):
        energy_of(samples, Interval(S, 17 * S))


def test_sensor_that_is_stuck_outside_the_interval_does_no_harm():
    powers = [4_000_000] * 1200 + [4_000_000 + k % 7 for k in range(800)]
    samples = PowerSamples(STEADY.times_ns, tuple(powers))
    assert energy_of(samples, Interval(5 * S, 19 * S)).mean_w == pytest.approx(4, rel=1e-5)
    with pytest.raises(MeasurementInvalidError, match="stuck"):
        energy_of(samples, Interval(S, 19 * S))


def test_counter_that_stands_still_is_refused():
    times = tuple(range(0, 20 * S, S // 100))
    with pytest.raises(MeasurementInvalidError, match="stuck"):
        energy_of(CounterSamples(times, (7,) * len(times), RANGE_UJ), Interval(S, 19 * S))


@pytest.mark.parametrize(
    "make",
    [
        lambda: PowerSamples((1, 2), (5,)),
        lambda: PowerSamples((1, 2), (5, -1)),
        lambda: CounterSamples((1, 2), (5, 11), 10),
        lambda: CounterSamples((1, 2), (-5, 1), 10),
        lambda: Interval(5, 5),
        lambda: Interval(5, 4),
    ],
)
def test_values_that_make_no_sense_are_refused(make):
    with pytest.raises(MeasurementInvalidError):
        make()
