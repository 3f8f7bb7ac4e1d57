"""Batteries and supplies behind the kernel's ``power_supply`` class.

Source: the kernel's Documentation/ABI/testing/sysfs-class-power (microvolts, microamperes,
microwatts; a negative current leaves a battery, which not every driver heeds).
"""

import os

from device_agent.power.rail import Rail, Refused, names_in, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

    from device_agent.power.rail import Found

# What these tell was agreed on, or worked out, but never measured.
# Source: drivers/usb/typec/ucsi/psy.c and tcpm/tcpm.c, drivers/power/supply/cw2015_battery.c
_NOT_MEASURED = (
    ("ucsi-source-psy-", "its current is the one agreed on with the charger, not measured"),
    ("tcpm-source-psy-", "its current is the one agreed on with the charger, not measured"),
    ("cw2015-battery", "its driver works the current out from the state of charge"),
)


def find(sys_root: str) -> "Found":
    """Return every supply that measures what flows, and those that only seem to."""
    folder = os.path.join(sys_root, "class/power_supply")
    rails, refused = [], []
    for name in names_in(folder):
        supply = os.path.join(folder, name)
        paths = _paths(supply)
        if paths is None:
            continue
        reason = next((why for start, why in _NOT_MEASURED if name.startswith(start)), None)
        if reason is not None:
            refused.append(Refused("power_supply", name, reason))
        else:
            rails.append(_rail(supply, name, paths))
    return rails, refused


def _paths(supply: str) -> "Optional[List[str]]":
    for names in (("power_now",), ("voltage_now", "current_now")):
        paths = [os.path.join(supply, name) for name in names]
        if all(map(os.path.exists, paths)):
            return paths
    return None


def _rail(supply: str, name: str, paths: "List[str]") -> Rail:
    is_battery = text_of(supply, "type") == "Battery"
    # A battery's power is all that the board draws, as long as nothing else feeds it. The battery
    # of a peripheral, such as a mouse, says so.
    scope = "board" if is_battery and text_of(supply, "scope") != "Device" else "rail"
    rail = Rail("power_supply", name, name, scope)
    rail.reads(paths, over=1 if len(paths) == 1 else 1000000)  # uV times uA are picowatts
    return rail.reads_while_discharging(os.path.join(supply, "status")) if is_battery else rail
