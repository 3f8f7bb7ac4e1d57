"""The sampler by each of its loops, on files of a temporary folder and on the kernel's own."""

import itertools
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from sysfs_trees import unfold

from device_agent.power import sampler as sampler_module
from device_agent.power.rail import Rail
from device_agent.power.sampler import Sampler
from device_agent.power.sources import find_rails

TREES = Path(__file__).parent / "power_trees"
FILES = Path("/proc/self/fd")


def read_by(rail, read):
    """Let a rail be read by this function instead of from its files."""
    rail.read, rail.plain = read, lambda: None


def run_until(sampler, seen):
    """Sample until something was seen; how soon that is depends on who else is at work."""
    end = time.monotonic() + 20
    while not seen(sampler.series[0]):
        sampler.run(seconds=0.02)
        assert time.monotonic() < end


def series_of(sampler):
    (series,) = sampler.as_json()["series"]
    return series


def times_ns(series):
    times = [series["start_ns"]]
    for step in series["steps_ns"]:
        times.append(times[-1] + step)
    return times


def test_samples_carry_ascending_time_stamps_of_the_monotonic_clock(loop, rail):
    sampler = loop.sampler([rail], rate_hz=500)
    before = time.monotonic_ns()
    sampler.run(seconds=0.1)
    after = time.monotonic_ns()
    series = series_of(sampler)
    times = times_ns(series)
    assert len(times) == len(series["values"]) == sampler.as_json()["rounds"] >= 1
    assert set(series["values"]) == {3_125_000}
    assert all(a < b for a, b in itertools.pairwise(times))
    # Seconds since boot, as a double, are good to less than a microsecond.
    assert before - 1000 <= times[0] <= times[-1] <= after + 1000
    assert series["faults"] == {}


def test_rounds_kept_and_missed_are_all_that_were_due(loop, rail):
    sampler = loop.sampler([rail], rate_hz=200)
    sampler.run(seconds=0.25)
    told = sampler.as_json()
    due = told["wall_s"] * 200
    assert 0.25 * 200 - 1 <= told["rounds"] + told["missed_rounds"] <= due + 1


def test_reading_slower_than_the_rate_is_told_as_missed_rounds(loop, rail):
    def slow(*file):
        time.sleep(0.01)
        return os.pread(*file)

    loop.play(slow)
    sampler = loop.sampler([rail], rate_hz=1000)
    sampler.run(seconds=0.1)
    told = sampler.as_json()
    assert 1 <= told["rounds"] <= 10
    assert told["missed_rounds"] >= told["rounds"] * 9


def test_thread_samples_until_it_is_stopped_and_states_its_cost(loop, rail):
    sampler = loop.sampler([rail], rate_hz=100)
    sampler.start()
    while not sampler.series[0].values:
        time.sleep(0.001)
    sampler.stop()
    told = json.loads(json.dumps(sampler.as_json()))
    assert told["rounds"] == len(told["series"][0]["values"])
    assert 0 < told["cpu_s"] < told["wall_s"]
    assert told["cpu_share"] == told["cpu_s"] / told["wall_s"]


def test_stated_cost_is_that_of_the_thread(loop, rail):
    def busy(*file):
        end = time.thread_time() + 0.01
        while time.thread_time() < end:
            pass
        return os.pread(*file)

    loop.play(busy)
    sampler = loop.sampler([rail], rate_hz=20)
    sampler.run(seconds=0.15)
    told = sampler.as_json()
    assert told["cpu_s"] >= 0.01 * told["rounds"]


BAD_AND_GOOD = [b"3125000\n", b"garbage\n", b"", b"-5\n", b"-6\n", b"6250000\n"]


def check_bad_and_good(told):
    series = told["series"][0]
    assert series["values"] == [3_125_000, 6_250_000]
    assert {kind: fault["count"] for kind, fault in series["faults"].items()} == {
        "garbage": 2,
        "negative": 2,
    }
    assert series["faults"]["garbage"]["detail"] == "b'garbage\\n'"
    assert series["faults"]["negative"]["detail"] == "-5"
    first, last = times_ns(series)
    for fault in series["faults"].values():
        assert first < fault["first_ns"] < fault["last_ns"] < last
    assert told["ended_full"] is True


def test_garbage_and_negative_readings_are_faults_and_no_samples(loop, rail):
    texts = iter(BAD_AND_GOOD)
    loop.play(lambda *_: next(texts))
    sampler = loop.sampler([rail], rate_hz=1000, most_samples=6)
    sampler.run()
    check_bad_and_good(sampler.as_json())


def test_they_are_the_same_to_a_rail_that_is_read_by_its_own_means(rail):
    texts = iter(BAD_AND_GOOD)
    read_by(rail, lambda: rail.value_of([next(texts)]))
    sampler = Sampler([rail], rate_hz=1000, most_samples=6)
    sampler.run()
    check_bad_and_good(sampler.as_json())


@pytest.mark.parametrize("place", [0, 1])
@pytest.mark.parametrize(
    "bad", [b"garbage\n", b"-5\n", b"0x5\n", b"", b"99999999999\n", OSError(5, "")]
)
def test_either_factor_of_a_product_may_be_bad(loop, tmp_path, place, bad):
    paths = [tmp_path / "millivolts", tmp_path / "milliamperes"]
    for path in paths:
        path.write_text("1000\n")
    rail = Rail("hwmon", "ina3221 1-0040", "VDD_IN").reads([str(path) for path in paths])
    rail.open()
    numbers = rail.plain()[:2]
    reads = []

    def pread(number, *rest):
        reads.append(number)
        now_bad = 2 <= len(reads) - place < 4 and number == numbers[place]
        if now_bad and isinstance(bad, OSError):
            raise bad
        return bad if now_bad else os.pread(number, *rest)

    loop.play(pread)
    sampler = loop.sampler([rail], rate_hz=1000, most_samples=4)
    sampler.run()
    rail.close()
    told = series_of(sampler)
    assert set(told["values"]) == {1_000_000}
    (kind,) = told["faults"]
    wanted = (
        "unreadable" if isinstance(bad, OSError) else "negative" if bad == b"-5\n" else "garbage"
    )
    assert kind == wanted
    assert len(told["values"]) + told["faults"][kind]["count"] == 4


def test_sensor_that_vanishes_in_mid_run_is_told_and_the_other_goes_on(loop, rail, tmp_path):
    # A process that has ended takes its files with it, as a driver does: an open one reads ESRCH.
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    gone = Rail("hwmon", "ina226 0-0041", "VOUT").reads([f"/proc/{child.pid}/oom_score"])
    gone.open()
    sampler = loop.sampler([gone, rail], rate_hz=1000)
    try:
        sampler.run(seconds=0.02)
    finally:
        child.communicate(b"\n")
    kept = len(sampler.series[0].values)
    sampler.run(seconds=0.02)
    gone.close()
    vanished, other = sampler.as_json()["series"]
    assert len(vanished["values"]) == kept >= 1
    assert vanished["faults"]["vanished"]["detail"] == "ESRCH"
    assert vanished["faults"]["vanished"]["count"] == sampler.as_json()["rounds"] - kept
    assert len(other["values"]) == sampler.as_json()["rounds"]
    assert other["faults"] == {}


@pytest.fixture
def mortal_chip(tmp_path):
    """A monitor whose files read ESRCH once ``end`` was called, as of a driver that is unloaded."""
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    chip = tmp_path / "sys/class/hwmon/hwmon1"
    chip.mkdir(parents=True)
    (tmp_path / "sys/devices/1-0041").mkdir(parents=True)
    (chip / "device").symlink_to("../../../devices/1-0041")
    (chip / "name").write_text("ina226\n")
    (chip / "power1_input").symlink_to(f"/proc/{child.pid}/oom_score")
    rails, _ = find_rails(str(tmp_path / "sys"))
    assert [rail.sensor for rail in rails] == ["ina226 1-0041"]

    def end():
        if child.poll() is None:
            child.communicate(b"\n")
        shutil.rmtree(chip, ignore_errors=True)

    yield rails, end, chip
    end()
    for rail in rails:
        rail.close()


def loaded_again(chip, number, text="6250000\n", address="1-0041"):
    """Let the driver come back under another number."""
    again = chip.parent / f"hwmon{number}"
    again.mkdir()
    (again.parents[2] / f"devices/{address}").mkdir(exist_ok=True)
    (again / "device").symlink_to(f"../../../devices/{address}")
    (again / "name").write_text("ina226\n")
    (again / "power1_input").write_text(text)
    return again


def test_sensor_that_comes_back_under_another_number_is_read_again(loop, mortal_chip, monkeypatch):
    monkeypatch.setattr(sampler_module, "_LOOK_AGAIN_NS", 0)
    rails, end, chip = mortal_chip
    sampler = loop.sampler(rails, rate_hz=200)
    run_until(sampler, lambda series: series.values)
    end()
    loaded_again(chip, 1, "1000000\n", "1-0044")  # its old number is another's now
    run_until(sampler, lambda series: series.faults)
    loaded_again(chip, 7)
    run_until(sampler, lambda series: 6_250_000 in series.values)
    series = series_of(sampler)
    fault = series["faults"]["vanished"]
    before, after = [], []
    for time_ns, value in zip(times_ns(series), series["values"], strict=True):
        (before if time_ns < fault["first_ns"] else after).append(value)
    assert 1_000_000 not in before + after
    assert set(after) == {6_250_000}
    # The gap stays a gap: nothing stands where there was no reading.
    assert all(not fault["first_ns"] < time_ns < fault["last_ns"] for time_ns in times_ns(series))
    assert len(series["values"]) + fault["count"] == sampler.as_json()["rounds"]


def test_sensor_that_is_gone_is_looked_for_once_a_second(loop, mortal_chip):
    rails, end, _ = mortal_chip
    looks = []
    find = rails[0].find_again
    rails[0].find_again = lambda: (looks.append(time.monotonic()), find())[1]
    sampler = loop.sampler(rails, rate_hz=500)
    end()
    began = time.monotonic()
    run_until(sampler, lambda series: series.faults)
    sampler.run(seconds=0.2)
    took_s = time.monotonic() - began
    assert series_of(sampler)["faults"]["vanished"]["count"] == sampler.as_json()["rounds"]
    assert 1 <= len(looks) <= took_s + 1


def test_sensor_that_comes_back_unreadable_stays_gone(loop, mortal_chip, monkeypatch):
    monkeypatch.setattr(sampler_module, "_LOOK_AGAIN_NS", 0)
    rails, end, chip = mortal_chip
    sampler = loop.sampler(rails, rate_hz=500)
    end()
    again = loaded_again(chip, 3, "")
    files = len(list(FILES.iterdir()))
    run_until(sampler, lambda series: series.faults)
    assert set(series_of(sampler)["faults"]) == {"vanished"}
    assert series_of(sampler)["values"] == []
    assert len(list(FILES.iterdir())) == files
    (again / "power1_input").write_text("3125000\n")
    run_until(sampler, lambda series: series.values)
    assert set(series_of(sampler)["values"]) == {3_125_000}


def test_reading_that_never_changes_is_told_by_how_long(loop, rail, tmp_path):
    sampler = loop.sampler([rail], rate_hz=200)
    sampler.run(seconds=0.05)
    times = times_ns(series_of(sampler))
    assert series_of(sampler)["longest_unchanged_ns"] == times[-1] - times[0]
    (tmp_path / "power").write_text("6250000\n")
    sampler.run(seconds=0.02)
    series = series_of(sampler)
    assert series["longest_unchanged_ns"] == times[-1] - times[0]
    assert series["values"][-1] == 6_250_000


def test_rails_of_a_board_are_sampled_together(loop, tmp_path):
    rails, _ = find_rails(unfold(TREES / "orin-nano.txt", tmp_path))
    sampler = loop.sampler(rails, rate_hz=100)
    sampler.run(seconds=0.03)
    told = sampler.as_json()
    for rail in rails:
        rail.close()
    assert [one["rail"]["label"] for one in told["series"]] == [
        "VDD_CPU_GPU_CV",
        "VDD_IN",
        "VDD_SOC",
    ]
    assert {len(one["values"]) for one in told["series"]} == {told["rounds"]}


def test_closed_rails_leave_no_open_file(tmp_path):
    before = list(FILES.iterdir())
    rails, _ = find_rails(unfold(TREES / "rk3399-kevin.txt", tmp_path))
    assert len(list(FILES.iterdir())) > len(before)
    for rail in rails:
        rail.close()
    assert len(list(FILES.iterdir())) == len(before)


@pytest.mark.parametrize("rate_hz", [0, -1, float("nan")])
def test_rate_that_is_none_is_refused(rate_hz):
    with pytest.raises(ValueError, match="no rate"):
        Sampler([], rate_hz)
