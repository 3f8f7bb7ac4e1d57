"""A run is invalid for what disturbed it, each time, and for nothing else."""

import itertools
import random
from dataclasses import replace

import pytest
from board_trees import BOARDS, BoardTree

from device_agent.health import snapshot
from edgekit.bench.validity import judge
from edgekit.core.health import HealthSnapshot, Load, MemoryState

RUNS = range(20)
READINGS = 12


def samples(draw, slower=1.0):
    """Give a run of 300 samples of 20 ms: 1 % of noise, one in fifty is held up."""
    return [
        int(2e7 * draw.gauss(1, 0.01) * (1.5 if draw.random() < 0.02 else 1)) for _ in range(150)
    ] + [int(2e7 * slower * draw.gauss(1, 0.01)) for _ in range(150)]


def clean_run(base, draw):
    """Give what a quiet device shows once a second, its governor's clocks and sensors' noise."""
    run = []
    for second in range(READINGS):
        busy_s = base.load.busy_s + second * (1 + draw.uniform(0, 0.05))
        run.append(
            replace(
                base,
                monotonic_ns=base.monotonic_ns + int(second * 1e9 + draw.uniform(0, 5e6)),
                clusters=tuple(noisy_clock(cluster, draw) for cluster in base.clusters),
                zones=tuple(
                    replace(zone, temperature_c=zone.temperature_c + draw.gauss(0, 1))
                    for zone in base.zones
                ),
                load=Load(busy_s, base.load.idle_s + 3 * second, base.load.own_s + second, 1.0),
                memory=MemoryState(3 << 30, 4096 * draw.randrange(3), 0),
            )
        )
    return run


def noisy_clock(cluster, draw):
    if cluster.governor == "performance":
        clock = int(cluster.limit_max_khz * draw.uniform(0.95, 1.0))
    else:
        clock = draw.randrange(cluster.limit_min_khz, cluster.limit_max_khz + 1)
    return replace(cluster, current_khz=clock)


def base_of(board, folder):
    BoardTree(folder, board)
    return HealthSnapshot.from_json(snapshot(str(folder)))


def judged(run, durations):
    return judge(run[0], run[1:-1], run[-1], durations)


@pytest.mark.parametrize("board", BOARDS)
def test_twenty_clean_runs_raise_no_false_alarm(board, tmp_path):
    base = base_of(board, tmp_path)
    for seed in RUNS:
        draw = random.Random(seed)
        verdict = judged(clean_run(base, draw), samples(draw))
        assert verdict.valid, verdict.reasons
        assert not verdict.cool_down_helps


def from_on(run, start, change):
    """Change every reading from one on, as a fault in mid-run does."""
    return [one if number < start else change(one) for number, one in enumerate(run)]


def signs(**values):
    return lambda one: replace(one, throttle=replace(one.throttle, **values))


def limit(one):
    clusters = [replace(cluster, limit_max_khz=1008000) for cluster in one.clusters]
    return replace(one, clusters=tuple(clusters))


def slow_clock(one):
    clusters = [replace(cluster, current_khz=1008000) for cluster in one.clusters]
    return replace(one, clusters=tuple(clusters))


def cool(kind):
    def change(one):
        coolers = (replace(c, state=3 if c.type == kind else c.state) for c in one.cooling)
        return replace(one, cooling=tuple(coolers))

    return change


def warm(kind, temperature_c):
    def change(one):
        zones = (
            replace(z, temperature_c=temperature_c) if z.type == kind else z for z in one.zones
        )
        return replace(one, zones=tuple(zones))

    return change


def others(one):
    load = one.load
    return replace(one, load=replace(load, busy_s=load.busy_s + 4, idle_s=load.idle_s - 4))


def swap(one):
    return replace(one, memory=replace(one.memory, swapped_in_bytes=64 << 20))


FAULTS = [
    ("rpi4", signs(pi_bits=0x20002), "throttled", True, "get_throttled 0x20002"),
    ("rpi4", signs(pi_bits=0x80000), "throttled", True, "between two readings"),
    ("rpi4", signs(pi_bits=0x50005), "under-voltage", False, "voltage was too low"),
    ("rpi4", signs(pi_bits=0x10000), "under-voltage", False, "between two readings"),
    ("rpi5", signs(under_voltage=1), "under-voltage", False, "rpi_volt"),
    ("jetson-orin-nano", signs(oc1_events=2), "under-voltage", False, "2 times"),
    ("jetson-orin-nano", signs(oc3_events=40), "throttled", False, "3 times"),
    ("jetson-agx-orin", signs(over_current_alarms=("VDD_CPU_CV",)), "throttled", False, "VDD_CPU"),
    ("jetson-orin-nano", cool("cpu-throttle-alert"), "throttled", True, "state 3 of 2"),
    ("jetson-nano", cool("cpu-balanced"), "throttled", True, "cpu-balanced"),
    ("rk3399", cool("cpufreq-cpu4"), "throttled", True, "state 3 of 7"),
    ("rk3399", limit, "clocks-dropped", True, "from 1800 to 1008 MHz"),
    ("rk3566", slow_clock, "clocks-dropped", True, "should run at 1800 MHz"),
    ("jetson-agx-orin", slow_clock, "clocks-dropped", True, "CPU 8-11"),
    ("rk3399", lambda one: replace(one, cpus_online=(0, 1, 2, 3)), "clocks-dropped", True, "4, 5"),
    ("rk3566", warm("cpu-thermal", 71.0), "hot", True, "71.0 degrees C"),
    ("jetson-orin-nano", warm("cpu-thermal", 99.5), "hot", True, "at 99.0"),
    ("rk3566", others, "disturbed", False, "of 4.0 cores"),
    ("rk3399", swap, "swapping", False, "64.0 MiB"),
]


@pytest.mark.parametrize(("board", "change", "kind", "cools", "words"), FAULTS)
def test_fault_in_mid_run_makes_every_run_invalid(board, change, kind, cools, words, tmp_path):
    base = base_of(board, tmp_path)
    for seed in RUNS:
        draw = random.Random(seed)
        run = from_on(clean_run(base, draw), draw.randrange(1, READINGS - 1), change)
        verdict = judged(run, samples(draw))
        found = [reason for reason in verdict.reasons if reason.kind == kind]
        assert any(words in reason.text for reason in found), verdict.reasons
        assert verdict.cool_down_helps is cools
        assert not verdict.valid
        assert verdict.as_json()["valid"] is False


@pytest.mark.parametrize(
    ("board", "change"),
    [
        ("jetson-orin-nano", warm("cpu-thermal", 80.0)),  # over the trip that only warns
        ("jetson-orin-nano", cool("hot-surface-alert")),
        ("rpi5", cool("pwm-fan")),
        ("rpi5", warm("cpu-thermal", 76.0)),  # over the trips of the fan
        ("jetson-nano", warm("PMIC-Die", 100.0)),
        ("rpi5", signs(pi_bits=0x10000)),  # of some time before the run
        ("rk3399", slow_clock),  # where the governor follows the load
        ("jetson-orin-nano", signs(oc2_events=0)),  # a counter that was reset
    ],
)
def test_what_slows_nothing_down_is_no_fault(board, change, tmp_path):
    base = base_of(board, tmp_path)
    for seed in RUNS:
        draw = random.Random(seed)
        run = from_on(clean_run(base, draw), draw.randrange(1, READINGS - 1), change)
        verdict = judged(run, samples(draw))
        assert verdict.valid, verdict.reasons


def test_single_low_clock_is_a_change_in_progress(tmp_path):
    draw = random.Random(1)
    run = clean_run(base_of("rk3566", tmp_path), draw)
    run[5] = slow_clock(run[5])
    assert judged(run, samples(draw)).valid


def test_slowdown_in_mid_run_is_noisy_and_its_numbers_are_told(tmp_path):
    base = base_of("rk3399", tmp_path)
    for seed in RUNS:
        draw = random.Random(seed)
        verdict = judged(clean_run(base, draw), samples(draw, slower=1.2))
        assert [reason.kind for reason in verdict.reasons] == ["noisy"]
        assert "5 % at most" in verdict.reasons[0].text
        low, high = verdict.median_interval_ms
        assert 19 < low < 21 < high < 25


def test_width_that_is_asked_for_decides(tmp_path):
    draw = random.Random(3)
    run = clean_run(base_of("rk3399", tmp_path), draw)
    durations = samples(draw, slower=1.2)
    assert judge(run[0], run[1:-1], run[-1], durations, median_width=0.5).valid
    assert not judge(run[0], run[1:-1], run[-1], durations, median_width=0.0001).valid


def test_without_readings_in_between_the_ends_tell(tmp_path):
    draw = random.Random(4)
    first, *_, last = clean_run(base_of("rk3399", tmp_path), draw)
    assert judge(first, (), last, samples(draw)).valid
    verdict = judge(cool("cpufreq-cpu4")(first), (), last, samples(draw))
    assert [reason.kind for reason in verdict.reasons] == ["throttled"]


def test_what_could_not_be_judged_is_told_and_not_held_against_the_run(tmp_path):
    empty = HealthSnapshot(0)
    verdict = judge(empty, (), replace(empty, monotonic_ns=int(5e9)), [10, 10])
    assert verdict.valid
    told = "; ".join(verdict.not_judged)
    for word in ("clocks", "temperature", "throttling", "swapping", "load of others", "2 samples"):
        assert word in told


def test_sensor_that_vanishes_in_mid_run_is_told(tmp_path):
    draw = random.Random(5)
    run = clean_run(base_of("rk3566", tmp_path), draw)
    run = from_on(run, 9, lambda one: replace(one, zones=one.zones[1:]))
    verdict = judged(run, samples(draw))
    assert verdict.valid
    assert "temperature of cpu-thermal (zone 0): no value in 3 of 12 readings" in verdict.not_judged


def test_files_that_change_between_snapshots_are_judged_end_to_end(tmp_path):
    tree = BoardTree(tmp_path, "rk3399")
    clock_ns = itertools.count(10**9, 10**9)

    def look():
        taken = HealthSnapshot.from_json(snapshot(str(tmp_path)))
        return replace(taken, monotonic_ns=next(clock_ns))

    before = look()
    zone = tree.find("sys/class/thermal/thermal_zone*/type", "cpu-thermal")
    cooler = tree.find("sys/class/thermal/cooling_device*/type", "cpufreq-cpu4")
    tree.put(f"{zone}/temp", 76500)
    tree.put(f"{cooler}/cur_state", 4)
    tree.put("sys/devices/system/cpu/cpufreq/policy4/scaling_max_freq", 1200000)
    tree.worked(busy_s=105, idle_s=1003, own_s=3)
    tree.swapped(9000)
    verdict = judge(before, [look()], look(), samples(random.Random(6)))
    assert {reason.kind for reason in verdict.reasons} == {
        "throttled", "clocks-dropped", "hot", "disturbed", "swapping",
    }  # fmt: skip
    assert verdict.cool_down_helps
