"""The agent's readers of health and power on the kernel's own files, through real drivers."""

import json
import shlex
import time
from pathlib import Path

import pytest
from board_shell import carry

import device_agent
from edgekit.bench.energy import Interval, PowerSamples, energy_of
from edgekit.core.events import ignore
from edgekit.toolbox.native import native_libraries

pytestmark = [pytest.mark.board, pytest.mark.machine, pytest.mark.slow, pytest.mark.network]

SNAPSHOT = """
import json
from device_agent.health import snapshot
print(json.dumps(snapshot()))
"""

# Which of the sampler's loops is to read.
LOOPS = {
    "python": "native = None\n",
    "c": """
import hashlib, os
from device_agent.power.native import load
path = os.path.abspath("libsampler.so")
with open(path, "rb") as file:
    native = load(path, hashlib.sha256(file.read()).hexdigest())
""",
}

# The step is made by a write to the chip's register, between two readings of the clock.
STEP = """
import ctypes, fcntl, json, os, time
from device_agent.power.sampler import Sampler
from device_agent.power.sources import find_rails

I2C_SLAVE_FORCE, I2C_SMBUS, WRITE, WORD = 0x0706, 0x0720, 0, 3

class Call(ctypes.Structure):
    _fields_ = [("way", ctypes.c_uint8), ("register", ctypes.c_uint8), ("size", ctypes.c_uint32),
                ("word", ctypes.POINTER(ctypes.c_uint16))]

def set_power(milliwatts):
    value = milliwatts * 4 // 25
    word = ctypes.c_uint16((value & 0xFF) << 8 | value >> 8)
    fcntl.ioctl(bus, I2C_SMBUS, Call(WRITE, 3, WORD, ctypes.pointer(word)))

bus = os.open("/dev/i2c-0", os.O_RDWR)
fcntl.ioctl(bus, I2C_SLAVE_FORCE, 0x40)
set_power(3125)
rails, refused = find_rails()
sampler = Sampler(rails, 50, native=native)
sampler.start()
time.sleep(0.5)
start = time.monotonic()
time.sleep(1.5)
before = time.monotonic()
set_power(6250)
after = time.monotonic()
time.sleep(1.5)
end = time.monotonic()
time.sleep(0.5)
sampler.stop()
print(json.dumps({"start": start, "before": before, "after": after, "end": end,
                  "refused": [each.as_json() for each in refused], "taken": sampler.as_json()}))
"""

# Unbound both and bound in the other order: the kernel gives the first the lowest free number.
RENUMBERED = """
import json, os, time
from device_agent.power.sampler import Sampler
from device_agent.power.sources import find_rails

def put(driver, what, chip):
    with open("/sys/bus/i2c/drivers/%s/%s" % (driver, what), "w") as file:
        file.write(chip)

chips = [("ina2xx", "0-0040"), ("ina3221", "0-0041")]
chips.sort(key=lambda chip: os.listdir("/sys/bus/i2c/devices/%s/hwmon" % chip[1]), reverse=True)
rails, _ = find_rails()
sampler = Sampler(rails, 50, native=native)
sampler.start()
time.sleep(1)
gone = time.monotonic()
for driver, chip in chips:
    put(driver, "unbind", chip)
time.sleep(0.5)
for driver, chip in chips:
    put(driver, "bind", chip)
back = time.monotonic()
time.sleep(4)
sampler.stop()
print(json.dumps({"gone": gone, "back": back, "taken": sampler.as_json()}))
"""


@pytest.fixture
def there(system_board):
    """Run Python on the board beside the agent's packages."""
    run = carry(system_board, Path(device_agent.__file__).parent, "device_agent")
    for library in native_libraries("aarch64", emit=ignore):
        carry(system_board, library.source, library.path)
    return lambda script: json.loads(run("python3 -", input=script.encode()))


def test_snapshot_sees_clocks_heat_and_throttling(there, as_root):
    governor = "/sys/devices/system/cpu/cpufreq/policy0/scaling_governor"
    as_root(f"echo performance >{governor}")
    cool = there(SNAPSHOT)
    assert cool["clusters"] == [
        {
            "policy": 0,
            "cpus": [0, 1, 2, 3],
            "hardware_max_khz": 1800000,
            "governor": "performance",
            "driver": "edgekit-clocks",
            "current_khz": 1800000,
            "limit_min_khz": 408000,
            "limit_max_khz": 1800000,
        }
    ]
    trip = {"type": "passive", "temperature_c": 85.0, "cooling": ["cpufreq-cpu0"]}
    zone = {"zone": 0, "type": "soc-thermal", "temperature_c": 45.0, "trips": [trip]}
    assert cool["zones"] == [zone]
    cooling = {"device": 0, "type": "cpufreq-cpu0", "state": 0, "max_state": 5}
    assert cool["cooling"] == [cooling]
    assert "unread" not in cool
    as_root("virtual-sensors temperature 95500")
    time.sleep(3)
    hot = there(SNAPSHOT)
    assert hot["zones"] == [{**zone, "temperature_c": 95.5}]
    assert hot["cooling"] == [{**cooling, "state": 5}]
    assert hot["clusters"] == [
        {**cool["clusters"][0], "current_khz": 408000, "limit_max_khz": 408000}
    ]


@pytest.mark.parametrize("loop", LOOPS)
def test_step_of_power_is_integrated_within_two_percent(there, as_root, loop):
    as_root("chmod a+rw /dev/i2c-0")  # so that the user's own program can make the step
    told = there(LOOPS[loop] + STEP)
    assert told["refused"] == []
    assert told["taken"]["loop"] == loop
    series = {each["rail"]["label"]: each for each in told["taken"]["series"]}
    assert set(series) == {"ina226 0-0040", "VDD_CPU", "VDD_GPU", "VDD_DDR"}
    assert all(each["rail"]["source"] == "hwmon" for each in series.values())
    assert not any(each["faults"] for each in series.values())
    board = series["ina226 0-0040"]
    assert set(board["values"]) == {3125000, 6250000}
    assert set(series["VDD_GPU"]["values"]) == {800 * 1000}
    times = [board["start_ns"]]
    for step in board["steps_ns"]:
        times.append(times[-1] + step)
    start, before, after, end = (told[name] for name in ("start", "before", "after", "end"))
    measured = energy_of(
        PowerSamples(tuple(times), tuple(board["values"])),
        Interval(int(start * 1e9), int(end * 1e9)),
    )
    middle = (before + after) / 2
    analytic = 3.125 * (middle - start) + 6.25 * (end - middle)
    assert measured.joules == pytest.approx(analytic, rel=0.02)


@pytest.mark.parametrize("loop", LOOPS)
def test_sensors_that_come_back_under_other_numbers_are_read_again(there, as_root, loop):
    numbers = "grep -l ina /sys/class/hwmon/*/name | xargs grep ."
    before = as_root(numbers)
    told = json.loads(as_root(f"cd ~edge && python3 -c {shlex.quote(LOOPS[loop] + RENUMBERED)}"))
    assert told["taken"]["loop"] == loop
    assert sorted(before.split()) != sorted(as_root(numbers).split())
    series = {each["rail"]["label"]: each for each in told["taken"]["series"]}
    assert set(series) == {"ina226 0-0040", "VDD_CPU", "VDD_GPU", "VDD_DDR"}
    for label, each in series.items():
        assert set(each["faults"]) == {"vanished"}, label
        assert told["gone"] < each["faults"]["vanished"]["first_ns"] / 1e9 < told["back"]
        last = (each["start_ns"] + sum(each["steps_ns"])) / 1e9
        assert last > told["back"], label
        # A rail never takes another's place.
        assert len(set(each["values"])) == 1, label
    assert set(series["ina226 0-0040"]["values"]) == {3125000}


def test_battery_is_a_rail_while_it_discharges(there, as_root):
    as_root("modprobe test_power battery_voltage=7400000 battery_current=-1500000")
    try:
        script = """
import json
from device_agent.power.sources import find_rails
rails, _ = find_rails()
print(json.dumps([[r.label, r.scope, r.read()] for r in rails if r.source == "power_supply"]))
"""
        assert there(script) == [["test_battery", "board", 11100000]]
    finally:
        as_root("rmmod test_power")
