"""Snapshots of recorded trees of boards, and of this machine."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from board_trees import BOARDS, BoardTree

import device_agent.health
from device_agent.health import snapshot
from device_agent.health.tree import Tree
from edgekit.core.health import HealthSnapshot
from edgekit.device.agent_pack import MAX_AGENT_BYTES, pack_bytes


@pytest.mark.parametrize("board", BOARDS)
def test_snapshot_of_every_board_holds_what_its_tree_tells(board, tmp_path):
    tree = BoardTree(tmp_path, board)
    found = json.loads(json.dumps(snapshot(str(tmp_path))))
    record = HealthSnapshot.from_json(found)
    assert HealthSnapshot.from_json(json.loads(json.dumps(record.as_json()))) == record
    assert [one.policy for one in record.clusters] == [
        one["policy"] for one in tree.told["cluster"]
    ]
    for cluster, told in zip(record.clusters, tree.told["cluster"], strict=True):
        assert cluster.cpus == tuple(map(int, told["cpus"].split()))
        assert cluster.current_khz == told["current"]
        assert (cluster.limit_min_khz, cluster.limit_max_khz) == (told["min"], told["max"])
        assert cluster.hardware_max_khz == told["max"]
        assert (cluster.governor, cluster.driver) == (told["governor"], told["driver"])
    warm = [zone for zone in tree.told["zone"] if "temp" in zone]
    assert [(zone.type, zone.temperature_c * 1000) for zone in record.zones] == [
        (zone["type"], zone["temp"]) for zone in warm
    ]
    for zone, told in zip(record.zones, warm, strict=True):
        limits = sorted((limit / 1000, kind) for kind, limit in told.get("trips", ()))
        assert [(trip.temperature_c, trip.type) for trip in zone.trips] == limits
    assert [(one.type, one.state, one.max_state) for one in record.cooling] == [
        (one["type"], one["state"], one["max"]) for one in tree.told.get("cooling", ())
    ]
    assert record.cpus_online == tuple(range(tree.cores))
    assert record.memory.available_bytes == 3500000 * 1024
    assert record.load.busy_s == 100 * 100 / os.sysconf("SC_CLK_TCK")
    assert record.load.load_1min == 0.08


def test_trip_knows_the_coolers_that_hang_on_it(tmp_path):
    BoardTree(tmp_path, "jetson-orin-nano")
    zone = HealthSnapshot.from_json(snapshot(str(tmp_path))).zones[0]
    surface, throttle, shutdown = zone.trips
    assert (surface.temperature_c, surface.cooling) == (70.0, ("hot-surface-alert",))
    assert "cpufreq-cpu4" in throttle.cooling
    assert (shutdown.type, shutdown.cooling) == ("critical", ())


@pytest.mark.parametrize(
    ("board", "signs"),
    [
        ("rpi4", {"pi_bits": 0, "under_voltage": 0}),
        ("rpi5", {"pi_bits": 0x10000, "under_voltage": 0}),
        (
            "jetson-orin-nano",
            {"oc1_events": 0, "oc2_events": 15, "oc3_events": 37, "over_current_alarms": []},
        ),
        ("rk3399", {}),
        ("jetson-nano", {}),
    ],
)
def test_signs_of_throttling_are_those_that_the_board_has(board, signs, tmp_path):
    BoardTree(tmp_path, board)
    assert snapshot(str(tmp_path)).get("throttle", {}) == signs


def test_gated_sensor_is_told_and_left_out(tmp_path):
    BoardTree(tmp_path, "jetson-orin-nano")
    found = snapshot(str(tmp_path))
    assert not [zone for zone in found["zones"] if zone["type"].startswith("cv")]
    assert found["unread"]["sys/class/thermal/thermal_zone2/temp"] == "EISDIR"


def test_rail_over_its_current_is_named_by_its_label(tmp_path):
    tree = BoardTree(tmp_path, "jetson-agx-orin")
    tree.put("sys/class/hwmon/hwmon2/curr2_crit_alarm", 1)
    assert snapshot(str(tmp_path))["throttle"]["over_current_alarms"] == ["VDDQ_VDD2_1V8AO"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "no number: ''"),
        ("<unknown>", "no number: '<unknown>'"),
        ("-274000", "out of range: -274000"),
        ("1_000", "no number: '1_000'"),
        ("9" * 4000, "out of range"),
    ],
)
def test_garbage_is_told_and_left_out(text, why, tmp_path):
    tree = BoardTree(tmp_path, "rk3566")
    tree.put("sys/class/thermal/thermal_zone0/temp", text)
    found = snapshot(str(tmp_path))
    assert [zone["type"] for zone in found["zones"]] == ["gpu-thermal"]
    assert why.split(":")[0] in found["unread"]["sys/class/thermal/thermal_zone0/temp"]


def test_sensor_that_vanishes_is_told_as_gone(tmp_path):
    BoardTree(tmp_path, "rk3566")
    tree = Tree(str(tmp_path))
    assert len(snapshot(tree)["zones"]) == 2
    (tmp_path / "sys/class/thermal/thermal_zone1/temp").unlink()
    found = snapshot(tree)
    assert len(found["zones"]) == 1
    assert found["unread"] == {"sys/class/thermal/thermal_zone1/temp": "gone"}


def test_empty_tree_gives_an_empty_snapshot(tmp_path):
    found = snapshot(str(tmp_path))
    assert set(found) == {"monotonic_ns", "cost_cpu_us"}


def test_stuck_powerclamp_and_negative_state_are_no_throttling(tmp_path):
    tree = BoardTree(tmp_path, "rk3566")
    tree.put("sys/class/thermal/cooling_device0/cur_state", -1)
    assert snapshot(str(tmp_path))["cooling"][0]["state"] == 0


def test_throttle_counts_of_x86_are_summed_over_cores(tmp_path):
    tree = BoardTree(tmp_path, "rk3566")
    for cpu in range(3):
        folder = f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle"
        tree.put(f"{folder}/core_throttle_count", cpu)
        tree.put(f"{folder}/package_throttle_count", 5)
    signs = snapshot(str(tmp_path))["throttle"]
    assert signs == {"core_throttle_count": 3, "package_throttle_count": 15}


def test_work_of_a_process_group_is_our_own(tmp_path):
    tree = BoardTree(tmp_path, "rk3566")
    times = "0 -1 0 0 0 0 0 200 100 50 50 20 0"
    tree.put("proc/501/stat", f"501 (run ner) 5) R 77 500 500 {times}")
    tree.put("proc/502/stat", f"502 (other) R 1 502 502 {times}")
    ticks = os.sysconf("SC_CLK_TCK")
    kernel = Tree(str(tmp_path))
    assert snapshot(kernel, groups=[500])["load"]["own_s"] == pytest.approx(500 / ticks)
    tree.put("proc/503/stat", f"503 (late) R 1 500 500 {times}")
    assert snapshot(kernel, groups=[500])["load"]["own_s"] == pytest.approx(900 / ticks)
    assert snapshot(kernel)["load"]["own_s"] == pytest.approx(100 / ticks)


def test_this_machine_gives_a_record_and_counts_a_child_as_our_own():
    group = subprocess.Popen(["sleep", "30"], start_new_session=True)
    try:
        kernel = Tree()
        first, second = (HealthSnapshot.from_json(snapshot(kernel, [group.pid])) for _ in range(2))
    finally:
        group.kill()
        group.wait()
    assert second.monotonic_ns > first.monotonic_ns
    assert second.load.busy_s > 0
    assert second.load.own_s >= first.load.own_s > 0
    assert second.cost_cpu_us is not None


def test_health_package_is_a_small_part_of_the_agent():
    package = Path(device_agent.health.__file__).parent
    assert len(pack_bytes(package)) <= MAX_AGENT_BYTES / 4
