"""Raspberry Pi 5's power chip, by a ``vcgencmd`` that answers as the firmware does."""

import json
import os
import time
from pathlib import Path

import pytest
from sysfs_trees import unfold

from device_agent.power import pmic
from device_agent.power.rail import ReadingError
from device_agent.power.sampler import Sampler
from device_agent.power.sources import find_rails
from edgekit.bench.board_energy import board_energy
from edgekit.bench.energy import Limits
from edgekit.bench.run_power import power_of_run
from edgekit.core.power import PowerRecord

TREES = Path(__file__).parent / "power_trees"

# Names, order, channels and form as recorded on idle Pi 5s: raspberrypi/linux issue 6473, and
# alike in several projects' own recordings; three rails without a current and of 0 A among them.
ANSWER = """\
 3V7_WL_SW_A current(0)=0.09466522A
   3V3_SYS_A current(1)=0.08197812A
   1V8_SYS_A current(2)=0.15029320A
  DDR_VDD2_A current(3)=0.00390372A
  DDR_VDDQ_A current(4)=0.00000000A
   1V1_SYS_A current(5)=0.20299340A
    0V8_SW_A current(6)=0.30546610A
  VDD_CORE_A current(7)=1.11625000A
   3V3_DAC_A current(17)=0.00000000A
   3V3_ADC_A current(18)=0.00018315A
   0V8_AON_A current(16)=0.00274725A
      HDMI_A current(22)=0.01660560A
 3V7_WL_SW_V volt(8)=3.62925200V
   3V3_SYS_V volt(9)=3.31652900V
   1V8_SYS_V volt(10)=1.79877700V
  DDR_VDD2_V volt(11)=1.10146400V
  DDR_VDDQ_V volt(12)=0.60622650V
   1V1_SYS_V volt(13)=1.10402800V
    0V8_SW_V volt(14)=0.79853400V
  VDD_CORE_V volt(15)=0.74944980V
   3V3_DAC_V volt(20)=3.31043600V
   3V3_ADC_V volt(21)=3.31684600V
   0V8_AON_V volt(19)=0.79794790V
      HDMI_V volt(23)=5.10138000V
     EXT5V_V volt(24)=5.08530000V
      BATT_V volt(25)=0.00000000V
"""
CORE_UW = 1.11625 * 0.7494498 * 1e6
SUM_UW = CORE_UW + 1e6 * (
    0.09466522 * 3.629252 + 0.08197812 * 3.316529 + 0.1502932 * 1.798777 + 0.00390372 * 1.101464
    + 0.2029934 * 1.104028 + 0.3054661 * 0.798534 + 0.00018315 * 3.316846
    + 0.00274725 * 0.7979479 + 0.0166056 * 5.10138
)  # fmt: skip


@pytest.fixture
def firmware(tmp_path, monkeypatch):
    """Return what sets the answer of ``vcgencmd``, the tree's root, and the count of its calls."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "vcgencmd"
    calls = tmp_path / "calls"

    def put(answer, status=0, more=""):
        # Replaced at once: a program that is being written cannot be started.
        fresh = folder / "new"
        fresh.write_text(
            f"#!/bin/sh\necho $* >>{calls}\n{more}\ncat <<'END'\n{answer}END\nexit {status}\n"
        )
        fresh.chmod(0o755)
        fresh.replace(program)

    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    put(ANSWER)
    root = unfold(TREES / "rpi5.txt", tmp_path / "sys")
    return put, root, lambda: calls.read_text().splitlines() if calls.exists() else []


def test_rails_are_summed_where_they_have_a_voltage_and_a_current(firmware):
    _, root, calls = firmware
    rails, refused = find_rails(root)
    assert refused == []
    assert [(rail.label, rail.scope, rail.within) for rail in rails] == [
        ("PMIC rails", "rail", None),
        ("VDD_CORE", "rail", "PMIC rails"),
    ]
    total, core = rails
    assert total.read() == pytest.approx(SUM_UW, abs=12)
    assert core.read() == pytest.approx(CORE_UW, abs=1)
    assert set(calls()) == {"pmic_read_adc"}


def test_one_answer_serves_every_rail_and_the_next_round_asks_anew(firmware):
    put, root, calls = firmware
    (total, core), _ = find_rails(root)
    before = len(calls())
    seen = [(total.read(), core.read()) for _ in range(3)]
    assert len(calls()) - before in {2, 3}  # the search's own answer may serve the first
    put(ANSWER.replace("1.11625", "2.11625"))
    assert total.read() > seen[-1][0]
    assert core.read() == pytest.approx(CORE_UW * 2.11625 / 1.11625, abs=1)


def test_ten_a_second_are_the_most_beside_a_faster_rail(firmware, tmp_path):
    _, root, calls = firmware
    add_ina226(root)
    rails, _ = find_rails(root)
    before, began = len(calls()), time.monotonic()
    sampler = Sampler(rails, rate_hz=100)
    sampler.run(seconds=0.5)
    took_s = time.monotonic() - began
    told = PowerRecord.from_json(json.loads(json.dumps(sampler.as_json())))
    fast, total, core = told.series
    assert len(calls()) - before <= 10 * took_s + 2
    assert len(total.values) == len(core.values) <= 10 * took_s + 1
    assert len(fast.values) == told.rounds >= len(total.values)
    assert (fast.rail.most_hz, total.rail.most_hz) == (None, 10)
    assert told.rate_hz == 100


def test_alone_it_sets_the_rate_and_its_processes_are_part_of_the_cost(firmware):
    _, root, _ = firmware
    rails, _ = find_rails(root)
    sampler = Sampler(rails, rate_hz=100)
    sampler.run(seconds=0.3)
    told = sampler.as_json()
    assert told["rate_hz"] == 10
    assert told["cpu_s"] >= rails[0].cost_cpu_s() > 0


def add_ina226(root):
    chip = Path(root) / "class/hwmon/hwmon4"
    chip.mkdir()
    (chip / "name").write_text("ina226\n")
    (chip / "power1_input").write_text("3125000\n")


def test_run_is_told_as_a_sum_of_rails_that_is_less_than_the_board(firmware):
    put, root, _ = firmware
    rails, _ = find_rails(root)
    sampler = Sampler(rails, rate_hz=10)
    moments = []
    for amperes in ("1.11625", "3.11625", "1.11625"):
        put(ANSWER.replace("1.11625", amperes))
        sampler.run(seconds=0.5)
        times = sampler.series[0].times_ns
        moments.append((times[-3], times[-1]))
    record = PowerRecord.from_json(json.loads(json.dumps(sampler.as_json())))
    before, run, after = moments
    limits = Limits(max_gap_s=60, min_samples=2)
    told = power_of_run(record, run, 10, before, after, limits=limits)
    board = board_energy(told)
    assert board.name == "sum of rails"
    assert [entry.rail.label for entry in board.rails] == ["PMIC rails"]
    above_w = board.energy.run.mean_w - board.energy.idle_w
    assert above_w == pytest.approx(2 * 0.7494498, rel=0.01)
    assert "less than the board draws" in board.words()
    assert "take speed from a run without it" in told[0].words()


@pytest.mark.parametrize(
    ("answer", "status", "kind"),
    [
        ("", 0, "garbage"),
        ('error=1 error_msg="Command not registered"\n', 0, "garbage"),
        (ANSWER.replace("HDMI_A current(22)=0.01660560A", "HDMI_A current(22)=nanA"), 0, "garbage"),
        (ANSWER.replace("1.11625000A", "-9.11625000A"), 0, "negative"),
        ("VCHI initialization failed\n", 255, "unreadable"),
    ],
)
def test_bad_answer_in_mid_run_is_a_fault_of_every_rail(firmware, answer, status, kind):
    put, root, _ = firmware
    (total, core), _ = find_rails(root)
    total.read(), core.read()
    put(answer, status)
    for rail in (total, core):
        with pytest.raises(ReadingError) as caught:
            rail.read()
        assert caught.value.kind == kind
    put(ANSWER)
    assert total.read() == pytest.approx(SUM_UW, abs=12)
    assert core.read() == pytest.approx(CORE_UW, abs=1)


def test_firmware_that_does_not_answer_is_a_timeout(firmware, monkeypatch):
    put, root, _ = firmware
    (total, core), _ = find_rails(root)
    total.read(), core.read()
    monkeypatch.setattr(pmic, "_LIMIT_S", 0.1)
    put("", more="exec sleep 1000")
    with pytest.raises(ReadingError) as caught:
        total.read()
    assert caught.value.kind == "timeout"


def test_program_that_cannot_be_started_is_a_fault_and_leaves_no_file_open(firmware, tmp_path):
    _, root, _ = firmware
    (total, _), _ = find_rails(root)
    (tmp_path / "bin/vcgencmd").write_bytes(b"\x7fELF nothing")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        with pytest.raises(ReadingError) as caught:
            total.read(), total.read()
        assert caught.value.kind == "unreadable"
    assert len(list(Path("/proc/self/fd").iterdir())) == before


@pytest.mark.parametrize(
    ("answer", "status", "reason"),
    [
        ('error=1 error_msg="Command not registered"\n', 0, "Command not registered"),
        ("VCHI initialization failed\n", 255, "exit status 255: 'VCHI initialization failed'"),
    ],
)
def test_firmware_that_cannot_tell_is_refused_in_its_own_words(firmware, answer, status, reason):
    put, root, _ = firmware
    put(answer, status)
    rails, refused = find_rails(root)
    assert rails == []
    assert [one.source for one in refused] == ["pmic"]
    assert reason in refused[0].reason


def test_board_without_vcgencmd_is_refused_by_its_name(firmware, monkeypatch):
    _, root, _ = firmware
    monkeypatch.setenv("PATH", "/nowhere")
    _, refused = find_rails(root)
    assert [one.reason for one in refused] == ["vcgencmd is not installed"]


def test_other_boards_are_not_asked(firmware):
    _, root, calls = firmware
    compatible = Path(root) / "firmware/devicetree/base/compatible"
    compatible.write_bytes(b"raspberrypi,4-model-b\0brcm,bcm2711\0")
    assert find_rails(root) == ([], [])
    assert calls() == []
