"""All sources together."""

import os

from device_agent.power import hwmon, iio, pmic, power_supply, rapl
from device_agent.power.rail import Rail, ReadingError, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Dict, Optional

    from device_agent.power.rail import Found

    Find = Callable[[str], Found]


def find_rails(sys_root: str = "/sys", scopes: "Optional[Dict[str, str]]" = None) -> "Found":
    """Return the rails that can be read, open, and what is there but cannot be used.

    Args:
        sys_root: where sysfs stands.
        scopes: what a rail of this label covers, where its owner knows: an added monitor does not
            know which wire it was put into.
    """
    rails, refused = [], []
    for find in (hwmon.find, iio.find, power_supply.find, rapl.find, pmic.find):
        found, not_used = find(sys_root)
        refused += not_used
        for rail in found:
            rail.scope = (scopes or {}).get(rail.label, rail.scope)
            reason = _why_not(rail)
            if reason:
                rail.close()
                refused.append(Refused(rail.source, f"{rail.sensor} {rail.label}", reason))
            else:
                rail.find_again = _again(find, sys_root, rail)
                rails.append(rail)
    return rails, refused


def _again(find: "Find", sys_root: str, rail: Rail) -> "Callable[[], Optional[Rail]]":
    # By what stays the same: hwmon's number is another one after each load of the driver.
    def look() -> "Optional[Rail]":
        for other in find(sys_root)[0]:
            if (other.sensor, other.label) == (rail.sensor, rail.label):
                return other
        return None

    return look


def _why_not(rail: Rail) -> str:
    try:
        rail.open()
        rail.read()
    except OSError as error:
        return f"{os.path.basename(error.filename or '')}: {error.strerror}"
    except ReadingError as fault:
        # What reads badly now may read well in a moment; what is not there will not come back.
        return str(fault) if fault.kind == "vanished" else ""
    return ""
