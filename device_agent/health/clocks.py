"""Clocks per cluster: one cpufreq policy is one group of cores that share a clock.

Source: the kernel's Documentation/admin-guide/pm/cpufreq.rst, "Policy Interface in sysfs".
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List

    from device_agent.health.tree import Tree

_DIGITS = 5  # of a core's number; Linux knows 8192 at most
_MOST_CPUS = 8192
_CLOCKS = (
    ("current_khz", "scaling_cur_freq"),
    ("limit_min_khz", "scaling_min_freq"),
    ("limit_max_khz", "scaling_max_freq"),
)


def online(tree: "Tree") -> "List[int]":
    """Return the cores that are online; one may be taken away when it gets hot."""
    cpus: "List[int]" = []
    for part in (tree.text("sys/devices/system/cpu/online") or "").split(","):
        first, _, last = part.partition("-")
        last = last or first
        if not (first.isdecimal() and last.isdecimal() and len(first) < _DIGITS > len(last)):
            return []
        cpus.extend(range(int(first), int(last) + 1))
    return cpus if len(cpus) <= _MOST_CPUS else []


def read(tree: "Tree") -> "List[Dict[str, Any]]":
    """Return one table for each cpufreq policy that tells a clock or its limits."""
    clusters = []
    for number, folder in tree.numbered("sys/devices/system/cpu/cpufreq", "policy"):
        clocks = {key: tree.whole_number(folder + "/" + name, least=1) for key, name in _CLOCKS}
        if all(value is None for value in clocks.values()):
            continue  # all its cores are offline, or it vanished
        words = (tree.fixed(folder + "/related_cpus") or "").split()
        cluster: "Dict[str, Any]" = {
            "policy": number,
            "cpus": [int(word) for word in words if word.isdecimal() and len(word) < _DIGITS],
            "hardware_max_khz": tree.fixed_number(folder + "/cpuinfo_max_freq", least=1),
            "governor": tree.text(folder + "/scaling_governor") or None,
            "driver": tree.fixed(folder + "/scaling_driver") or None,
        }
        cluster.update(clocks)
        clusters.append({key: value for key, value in cluster.items() if value is not None})
    return clusters
