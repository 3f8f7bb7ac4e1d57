"""The INA3221 of Jetsons with L4T 32 (JetPack 4), behind Nvidia's own ``iio`` driver.

Source: jetson_stats, jtop/core/power.py, and NVIDIA Jetson Linux Developer Guide 32.7, Power
Management (rail_name_N, in_powerN_input in milliwatts).
"""

import os
import re

from device_agent.power.hwmon import UNCONNECTED, scope_of
from device_agent.power.rail import Rail, names_in, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List

    from device_agent.power.rail import Found

_DRIVER = "ina3221x"


def find(sys_root: str) -> "Found":
    """Return the rails of every INA3221, by the names the device tree gives them."""
    folder = os.path.join(sys_root, "bus/iio/devices")
    rails = []
    for name in names_in(folder):
        device = os.path.join(folder, name)
        if text_of(device, "name") == _DRIVER:
            rails += _rails_of(device)
    rails.sort(key=lambda rail: (rail.sensor, rail.label))
    return rails, []


def _rails_of(device: str) -> "List[Rail]":
    # .../i2c-6/6-0040/iio:device0: the folder above is the I2C device.
    address = os.path.basename(os.path.dirname(os.path.realpath(device)))
    rails = []
    for name in names_in(device):
        match = re.match(r"rail_name_(\d+)$", name)
        label = text_of(device, name) if match else ""
        if match is None or label in ("", UNCONNECTED):
            continue
        power = os.path.join(device, f"in_power{match.group(1)}_input")
        if os.path.exists(power):
            rail = Rail("iio", f"ina3221 {address}", label, scope_of(label))
            rails.append(rail.reads([power], times=1000))
    return rails
