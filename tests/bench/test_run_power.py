"""From a sampler's record to what stands for the device: figures where they can be told."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.bench.board_energy import ATTACH, board_energy
from edgekit.bench.energy import Limits
from edgekit.bench.run_power import power_of_run
from edgekit.core.power import (
    ENERGY,
    POWER,
    PowerFault,
    PowerRecord,
    RailFacts,
    RailSeries,
    UnusedSensor,
)

S = 1_000_000_000
BEFORE, RUN, AFTER = (0, 10 * S), (11 * S, 31 * S), (32 * S, 42 * S)
TIMES = tuple(range(-S, 44 * S, S // 50))
RANGE_UJ = 1_000_000_000


def rail(label="VIN", idle_w=3.0, load_w=6.0, *, sensor="ina226 1-0040", faults=(), **facts):
    draw = random.Random(label)
    values = tuple(
        round(draw.gauss(load_w if RUN[0] <= time_ns < RUN[1] else idle_w, 0.005) * 1e6)
        for time_ns in TIMES
    )
    return RailSeries(
        RailFacts(facts.pop("source", "hwmon"), sensor, label, **facts), TIMES, values, 0, faults
    )


def counter(label, idle_w, load_w, start_uj):
    """Return a counter of the same run, near its end at the start."""
    energy_uj, values = float(start_uj), []
    for time_ns in TIMES:
        values.append(round(energy_uj) % RANGE_UJ)
        energy_uj += (load_w if RUN[0] <= time_ns < RUN[1] else idle_w) * 1e6 / 50
    facts = RailFacts("rapl", "intel-rapl:0", label, quantity=ENERGY, range_uj=RANGE_UJ)
    return RailSeries(facts, TIMES, tuple(values))


def record(*series, rate_hz=50.0, **other):
    told = {"rounds": len(TIMES), "missed_rounds": 2, "ended_full": False, **other}
    return PowerRecord(rate_hz, wall_s=45.0, cpu_s=0.27, series=series, **told)


def told(*series, inferences=400, loop="", **other):
    return power_of_run(record(*series, loop=loop), RUN, inferences, BEFORE, AFTER, **other)


def test_rail_gives_joules_per_inference_with_all_that_belongs_to_them():
    (vin,) = told(rail(scope="board"), loop="c")
    assert vin.reason == ""
    assert vin.energy.j_per_inference == pytest.approx(6.0 * 20 / 400, rel=0.01)
    assert vin.energy.above_idle_j_per_inference == pytest.approx(3.0 * 20 / 400, rel=0.01)
    assert vin.rail.quantity == POWER
    assert vin.cpu_share == pytest.approx(0.006)
    words = vin.words()
    for word in ("VIN", "board", "ina226 1-0040", "hwmon", "idle 3",
                 "0.60% of one core (its loop in C)",
                 "50 read", "2 rounds missed"):  # fmt: skip
        assert word in words
    told_json = vin.as_json()
    assert told_json["energy"]["idle_before_mean_w"] == pytest.approx(3.0, rel=0.01)
    assert told_json["energy"]["readings_per_s"] == pytest.approx(50, rel=0.01)
    assert told_json["reason"] is None


def test_counter_that_wraps_in_mid_run_gives_the_same():
    start_uj = RANGE_UJ - 60_000_000
    (package,) = told(counter("package-0", 3.0, 6.0, start_uj))
    assert package.energy.above_idle_j_per_inference == pytest.approx(3.0 * 20 / 400, rel=0.01)


@pytest.mark.parametrize(
    ("cut", "reason"),
    [
        (lambda s: RailSeries(s.rail), "gave no reading"),
        (lambda s: RailSeries(s.rail, s.times_ns[:900], s.values[:900]), "end "),
        (lambda s: RailSeries(s.rail, s.times_ns[200:], s.values[200:]), "begin "),
        (
            lambda s: RailSeries(
                s.rail, s.times_ns[:900] + s.times_ns[1000:], s.values[:900] + s.values[1000:]
            ),
            "no reading for",
        ),
        (lambda s: RailSeries(s.rail, s.times_ns, (3_000_000,) * len(TIMES)), "stuck"),
        (lambda s: RailSeries(s.rail, s.times_ns, (-1, *s.values[1:])), "backwards"),
        (lambda s: RailSeries(s.rail, (s.times_ns[1], *s.times_ns[1:]), s.values), "time stamp"),
    ],
)
def test_what_cannot_be_told_is_a_reason_and_no_number(cut, reason):
    fault = PowerFault("vanished", 7, 17 * S, 19 * S, "ENODEV")
    damaged = cut(rail(scope="board"))
    damaged = RailSeries(damaged.rail, damaged.times_ns, damaged.values, 0, (fault,))
    (vin,) = told(damaged)
    assert vin.energy is None
    assert reason in vin.reason
    assert "vanished 7 times within 2 s (ENODEV)" in vin.reason
    assert vin.as_json()["energy"] is None
    whole = board_energy((vin,))
    assert (whole.name, whole.energy, whole.reason) == ("board", None, vin.reason)


@pytest.mark.parametrize(
    ("run_ns", "inferences"), [((31 * S, 11 * S), 400), (RUN, 0), ((5 * S, 31 * S), 400)]
)
def test_run_that_makes_no_sense_is_a_reason_too(run_ns, inferences):
    (vin,) = power_of_run(record(rail()), run_ns, inferences, BEFORE, AFTER)
    assert vin.energy is None
    assert vin.reason


def test_idle_is_told_from_its_first_reading_to_its_last():
    before, after = (1, 10 * S), (32 * S, 42 * S + 1)  # no reading at either end
    (vin,) = power_of_run(record(rail()), RUN, 400, before, after)
    assert vin.energy.before.seconds == pytest.approx(9.98, abs=1e-6)
    assert vin.energy.idle_w == pytest.approx(3.0, rel=0.01)
    late = RailSeries(rail().rail, TIMES[100:], rail().values[100:])
    (vin,) = power_of_run(record(late), RUN, 400, before, after)
    assert "begin 1e+03 ms inside" in vin.reason


def test_sampler_that_ran_full_is_named():
    short = rail()
    short = RailSeries(short.rail, TIMES[:900], short.values[:900])
    (vin,) = power_of_run(record(short, ended_full=True), RUN, 400, BEFORE, AFTER)
    assert "want of room" in vin.reason


def test_slow_meter_is_judged_by_its_own_rate():
    slow = rail(scope="wall")
    slow = RailSeries(slow.rail, slow.times_ns[::50], slow.values[::50])
    (at_1_hz,) = power_of_run(record(slow, rate_hz=1.0), RUN, 400, BEFORE, AFTER)
    assert at_1_hz.energy is not None
    (at_50_hz,) = power_of_run(record(slow, rate_hz=50.0), RUN, 400, BEFORE, AFTER)
    assert "no reading for" in at_50_hz.reason
    loose = Limits(max_gap_s=2.0)
    (allowed,) = power_of_run(record(slow), RUN, 400, BEFORE, AFTER, limits=loose)
    assert allowed.energy == at_1_hz.energy


def test_coarse_meter_that_stays_the_same_is_allowed_for_longer():
    coarse = rail(scope="wall")
    coarse = RailSeries(coarse.rail, coarse.times_ns, tuple(4_000_000 for _ in coarse.values))
    strict, patient = Limits(max_unchanged_s=1.0), Limits(max_unchanged_s=60.0)
    (stuck,) = power_of_run(record(coarse), RUN, 400, BEFORE, AFTER, limits=strict)
    assert "stuck" in stuck.reason
    (told_all,) = power_of_run(record(coarse), RUN, 400, BEFORE, AFTER, limits=patient)
    assert told_all.energy is not None
    assert told_all.energy.run.mean_w == pytest.approx(4.0)


def test_board_is_preferred_to_wall_and_wall_to_rails():
    cpu, board = rail("VDD_CPU", 0.5, 2.0), rail("VDD_IN", 3.0, 6.0, scope="board")
    wall = rail("supply", 4.0, 8.0, scope="wall", sensor="TCPIP::meter")
    chosen = board_energy(told(cpu, wall, board))
    assert (chosen.name, chosen.rails[0].rail.label) == ("board", "VDD_IN")
    chosen = board_energy(told(cpu, wall))
    assert chosen.name == "wall"
    assert "supply's losses" in chosen.words()
    blind = RailSeries(board.rail)
    assert board_energy(told(cpu, wall, blind)).name == "wall"
    # Parts of a board that is measured and cannot be told are no stand-in for it.
    assert board_energy(told(cpu, blind)).energy is None


def test_rails_of_agx_orin_are_added_and_called_a_sum():
    parts = [
        rail("VDD_GPU_SOC", 1.0, 3.0, sensor="ina3221 1-0040"),
        rail("VDD_CPU_CV", 0.5, 2.0, sensor="ina3221 1-0040"),
        rail("VDDQ_VDD2_1V8AO", 0.5, 1.0, sensor="ina3221 1-0041"),
    ]
    rails = told(*parts)
    total = board_energy(rails)
    assert total.name == "sum of rails"
    assert "less than the board" in total.words()
    assert total.energy.j_per_inference == pytest.approx(6.0 * 20 / 400, rel=0.01)
    assert total.energy.above_idle_j == pytest.approx(sum(r.energy.above_idle_j for r in rails))
    single = [r.energy.above_idle_uncertainty_j for r in rails]
    assert max(single) < total.energy.above_idle_uncertainty_j <= sum(single) * 1.001
    assert total.as_json()["sensors"] == ["ina3221 1-0040", "ina3221 1-0041"]
    broken = RailSeries(parts[1].rail)
    lost = board_energy(told(parts[0], broken))
    assert lost.energy is None
    assert lost.reason.startswith("VDD_CPU_CV: ")


def test_rails_within_others_are_not_added():
    package, core = (
        rail("package-0", 3.0, 6.0),
        rail("package-0/core", 1.0, 4.0, within="package-0"),
    )
    total = board_energy(told(package, core))
    assert [entry.rail.label for entry in total.rails] == ["package-0"]
    assert board_energy(told(core)).energy is None


def test_rails_of_unlike_sensors_are_not_added():
    total = board_energy(told(rail("ina219 7-0041", sensor="ina219 7-0041"),
                              rail("VDD_CPU_CV", sensor="ina3221 1-0040")))  # fmt: skip
    assert total.energy is None
    assert "ina219 and ina3221" in total.reason


def test_no_sensor_says_what_to_attach():
    none = board_energy(told())
    assert (none.name, none.energy, none.reason) == ("no sensor", None, ATTACH)
    refused = UnusedSensor("rapl", "intel-rapl:0", "energy_uj: Permission denied")
    words = board_energy((), [refused]).words()
    assert words.startswith("no sensor: intel-rapl:0 is not read: energy_uj: Permission denied; ")
    assert "INA226" in words


MOMENTS = st.integers(-(2**63), 2**63 - 1) | st.integers(0, 100)


@st.composite
def any_series(draw):
    """Return whatever a record may hold: few readings, near each other or as far as it gets."""
    times = draw(st.lists(MOMENTS, max_size=8).map(sorted)) if draw(st.booleans()) else [*range(99)]
    largest = draw(st.sampled_from([3, 2**63 - 1]))
    values = draw(st.lists(st.integers(-3, largest), min_size=len(times), max_size=len(times)))
    quantity = draw(st.sampled_from([POWER, ENERGY]))
    facts = RailFacts(
        "hwmon", draw(st.sampled_from(["ina226 0-0040", ""])), draw(st.text(max_size=2)),
        draw(st.sampled_from(["rail", "board", "wall"])), quantity,
        draw(st.integers(1, 2**63 - 1)) if quantity == ENERGY else None,
        draw(st.none() | st.just("VIN")), draw(st.none() | st.integers(0, 10**30)),
        draw(st.none() | st.floats(1e-6, 1e6)),
    )  # fmt: skip
    return RailSeries(facts, tuple(times), tuple(values), 0)


SPANS = st.tuples(MOMENTS, MOMENTS) | st.sampled_from([(1, 20), (30, 60), (70, 90)])
LIMITS = Limits(max_gap_s=1e30, max_unchanged_s=1e30, min_samples=1, max_power_w=1e30)


@settings(max_examples=100)
@given(
    st.lists(any_series(), max_size=3),
    st.floats(1e-6, 1e6),
    st.lists(SPANS, min_size=3, max_size=3),
    st.integers(-1, 1000),
    st.sampled_from([Limits(), LIMITS]),
)
def test_any_record_is_told_or_its_reason_is(series, rate_hz, spans, inferences, limits):
    before, run, after = spans
    made = record(*series, rate_hz=rate_hz)
    rails = power_of_run(made, run, inferences, before, after, 5, limits)
    whole = board_energy(rails)
    for entry in (*rails, whole):
        assert (entry.energy is None) == bool(entry.reason)
        assert entry.words()
        # Strict JSON: what is not a number would not pass.
        assert json.dumps(entry.as_json(), allow_nan=False)


def test_that_property_sees_figures_too():
    series = RailSeries(RailFacts("hwmon", "", "VIN"), tuple(range(99)), tuple(range(99)))
    rails = power_of_run(record(series), (30, 60), 9, (1, 20), (70, 90), 5, LIMITS)
    assert rails[0].energy is not None


def test_too_few_readings_name_the_time_they_are_of_and_what_to_do():
    seldom = rail(scope="wall")
    seldom = RailSeries(seldom.rail, seldom.times_ns[::100], seldom.values[::100])
    (told_of,) = power_of_run(record(seldom, rate_hz=0.5), RUN, 400, BEFORE, AFTER)
    assert told_of.reason.startswith("idle before it: 5 readings in 8 s, 10 are needed (measure")
    assert "--idle" in told_of.reason
