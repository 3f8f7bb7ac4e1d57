"""TI's INA monitors behind the kernel's ``hwmon`` class, on the board or added to it.

Source: https://docs.kernel.org/hwmon/ina3221.html and https://docs.kernel.org/hwmon/ina2xx.html
(units, channels); https://docs.kernel.org/hwmon/sysfs-interface.html (labels, update_interval).
"""

import os

from device_agent.power.rail import Rail, names_in, number_of, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

    from device_agent.power.rail import Found

CHIPS = ("ina219", "ina220", "ina226", "ina230", "ina231", "ina238", "ina260", "ina3221")

# The whole board's input. AGX Orin has none, and its VIN_SYS_5V0 is one rail among four.
BOARD_LABELS = ("VDD_IN", "POM_5V_IN")
UNCONNECTED = "NC"
_CHANNELS = (1, 2, 3)  # of an INA3221; those after them are shunts and sums


def find(sys_root: str) -> "Found":
    """Return the rails of every INA monitor; hwmon's numbers change, so none is told."""
    folder = os.path.join(sys_root, "class/hwmon")
    rails = []
    for name in names_in(folder):
        chip = text_of(folder, name, "name")
        if chip in CHIPS:
            rails += _rails_of(os.path.join(folder, name), chip)
    rails.sort(key=lambda rail: (rail.sensor, rail.label))
    return rails, []


def _rails_of(folder: str, chip: str) -> "List[Rail]":
    # The link leads to the I2C device, 1-0040: bus and address.
    address = os.path.basename(os.path.realpath(os.path.join(folder, "device")))
    sensor = f"{chip} {address}"
    rails: "List[Rail]" = []
    for channel in _CHANNELS if chip == "ina3221" else (1,):
        label = _label(folder, channel) or (sensor if not rails else f"{sensor}/{channel}")
        rail = _channel(folder, channel, Rail("hwmon", sensor, label, scope_of(label)))
        if rail is not None and label != UNCONNECTED:
            rails.append(rail)
    interval_ms = number_of(folder, "update_interval")
    for rail in rails:
        rail.update_interval_ns = None if interval_ms is None else interval_ms * 1000000
    return rails


def scope_of(label: str) -> str:
    """Return what a rail of this name covers, by Nvidia's names."""
    return "board" if label in BOARD_LABELS else "rail"


def _label(folder: str, channel: int) -> str:
    return text_of(folder, f"in{channel}_label") or (
        text_of(folder, "label") if channel == 1 else ""
    )


def _channel(folder: str, channel: int, rail: Rail) -> "Optional[Rail]":
    if number_of(folder, f"in{channel}_enable") == 0:
        return None
    power = os.path.join(folder, f"power{channel}_input")
    if os.path.exists(power):
        return rail.reads([power])
    volts = os.path.join(folder, f"in{channel}_input")
    amperes = os.path.join(folder, f"curr{channel}_input")
    if os.path.exists(volts) and os.path.exists(amperes):
        return rail.reads([volts, amperes])  # millivolts times milliamperes are microwatts
    return None
