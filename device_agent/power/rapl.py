"""Energy counters of x86 processors behind the kernel's ``powercap`` class.

Source: https://docs.kernel.org/power/powercap/powercap.html (energy_uj counts up to
max_energy_range_uj and starts again). A zone within a zone counts part of the outer one.
"""

import os
import re

from device_agent.power.rail import Rail, Refused, names_in, number_of, text_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from device_agent.power.rail import Found

_ZONE = re.compile(r"intel-rapl(:\d+)(:\d+)?$")  # intel-rapl-mmio counts the same once more


def find(sys_root: str) -> "Found":
    """Return every zone: the processor's packages, what is within them, and the platform."""
    folder = os.path.join(sys_root, "class/powercap")
    rails, refused = [], []
    for name in names_in(folder):
        match = _ZONE.match(name)
        zone = os.path.join(folder, name)
        counter = os.path.join(zone, "energy_uj")
        if match is None or not os.path.exists(counter):
            continue
        label = text_of(zone, "name")
        rail = Rail("rapl", name, label, "board" if label == "psys" else "rail")
        if match.group(2):
            rail.within = text_of(folder, "intel-rapl" + match.group(1), "name")
            rail.label = f"{rail.within}/{label}"
        range_uj = number_of(zone, "max_energy_range_uj") or 0
        if 0 < range_uj < 1 << 63:
            rails.append(rail.counts(counter, range_uj))
        else:
            refused.append(Refused("rapl", name, "it does not say where its counter starts again"))
    return rails, refused
