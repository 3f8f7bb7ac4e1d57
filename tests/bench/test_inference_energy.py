"""Energy for each inference, on runs whose truth is known."""

import random

import pytest

from edgekit.bench.energy import Interval, Limits, PowerSamples
from edgekit.bench.inference_energy import energy_per_inference, idle_of
from edgekit.core.errors import MeasurementInvalidError

S = 1_000_000_000
BEFORE, RUN, AFTER = Interval(0, 10 * S), Interval(11 * S, 31 * S), Interval(32 * S, 42 * S)
TRUE_J = (6.25 - 3.125) * 20


def readings(rate_hz=100, noise_uw=5000, drift_uw=0, seed=1, run=RUN):
    draw = random.Random(seed)
    times = tuple(range(-S, 44 * S, S // rate_hz))
    powers = []
    for time_ns in times:
        idle_uw = 3_125_000 + (drift_uw if time_ns >= run.end_ns else 0)
        true_uw = 6_250_000 if run.start_ns <= time_ns < run.end_ns else idle_uw
        powers.append(max(0, round(draw.gauss(true_uw, noise_uw))))
    return PowerSamples(times, tuple(powers))


def test_step_is_told_per_inference_above_idle():
    told = energy_per_inference(readings(), BEFORE, RUN, AFTER, 400)
    assert told.j_per_inference == pytest.approx(6.25 / 20, rel=0.01)
    assert told.above_idle_j_per_inference == pytest.approx(TRUE_J / 400, rel=0.01)
    assert told.before.mean_w == pytest.approx(3.125, rel=1e-3)
    assert told.before.spread_w == pytest.approx(0.005, rel=0.15)
    assert told.is_above_idle


@pytest.mark.parametrize("rate_hz", [5, 20, 100])
def test_truth_lies_within_the_stated_uncertainty(rate_hz):
    missed = 0
    for seed in range(40):
        # Where the run begins among the readings is anybody's guess.
        shift = random.Random(seed).randrange(S // rate_hz)
        run = Interval(RUN.start_ns + shift, RUN.end_ns + shift)
        samples = readings(rate_hz, noise_uw=20_000, seed=seed, run=run)
        told = energy_per_inference(samples, BEFORE, run, AFTER, 400)
        missed += abs(told.above_idle_j - TRUE_J) > told.above_idle_uncertainty_j
    assert missed <= 4


def test_slower_sampling_is_less_sure():
    fast, slow = (
        energy_per_inference(readings(rate), BEFORE, RUN, AFTER, 400).uncertainty_j
        for rate in (100, 5)
    )
    assert slow > 5 * fast


def test_drift_of_idle_is_told_and_widens_the_uncertainty():
    still = energy_per_inference(readings(), BEFORE, RUN, AFTER, 400)
    drifted = energy_per_inference(readings(drift_uw=400_000), BEFORE, RUN, AFTER, 400)
    assert drifted.idle_drift_w == pytest.approx(0.4, abs=0.01)
    assert drifted.idle_w == pytest.approx(3.325, rel=1e-3)
    # Half the drift over 20 s is 4 J: the bound that the stated one must cover.
    assert drifted.above_idle_uncertainty_j >= 4 > 10 * still.above_idle_uncertainty_j


def test_uncertain_clocks_widen_the_uncertainty_as_much_as_a_shift_changes_the_energy():
    sure = energy_per_inference(readings(), BEFORE, RUN, AFTER, 400)
    shifted = Interval(RUN.start_ns + S // 10, RUN.end_ns + S // 10)
    moved = energy_per_inference(readings(), BEFORE, shifted, AFTER, 400)
    unsure = energy_per_inference(readings(), BEFORE, RUN, AFTER, 400, edge_uncertainty_ns=S // 10)
    assert abs(moved.run.joules - sure.run.joules) == pytest.approx(0.3125, rel=0.05)
    assert unsure.uncertainty_j >= 0.3125 > sure.uncertainty_j


def test_run_that_draws_no_more_than_idle_says_so():
    never = Interval(100 * S, 101 * S)
    told = energy_per_inference(readings(noise_uw=50_000, run=never), BEFORE, RUN, AFTER, 400)
    assert not told.is_above_idle
    assert "not told from idle" in told.statement()


def test_statement_names_rate_idle_and_what_it_leaves_out():
    statement = energy_per_inference(readings(), BEFORE, RUN, AFTER, 400).statement()
    for word in ("J per inference", "above idle", "400 in 20 s", "100 readings/s", "accuracy"):
        assert word in statement
    assert "not told from idle" not in statement


def test_reading_that_a_slow_sensor_repeats_is_no_new_witness():
    samples = readings()
    held = tuple(samples.power_uw[k - k % 10] for k in range(len(samples.power_uw)))
    often = idle_of(samples, BEFORE)
    seldom = idle_of(PowerSamples(samples.times_ns, held), BEFORE)
    assert often.updates > 900
    assert 90 <= seldom.updates <= 102
    assert seldom.standard_error_w > 2 * often.standard_error_w


@pytest.mark.parametrize(
    ("before", "after", "inferences"),
    [
        (Interval(0, 12 * S), AFTER, 400),
        (BEFORE, Interval(30 * S, 42 * S), 400),
        (BEFORE, AFTER, 0),
    ],
)
def test_intervals_that_overlap_or_no_inference_are_refused(before, after, inferences):
    with pytest.raises(MeasurementInvalidError):
        energy_per_inference(readings(), before, RUN, after, inferences)


def test_limits_are_those_of_the_caller():
    exact = readings(noise_uw=0)
    with pytest.raises(MeasurementInvalidError, match="stuck"):
        energy_per_inference(exact, BEFORE, RUN, AFTER, 400)
    told = energy_per_inference(exact, BEFORE, RUN, AFTER, 400, limits=Limits(max_unchanged_s=30))
    assert told.above_idle_j == pytest.approx(TRUE_J, rel=0.02)


@pytest.mark.parametrize("constant_uw", [3_125_000, 362_123, 1])
def test_readings_that_never_change_tell_nothing_above_idle(constant_uw):
    times = tuple(range(-S, 44 * S, S // 7))
    samples = PowerSamples(times, (constant_uw,) * len(times))
    run = Interval(11 * S, 11 * S + 352_217_123)
    limits = Limits(max_unchanged_s=100, min_samples=1)
    told = energy_per_inference(samples, BEFORE, run, AFTER, 1, limits=limits)
    assert told.j_per_inference == pytest.approx(constant_uw / 1e6 * 0.352217123)
    assert abs(told.above_idle_j) < told.above_idle_uncertainty_j < 1e-6
    assert not told.is_above_idle
    assert told.before.spread_w == 0
