"""The table of a bench and the lines below it: nothing is said that was not seen."""

from dataclasses import replace
from pathlib import Path

import pytest
from device_facts import device

from edgekit.core.bench import (
    BenchReport,
    BenchResult,
    FixedClocks,
    PowerFigures,
    Soak,
    SoakWindow,
    Subject,
)
from edgekit.core.clocks import ClockState, PinnedClock, PinnedClocks, ReleasedClocks
from edgekit.core.health import HealthSnapshot
from edgekit.core.measurement import BenchPlan, Latency, Measurement
from edgekit.core.validity import Validity
from edgekit.report.bench import bench_lines, bench_table, soak_line, soak_table

GOVERNOR = "devices/system/cpu/cpufreq/policy0/scaling_governor"
CLOCK = PinnedClock(
    "policy0", "cpu", pinned=True,
    was=ClockState("ondemand", 600_000_000, 1_800_000_000),
    read_back=ClockState("performance", 600_000_000, 1_800_000_000),
    set=(("scaling_governor", "performance"),),
)  # fmt: skip
PUT_BACK = ReleasedClocks("released", restored=(GOVERNOR,))


def result(power=None, soak=None, not_judged=()):
    latency = Latency(1.0, 1.0, 1.0, 1.0, 1.0, 30)
    return BenchResult(
        Subject("net", "ncnn", "fp32", (), "b" * 64, "local"),
        BenchPlan(), Measurement(latency, None, 1000.0, None, None, emulated=False),
        Validity((), not_judged, None), (), (HealthSnapshot(0), HealthSnapshot(1)), {}, soak, power,
    )  # fmt: skip


def report(*, clock=CLOCK, released=PUT_BACK, **measured):
    clocks = FixedClocks(PinnedClocks((clock,)), released)
    return BenchReport("id", "local", device(), (result(**measured),), Path("/runs/id"), clocks)


@pytest.mark.parametrize(
    ("case", "said"),
    [
        ({}, "and put back (ondemand, 0.6 to 1.8 GHz)"),
        ({"released": None}, "the device puts it back by itself, unseen"),
        ({"clock": replace(CLOCK, set=())}, "was pinned (performance, 0.6 to 1.8 GHz) before"),
        ({"released": replace(PUT_BACK, left=(GOVERNOR,))}, "it was left so"),
        (
            {"released": ReleasedClocks("released", failed=((GOVERNOR, "EBUSY"),))},
            f"{GOVERNOR} could not be put back (EBUSY)",
        ),
    ],
)
def test_clocks_are_said_to_be_put_back_only_where_they_were(case, said):
    lines = " / ".join(bench_lines(report(**case)))
    assert said in lines
    assert ("and put back" in lines) == (not case)


@pytest.mark.parametrize(
    ("name", "shown"),
    [("no sensor", "no sensor"), ("wall", "not told"), ("sum of rails", "not told")],
)
def test_power_that_cannot_be_told_is_not_shown_as_a_scope(name, shown):
    figures = PowerFigures(name, None, None, None, (f"{name}: why",), {})
    table = bench_table(report(power=figures))
    (row,) = table.rows
    told = dict(zip([column.name for column in table.columns], row, strict=True))
    assert (told["W"], told["J/inference"]) == (shown, "-")


def test_soak_of_an_emulated_device_shows_its_heat_and_no_speed():
    windows = (SoakWindow(0.0, 1.0, 7.25, 90.0, 408.0),)
    soak = Soak(windows, 7.25, 5.75, 1.0, "cpufreq-cpu0 limited the device", None)
    assert soak_table(soak, emulated=False).rows == (("0", "7.2", "90", "408"),)
    assert soak_table(soak, emulated=True).rows == (("0", "-", "90", "408"),)
    line = soak_line(soak, emulated=False)
    assert line.startswith("sustained 5.8 FPS, 20.7 % less than the 7.2 at first; throttled after")
    line = soak_line(soak, emulated=True)
    assert line == "throttled after 1 s: cpufreq-cpu0 limited the device"


@pytest.mark.parametrize(
    ("blind_to", "said"),
    [
        ((), "never seen to throttle"),
        (("throttling",), "never seen to throttle"),
        (("clocks", "throttling"), "this device does not tell whether it throttled"),
    ],
)
def test_soak_claims_no_quiet_of_a_device_that_tells_nothing(blind_to, said):
    soak = Soak((SoakWindow(0.0, 1.0, 7.0, None, None),), 7.0, 7.0, None, "", None)
    unknown = tuple(f"{name}: this device tells nothing of it" for name in blind_to)
    lines = bench_lines(report(soak=soak, not_judged=unknown))
    assert any(line.endswith(f"at first; {said}") for line in lines)
