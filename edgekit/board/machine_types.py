"""Machines of QEMU's that system boards are, as data: which target gets which, and what it has."""

from dataclasses import dataclass, field
from typing import Final

from edgekit.core.target import Target


@dataclass(frozen=True)
class MachineType:
    """One of QEMU's machines.

    Attributes:
        name: QEMU's name of it.
        compatible: a target that has it among its own gets this machine; empty: any target does.
        device_tree: the one that Debian's kernel package has for it, below its folder; empty: QEMU
            makes one, which gets the target's identity and edgekit's sensors.
        boot_modules: what the kernel needs to find its disk.
        modules: what it loads from there.
        disk: the board's name of its disk.
        network: the board's name of its network interface.
        console: the board's name of its serial console.
        drive: how the disk is attached, for ``-drive``.
        devices: what is attached besides, as arguments of QEMU's.
        serial: arguments before that of the console.
        fixed: its processor and memory cannot be chosen.
        sleeps: its memory can be saved and restored.
    """

    name: str
    compatible: str = ""
    device_tree: str = ""
    boot_modules: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    disk: str = ""
    network: str = ""
    console: str = ""
    drive: str = ""
    devices: tuple[str, ...] = ()
    serial: tuple[str, ...] = field(default=())
    fixed: bool = False
    sleeps: bool = True


VIRT: Final = MachineType(
    name="virt",
    boot_modules=("virtio_mmio", "virtio_blk", "crc32c_generic", "ext4"),
    modules=(
        *("virtio_net", "virtio_rng", "i2c-dev"),
        *("cpufreq_ondemand", "cpufreq_powersave", "cpufreq_userspace", "cpufreq_conservative"),
    ),
    disk="/dev/vda",
    network="eth0",
    console="ttyAMA0",
    drive="if=none,id=disk",
    devices=(
        *("-device", "virtio-blk-device,drive=disk", "-device", "virtio-rng-device"),
        *("-device", "virtio-net-device,netdev=net"),
    ),
)
# QEMU 7.2 refuses to save it while usb-net is attached. Without it the memory can be saved, but a
# machine that is restored from it hangs: its first core no longer answers.
RASPI3B: Final = MachineType(
    name="raspi3b",
    compatible="raspberrypi,3-model-b",
    device_tree="broadcom/bcm2837-rpi-3-b.dtb",
    boot_modules=("sdhci-iproc", "bcm2835", "crc32c_generic", "ext4"),
    modules=(
        # The one network that QEMU has for it is on its USB.
        *("bcm2835-rng", "phy-generic", "dwc2", "cdc_ether", "rndis_host"),
        *("bcm2835_thermal", "bcm2835_wdt", "i2c-bcm2835", "i2c-dev"),
    ),
    disk="/dev/mmcblk0",
    network="usb0",
    console="ttyS1",
    drive="if=sd",
    devices=("-device", "usb-net,netdev=net"),
    serial=("-serial", "null"),  # the PL011, which belongs to Bluetooth on this board
    fixed=True,
    sleeps=False,
)
MACHINE_TYPES: Final = (RASPI3B, VIRT)


def machine_type(target: Target) -> MachineType:
    """Return the machine that stands in for a target."""
    return next(
        each
        for each in MACHINE_TYPES
        if each.compatible in target.compatible or not each.compatible
    )
