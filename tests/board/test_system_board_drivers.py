"""The kernel's own drivers on a system board: what is set on the chips is what their files say."""

import time

import pytest

pytestmark = [pytest.mark.board, pytest.mark.machine, pytest.mark.slow, pytest.mark.network]

POLICY = "/sys/devices/system/cpu/cpufreq/policy0"
WAIT_S = 60.0


def hwmon_of(as_root, chip):
    """The folder of a chip's driver; the kernel numbers them as they come."""
    return as_root(f"dirname $(grep -lx {chip} /sys/class/hwmon/*/name)").strip()


def clocks(as_root):
    """Limit and clock now, and the step of the cooling device."""
    words = as_root(
        f"cat {POLICY}/scaling_max_freq {POLICY}/scaling_cur_freq "
        "/sys/class/thermal/cooling_device0/cur_state"
    )
    return tuple(map(int, words.split()))


def wait_for(read, wanted):
    end = time.monotonic() + WAIT_S
    while (found := read()) != wanted and time.monotonic() < end:
        time.sleep(0.2)
    assert found == wanted


def test_ina226_reads_exactly_what_its_registers_hold(as_root):
    folder = hwmon_of(as_root, "ina226")
    for milliwatts in (3125, 6250):
        as_root(f"virtual-sensors power {milliwatts}")
        told = as_root(f"cat {folder}/power1_input {folder}/in1_input {folder}/curr1_input")
        assert told.split() == [f"{milliwatts}000", "5000", str(milliwatts // 5)]
    # The register itself, by its manual: 0x01f4 in steps of 6.25 mW, the high byte sent first.
    as_root("i2cset -f -y 0 0x40 3 0xf401 w")
    assert as_root(f"cat {folder}/power1_input") == "3125000\n"


def test_ina3221_has_labels_and_a_value_for_each_channel(as_root):
    folder = hwmon_of(as_root, "ina3221")
    assert as_root(f"cat {folder}/in[123]_label").split() == ["VDD_CPU", "VDD_GPU", "VDD_DDR"]
    as_root("virtual-sensors rail 2 1200 1500")
    told = as_root(f"cat {folder}/in2_input {folder}/curr2_input {folder}/shunt2_resistor")
    assert told.split() == ["1200", "1500", "10000"]


def test_battery_of_test_power_tells_what_its_parameters_say(as_root):
    as_root("modprobe test_power battery_voltage=7400000 battery_current=-1500000")
    try:
        battery = "/sys/class/power_supply/test_battery"
        told = as_root(f"cat {battery}/type {battery}/voltage_now {battery}/current_now")
        assert told.split() == ["Battery", "7400000", "-1500000"]
    finally:
        as_root("rmmod test_power")


def test_cpufreq_has_a_table_governors_and_limits(as_root):
    table = as_root(f"cat {POLICY}/scaling_available_frequencies").split()
    assert (table[0], table[-1], len(table)) == ("408000", "1800000", 6)
    governors = as_root(f"cat {POLICY}/scaling_available_governors").split()
    assert {"performance", "powersave", "userspace", "ondemand", "schedutil"} <= set(governors)
    as_root(f"echo userspace >{POLICY}/scaling_governor; echo 964800 >{POLICY}/scaling_setspeed")
    assert clocks(as_root)[1] == 964800
    as_root(f"echo performance >{POLICY}/scaling_governor; echo 686400 >{POLICY}/scaling_max_freq")
    assert clocks(as_root) == (686400, 686400, 0)
    as_root(f"echo powersave >{POLICY}/scaling_governor")
    assert clocks(as_root)[1] == 408000
    with pytest.raises(AssertionError, match="Invalid argument"):
        as_root(f"echo turbo >{POLICY}/scaling_governor")


def test_heat_beyond_the_trip_lowers_the_clocks_until_it_is_gone(as_root):
    as_root(f"echo performance >{POLICY}/scaling_governor")
    assert clocks(as_root) == (1800000, 1800000, 0)
    as_root("virtual-sensors temperature 84999")
    time.sleep(1.5)  # the kernel looks once a second
    assert clocks(as_root) == (1800000, 1800000, 0)
    as_root("virtual-sensors temperature 90000")
    wait_for(lambda: clocks(as_root), (408000, 408000, 5))
    as_root("virtual-sensors temperature 60000")
    wait_for(lambda: clocks(as_root), (1800000, 1800000, 0))


def test_helper_tells_its_use_and_fails_without_a_command(as_root):
    with pytest.raises(AssertionError, match="virtual-sensors temperature MILLIDEGREES"):
        as_root("virtual-sensors")
