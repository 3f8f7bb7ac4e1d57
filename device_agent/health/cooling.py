"""Cooling devices: what the kernel does against heat, a fan's step or a lower clock.

Source: the kernel's Documentation/driver-api/thermal/sysfs-api.rst.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from device_agent.health.tree import Tree


def read(tree: "Tree") -> "List[Dict[str, Any]]":
    """Return one table for each cooling device that tells its state."""
    devices = []
    for number, folder in tree.numbered("sys/class/thermal", "cooling_device"):
        # -1 is what intel_powerclamp says while it is off.
        state = tree.whole_number(folder + "/cur_state", least=-1)
        if state is None:
            continue
        device = {
            "device": number,
            "type": tree.fixed(folder + "/type") or "",
            "state": max(state, 0),
        }
        most = tree.fixed_number(folder + "/max_state", least=0)
        if most is not None:
            device["max_state"] = most
        devices.append(device)
    return devices
