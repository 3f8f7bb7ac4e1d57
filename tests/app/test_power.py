"""Readings around a run become joules for each inference, or the words why not."""

import pytest

from edgekit.app.power import power_figures
from edgekit.device import RunResult

S = 1_000_000_000
START = 100 * S


def series(watts_at):
    times = [START + n * S // 100 for n in range(1600)]
    return {
        "rail": {
            "source": "hwmon",
            "sensor": "ina226 1-0040",
            "label": "supply",
            "scope": "board",
            "quantity": "power_uw",
        },
        "start_ns": times[0],
        "steps_ns": [S // 100] * (len(times) - 1),
        "values": [int(watts_at((time - START) / S) * 1e6) for time in times],
        "longest_unchanged_ns": S,
        "faults": {},
    }


def run(power):
    """Give 10 s of 200 inferences from second 3 to second 13."""
    spans = {"model": (START + 3 * S, START + 13 * S)}
    return RunResult((S // 20,) * 200, (), None, None, {}, (), (), 16 * S, (), spans, (), power)


def record(*rails, **more):
    return {
        "rate_hz": 100, "rounds": 1600, "missed_rounds": 0, "wall_s": 16.0, "cpu_s": 0.1,
        "series": list(rails), "refused": [], **more,
    }  # fmt: skip


def test_idle_is_taken_off_and_both_are_told():
    watts = series(lambda second: (3 if 3 <= second < 13 else 1) + 0.001 * (int(second * 7) % 2))
    idle = {
        "idle_before_ns": [START, START + 29 * S // 10],
        "idle_after_ns": [START + 131 * S // 10, START + 159 * S // 10],
    }
    found = power_figures(run(record(watts, **idle)))
    assert found.name == "board"
    assert found.mean_w == pytest.approx(3, rel=0.01)
    assert found.j_per_inference == pytest.approx(3 * 10 / 200, rel=0.01)
    assert found.above_idle_j_per_inference == pytest.approx(2 * 10 / 200, rel=0.01)
    said = " ".join(found.words)
    assert "ina226 1-0040" in said
    assert "sampling took" in said


def test_without_a_look_at_idle_nothing_is_told():
    found = power_figures(run(record(series(lambda _second: 3))))
    assert found.j_per_inference is None
    assert "holds no energy" in " ".join(found.words)


def test_without_a_sensor_it_is_said_what_to_attach():
    unused = [{"source": "rapl", "sensor": "intel-rapl:0", "reason": "energy_uj: root's"}]
    found = power_figures(run(record(refused=unused)))
    assert found.name == "no sensor"
    assert found.j_per_inference is None
    assert "INA226" in found.words[0]
    assert "intel-rapl:0 is not read" in found.words[0]
