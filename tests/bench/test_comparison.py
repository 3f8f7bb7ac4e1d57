"""A comparison names what differs, all of it and nothing else, and sizes what it can."""

from dataclasses import replace

import pytest

from edgekit.bench.comparison import compare
from edgekit.core.comparison import ComparedRun
from edgekit.core.health import ClusterClock, CoolingDevice, HealthSnapshot, Load, ThermalZone
from edgekit.report.comparison import comparison_lines

S = 1_000_000_000


def health(mhz=1800, heat_c=50.0, limited=0, others=0.0):
    """Ten seconds of four cores, one of which works for us."""
    return tuple(
        HealthSnapshot(
            second * S,
            clusters=(
                ClusterClock(0, (0, 1, 2, 3), current_khz=mhz * 1000, governor="performance"),
            ),
            zones=(ThermalZone(0, "cpu-thermal", heat_c),),
            cooling=(CoolingDevice(0, "cpufreq-cpu0", limited, 5),),
            load=Load(
                100 + second * (1 + 4 * others), 500 + second * (3 - 4 * others), 40 + second, 1.0
            ),
        )
        for second in range(11)
    )


BASE = ComparedRun(
    name="first",
    model="yolov5",
    engine="ncnn",
    precision="fp32",
    knobs={"threads": 4},
    bundle="b" * 64,
    p50_ms=20.0,
    interval_ms=(19.9, 20.1),
    end_to_end_ms=25.0,
    device={"hostname": "pi", "model": "Board", "kernel": "6.1"},
    versions={"ncnn": "1.0", "python": "3.11"},
    model_sha256="a" * 64,
    inputs=(("images", (1, 3, 640, 640)),),
    health=health(),
)


def slower(by, **changes):
    p50 = BASE.p50_ms * by
    interval = (p50 * 0.995, p50 * 1.005)
    return replace(BASE, name="second", p50_ms=p50, interval_ms=interval, **changes)


def kinds(found):
    return [cause.kind for cause in found.causes]


def test_two_runs_of_the_same_are_not_told_apart():
    found = compare(BASE, slower(1.001))
    assert kinds(found) == []
    assert not found.differs
    assert found.explained
    assert found.unknown == ()
    assert "cannot tell the two apart" in " ".join(comparison_lines(found))


def test_gap_without_a_cause_is_left_unexplained():
    found = compare(BASE, slower(1.5))
    assert kinds(found) == []
    assert found.differs
    assert not found.explained
    lines = " ".join(comparison_lines(found))
    assert "nothing that was recorded differs" in lines


def test_clocks_account_for_their_ratio():
    found = compare(BASE, slower(1.5, health=health(mhz=1200)))
    (cause,) = found.causes
    assert cause.kind == "clocks"
    assert cause.factor == pytest.approx(1.5)
    assert found.left == pytest.approx(1.0)
    assert found.explained


def test_threads_and_throttling_are_named_and_nothing_else():
    throttled = slower(
        3.3,
        knobs={"threads": 2},
        health=health(mhz=1000, limited=3, heat_c=52),
        reasons=(
            ("throttled", "cpufreq-cpu0 limited the device"),
            ("clocks-dropped", "the highest clock fell"),
        ),
    )
    found = compare(BASE, throttled)
    assert kinds(found) == ["threads", "throttling"]
    threads, throttling = found.causes
    assert threads.at_most == 2
    assert throttling.factor == pytest.approx(1.8)
    assert "cpufreq-cpu0 limited the device; the highest clock fell" in throttling.text
    assert found.left == pytest.approx(3.3 / 1.8)
    # 1.83 x is no more than half the threads can cost.
    assert found.explained
    lines = comparison_lines(found)
    assert "not believed" not in lines[0]
    assert lines[1].endswith(", not believed: throttled, clocks-dropped")
    assert "threads: 4 against 2: can account for at most 2.00 x" in lines[3]
    assert lines[-1].endswith("1.83 x is left, within what threads can do")


def test_more_than_the_threads_can_cost_is_not_put_on_them():
    assert compare(BASE, slower(1.9, knobs={"threads": 2})).explained
    assert not compare(BASE, slower(2.5, knobs={"threads": 2})).explained
    # Fewer threads make nothing quicker.
    assert not compare(BASE, slower(0.7, knobs={"threads": 2})).explained
    assert compare(BASE, slower(0.7, knobs={"threads": 8})).explained


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"inputs": (("images", (1, 3, 320, 320)),)}, "input", "1x3x320x320, 0.25 times"),
        ({"model_sha256": "c" * 64}, "model", "aaaaaaaaaaaa against cccccccccccc"),
        ({"model": "yolox"}, "model", "yolov5 against yolox"),
        ({"engine": "mnn", "versions": {"mnn": "3"}}, "engine", "ncnn against mnn"),
        ({"precision": "int8"}, "precision", "fp32 against int8"),
        ({"rewrites": ("space-to-depth",)}, "rewrites", "none against space-to-depth"),
        ({"knobs": {"threads": 4, "affinity": "0-3"}}, "knobs", "affinity: None against 0-3"),
        ({"versions": {"ncnn": "1.1", "python": "3.11"}}, "versions", "ncnn 1.0 against 1.1"),
        ({"device": {**BASE.device, "kernel": "6.6"}}, "kernel", "6.1 against 6.6"),
        ({"device": {**BASE.device, "hostname": "pj"}}, "device", "another unit of Board"),
        ({"device": {**BASE.device, "model": "Other"}}, "device", "Board against Other"),
        ({"health": health(others=0.3)}, "load", "0% against 30%"),
        ({"health": health(heat_c=70)}, "heat", "began at 50 against 70"),
        ({"reasons": (("swapping", "9 MiB"),)}, "swapping", "in the second run alone: 9 MiB"),
        ({"reasons": (("under-voltage", "low"),)}, "under-voltage", "second run alone: low"),
    ],
)  # fmt: skip
def test_each_difference_is_named_alone_and_with_both_values(changes, kind, words):
    found = compare(BASE, slower(1.4, **changes))
    assert kinds(found) == [kind]
    assert words in found.causes[0].text
    # And the other way round.
    assert kinds(compare(slower(1.4, **changes), BASE)) == [kind]


def test_what_was_not_read_is_told_as_such():
    found = compare(BASE, slower(1.0, health=(), model_sha256=None, inputs=()))
    assert len(found.unknown) == 5
    assert all(told.endswith("not told by the second") for told in found.unknown)
