"""Rails of the power sensors of several boards, read from their trees."""

import errno
import os
import shutil
from pathlib import Path

import pytest
from sysfs_trees import unfold

from device_agent.power.rail import ReadingError
from device_agent.power.sources import find_rails
from edgekit.device.agent_pack import MAX_AGENT_BYTES, pack_bytes

TREES = Path(__file__).parent / "power_trees"
AGENT = Path(__file__).parents[2] / "device_agent"


@pytest.fixture
def found(tmp_path):
    """Find the rails of a board, and close them afterwards."""
    opened = []

    def find(board, scopes=None):
        root = tmp_path if board is None else unfold(TREES / f"{board}.txt", tmp_path)
        rails, refused = find_rails(str(root), scopes)
        opened.extend(rails)
        return rails, refused

    yield find
    for rail in opened:
        rail.close()


def told(rails):
    return [(rail.sensor, rail.label, rail.scope, rail.read()) for rail in rails]


@pytest.mark.parametrize(
    ("board", "source", "rails"),
    [
        (
            "jetson-nano",
            "iio",
            [
                ("ina3221 6-0040", "POM_5V_CPU", "rail", 452_000),
                ("ina3221 6-0040", "POM_5V_GPU", "rail", 123_000),
                ("ina3221 6-0040", "POM_5V_IN", "board", 2_263_000),
            ],
        ),
        (
            "orin-nano",
            "hwmon",
            [
                ("ina3221 1-0040", "VDD_CPU_GPU_CV", "rail", 5008 * 152),
                ("ina3221 1-0040", "VDD_IN", "board", 5016 * 992),
                ("ina3221 1-0040", "VDD_SOC", "rail", 5008 * 280),
            ],
        ),
        (
            "xavier-nx",
            "hwmon",
            [
                ("ina3221 7-0040", "VDD_CPU_GPU_CV", "rail", 4976 * 96),
                ("ina3221 7-0040", "VDD_IN", "board", 4976 * 688),
                ("ina3221 7-0040", "VDD_SOC", "rail", 4968 * 216),
            ],
        ),
        (
            "agx-orin",
            "hwmon",
            [
                ("ina3221 1-0040", "VDD_CPU_CV", "rail", 19080 * 40),
                ("ina3221 1-0040", "VDD_GPU_SOC", "rail", 19080 * 160),
                ("ina3221 1-0040", "VIN_SYS_5V0", "rail", 5032 * 760),
                ("ina3221 1-0041", "VDDQ_VDD2_1V8AO", "rail", 5000 * 180),
            ],
        ),
        (
            "rpi4-ina219",
            "hwmon",
            [("ina219 1-0040", "ina219 1-0040", "rail", 3_120_000)],
        ),
        (
            "rk3399-kevin",
            "power_supply",
            [("sbs-9-000b", "sbs-9-000b", "board", 7854 * 512)],
        ),
        ("rk3399-pinebook-pro", "power_supply", []),
        ("rk3566", "power_supply", []),
    ],
)
def test_rails_of_a_board_are_found_by_name(found, board, source, rails):
    mine, _refused = found(board)
    assert told(mine) == rails
    assert {rail.source for rail in mine} <= {source}
    assert {rail.quantity for rail in mine} <= {"power_uw"}


def test_rapl_counters_are_told_with_their_range_and_what_they_are_part_of(found):
    rails, refused = found("x86-rapl")
    assert [(rail.label, rail.scope, rail.within) for rail in rails] == [
        ("package-0", "rail", None),
        ("package-0/core", "rail", "package-0"),
        ("package-0/uncore", "rail", "package-0"),
        ("psys", "board", None),
    ]
    assert rails[0].read() == 81204451270
    assert {(rail.quantity, rail.range_uj) for rail in rails} == {("energy_uj", 262143328850)}
    assert refused == []


def test_hwmon_renumbered_by_a_boot_tells_the_same_rails(found, tmp_path):
    before = told(found("agx-orin")[0])
    folder = tmp_path / "class/hwmon"
    (folder / "hwmon3").rename(folder / "hwmon9")
    (folder / "hwmon4").rename(folder / "hwmon3")
    assert told(found(None)[0]) == before


def test_update_interval_is_told_where_the_sensor_tells_it(found):
    assert {rail.update_interval_ns for rail in found("orin-nano")[0]} == {54_000_000}


def test_update_interval_is_absent_where_the_sensor_is_silent(found):
    assert {rail.update_interval_ns for rail in found("rpi4-ina219")[0]} == {None}


def test_owner_says_what_an_added_monitor_covers(found):
    (rail,) = found("rpi4-ina219", {"ina219 1-0040": "board"})[0]
    assert rail.as_json() == {
        "source": "hwmon",
        "sensor": "ina219 1-0040",
        "label": "ina219 1-0040",
        "scope": "board",
        "quantity": "power_uw",
        "range_uj": None,
        "within": None,
        "update_interval_ns": None,
        "most_hz": None,
    }


def test_supply_that_measures_nothing_is_refused_with_its_reason(found):
    rails, refused = found("rk3399-pinebook-pro")
    assert rails == []
    assert {one.sensor: one.reason.split()[-1] for one in refused} == {
        "cw2015-battery": "charge",
        "tcpm-source-psy-4-0022": "measured",
    }


def test_battery_that_charges_is_no_reading_of_what_the_board_draws(found, tmp_path):
    (rail,) = found("rk3399-kevin")[0]
    (tmp_path / "class/power_supply/sbs-9-000b/status").write_text("Charging\n")
    with pytest.raises(ReadingError) as caught:
        rail.read()
    assert caught.value.kind == "not-discharging"


def test_battery_whose_driver_tells_positive_currents_reads_the_same(found, tmp_path):
    (rail,) = found("rk3399-kevin")[0]
    (tmp_path / "class/power_supply/sbs-9-000b/current_now").write_text("512000\n")
    assert rail.read() == 7854 * 512


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", "garbage"),
        ("\n", "garbage"),
        ("992 mA\n", "garbage"),
        ("9.92\n", "garbage"),
        ("99999999999999999999\n", "garbage"),
        ("-8\n", "negative"),
    ],
)
def test_bad_reading_is_a_fault(found, tmp_path, text, kind):
    rails = found("orin-nano")[0]
    (tmp_path / "class/hwmon/hwmon1/curr1_input").write_text(text)
    (rail,) = [rail for rail in rails if rail.label == "VDD_IN"]
    with pytest.raises(ReadingError) as caught:
        rail.read()
    assert caught.value.kind == kind


def test_counter_beyond_its_range_is_a_fault(found, tmp_path):
    rail = found("x86-rapl")[0][0]
    (tmp_path / "class/powercap/intel-rapl:0/energy_uj").write_text("262143328851\n")
    with pytest.raises(ReadingError, match="beyond"):
        rail.read()


def test_counter_without_a_range_is_refused(found, tmp_path):
    found("x86-rapl")
    (tmp_path / "class/powercap/intel-rapl:1/max_energy_range_uj").unlink()
    rails, refused = found(None)
    assert [rail.label for rail in rails] == ["package-0", "package-0/core", "package-0/uncore"]
    assert [one.sensor for one in refused] == ["intel-rapl:1"]


def test_file_that_opens_and_cannot_be_read_stays_a_rail_with_faults(found, tmp_path):
    found("x86-rapl")
    counter = tmp_path / "class/powercap/intel-rapl:1/energy_uj"
    counter.unlink()
    counter.mkdir()  # root opens any file, but reads no folder
    rails, refused = found(None)
    assert "psys" in [rail.label for rail in rails]
    with pytest.raises(ReadingError) as caught:
        rails[-1].read()
    assert (caught.value.kind, str(caught.value)) == ("unreadable", "EISDIR")
    assert refused == []


def test_counter_that_is_roots_alone_is_refused_with_the_kernels_reason(found, monkeypatch):
    opens = os.open

    def as_ordinary_user(path, *arguments):
        if path.endswith("energy_uj"):  # mode 0400 since Linux 5.10; the tests may run as root
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return opens(path, *arguments)

    monkeypatch.setattr(os, "open", as_ordinary_user)
    rails, refused = found("x86-rapl")
    assert rails == []
    assert len(refused) == 4
    assert {one.reason for one in refused} == {"energy_uj: Permission denied"}


def test_trees_without_sensors_give_nothing(found, tmp_path):
    assert found(None) == ([], [])
    (tmp_path / "class/hwmon/hwmon0").mkdir(parents=True)
    assert found(None) == ([], [])


def test_folder_that_vanishes_between_finding_and_opening_gives_no_rail(found, tmp_path):
    found("orin-nano")
    shutil.rmtree(tmp_path / "class/hwmon/hwmon1")
    assert found(None)[0] == []


def test_packed_readers_are_a_small_part_of_the_agent():
    assert len(pack_bytes(AGENT / "power")) <= MAX_AGENT_BYTES / 4
