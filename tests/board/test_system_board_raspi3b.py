"""A Raspberry Pi 3 by QEMU's own machine: Debian's device tree, and drivers of the real chip's."""

import os
import subprocess

import pytest
from board_shell import skip_without_boards

from edgekit.app.devices import locate, open_device
from edgekit.board import system_mode
from edgekit.board.requirements import system_requirements
from edgekit.catalog.targets import load_target
from edgekit.core.events import Note, ignore

pytestmark = [pytest.mark.board, pytest.mark.machine, pytest.mark.slow, pytest.mark.network]

DRIVERS = "/sys/bus/platform/drivers"


@pytest.fixture(scope="module")
def board():
    skip_without_boards(system_requirements())
    name = f"test-{os.getpid()}-raspi3b"
    yield system_mode.up(load_target("rpi3"), name=name)
    system_mode.down(name, wipe=True)


@pytest.fixture
def as_root(board):
    def run(command):
        done = subprocess.run(
            [*system_mode.ssh_command(board.name, as_root=True), command],
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.mark.timeout(300)
def test_agent_finds_a_raspberry_pi_3_and_the_heat_of_its_own_sensor(board):
    located = locate(f"virtual:{board.name}", "rpi3")
    with open_device(located, load_target("rpi3"), emit=ignore) as device:
        facts = device.facts
        health = device.health()
    assert facts.model == "Raspberry Pi 3 Model B"
    assert facts.compatible == ("raspberrypi,3-model-b", "brcm,bcm2837")
    assert (facts.machine, facts.cpu_parts, facts.emulated) == ("aarch64", (0xD03,) * 4, True)
    # QEMU's chip says 25 degrees all the time; the driver makes them of its raw value.
    assert [(zone.type, zone.temperature_c) for zone in health.zones] == [("cpu-thermal", 25.178)]


@pytest.mark.timeout(300)
def test_devices_are_those_of_the_real_chip(as_root):
    found = as_root(
        f"ls -d {DRIVERS}/bcm2835_thermal/3f212000.thermal {DRIVERS}/dwc2/3f980000.usb;"
        f"basename $(readlink /sys/class/mmc_host/mmc0/device/driver);"
        "findmnt -no SOURCE /; cat /sys/class/watchdog/watchdog0/identity; nproc"
    )
    assert found.splitlines()[2:] == [
        "sdhost-bcm2835", "/dev/mmcblk0", "Broadcom BCM2835 Watchdog timer", "4",
    ]  # fmt: skip
    # Nothing of edgekit's own stands in for silicon here.
    assert "edgekit" not in as_root("lsmod; cat /sys/class/hwmon/*/name")


@pytest.mark.timeout(300)
def test_board_boots_anew_with_its_files(board, as_root):
    as_root("echo kept >/root/file")
    boot = as_root("cat /proc/sys/kernel/random/boot_id")
    assert system_mode.down(board.name)
    told = []
    again = system_mode.up(load_target("rpi3"), name=board.name, emit=told.append)
    assert again.pid != board.pid
    assert as_root("cat /root/file; hostname") == f"kept\n{board.name}\n"
    assert as_root("cat /proc/sys/kernel/random/boot_id") != boot
    assert not [event for event in told if isinstance(event, Note)]
