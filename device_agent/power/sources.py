"""All sources together."""

import os

from device_agent.power import hwmon, iio, power_supply, rapl
from device_agent.power.rail import Rail, ReadingError, Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Optional

    from device_agent.power.rail import Found


def find_rails(sys_root: str = "/sys", scopes: "Optional[Dict[str, str]]" = None) -> "Found":
    """Return the rails that can be read, open, and what is there but cannot be used.

    Args:
        sys_root: where sysfs stands.
        scopes: what a rail of this label covers, where its owner knows: an added monitor does not
            know which wire it was put into.
    """
    rails, refused = [], []
    for source in (hwmon, iio, power_supply, rapl):
        found, not_used = source.find(sys_root)
        refused += not_used
        for rail in found:
            rail.scope = (scopes or {}).get(rail.label, rail.scope)
            reason = _why_not(rail)
            if reason:
                rail.close()
                refused.append(Refused(rail.source, f"{rail.sensor} {rail.label}", reason))
            else:
                rails.append(rail)
    return rails, refused


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
