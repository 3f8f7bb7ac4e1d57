"""Temperatures, and the trip points at which the kernel does something about them.

Which cooling device hangs on which trip decides what a trip means: Jetson Orin has a passive trip
at 70 degrees that only raises ``hot-surface-alert``, and one at 99 that lowers the clocks.
Source: the kernel's Documentation/driver-api/thermal/sysfs-api.rst.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from device_agent.health.tree import Tree

# Beyond these no silicon works; a sensor that is off reads -274 degrees or 0xffff.
_LEAST_MC, _MOST_MC = -60000, 200000


def read(tree: "Tree") -> "List[Dict[str, Any]]":
    """Return one table for each thermal zone that has a temperature now."""
    zones = []
    for number, folder in tree.numbered("sys/class/thermal", "thermal_zone"):
        value = tree.whole_number(folder + "/temp", _LEAST_MC, _MOST_MC)
        if value is None:
            continue
        trips = tree.once(folder + " trips", lambda: _trips(tree, folder))  # noqa: B023 - called at once
        zones.append(
            {
                "zone": number,
                "type": tree.fixed(folder + "/type") or "",
                "temperature_c": value / 1000,
                "trips": trips,
            }
        )
    return zones


def _trips(tree: "Tree", folder: str) -> "List[Dict[str, Any]]":
    bound: "Dict[int, List[str]]" = {}
    for _, device in tree.numbered(folder, "cdev"):
        trip = tree.whole_number(device + "_trip_point")
        kind = tree.text(device + "/type")
        if trip is not None and kind and kind not in bound.setdefault(trip, []):
            bound[trip].append(kind)
    trips = []
    for name in tree.names(folder):
        words = name.split("_")
        if words[:2] != ["trip", "point"] or words[3:] != ["temp"] or not words[2].isdecimal():
            continue
        value = tree.whole_number(folder + "/" + name, 1, _MOST_MC)  # 0 and less: not in use
        kind = tree.text(folder + "/trip_point_" + words[2] + "_type")
        if value is not None and kind:
            cooling = sorted(bound.get(int(words[2]), ()))
            trips.append({"type": kind, "temperature_c": value / 1000, "cooling": cooling})
    return sorted(trips, key=lambda trip: (trip["temperature_c"], trip["type"]))
