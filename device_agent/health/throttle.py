"""What firmware and hardware say of throttling and of the supply, each where it exists.

Sources: Raspberry Pi, documentation of ``vcgencmd get_throttled`` (the bits) and
drivers/firmware/raspberrypi.c of its kernel (the file, hexadecimal without 0x);
drivers/hwmon/raspberrypi-hwmon.c (``rpi_volt``); NVIDIA Jetson Linux Developer Guide, Orin,
"Over-Current Event" and its kernel's tegra234-oc-event driver (``soctherm_oc``);
the kernel's Documentation/hwmon/ina3221.rst (``currN_crit_alarm``); x86: the kernel's
Documentation/ABI/testing/sysfs-devices-system-cpu, ``thermal_throttle``.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

    from device_agent.health.tree import Tree

_OVER_CURRENT_EVENTS = ("oc1", "oc2", "oc3")
_X86_COUNTS = ("core_throttle_count", "package_throttle_count")


def read(tree: "Tree") -> "Dict[str, Any]":
    """Return the signs that this device has; none at all on most boards."""
    found: "Dict[str, Any]" = {}
    path = tree.once("pi", lambda: _pi_file(tree))
    if path:
        _put(found, "pi_bits", tree.whole_number(path, 0, 0xFFFFFFFF, base=16))
    for chip, folder in tree.once("chips", lambda: _chips(tree)):
        if chip == "rpi_volt":
            _put(found, "under_voltage", tree.whole_number(folder + "/in0_lcrit_alarm", 0, 1))
        elif chip == "soctherm_oc":
            for event in _OVER_CURRENT_EVENTS:
                count = tree.whole_number(folder + "/" + event + "_event_cnt", least=0)
                _put(found, event + "_events", count)
        else:
            _alarms(tree, folder, found)
    for key in _X86_COUNTS:
        _put(found, key, _sum(tree, key))
    return found


def _put(found: "Dict[str, Any]", key: str, value: "Any") -> None:
    if value is not None:
        found[key] = value


def _pi_file(tree: "Tree") -> "Optional[str]":
    # Pi 3 and 4: soc/soc:firmware; Pi 5: soc@107c000000/soc@107c000000:firmware.
    platform = "sys/devices/platform"
    for name in sorted(tree.names(platform)):
        if name == "soc" or name.startswith("soc@"):
            folder = "/".join((platform, name, name + ":firmware"))
            if "get_throttled" in tree.names(folder):
                return folder + "/get_throttled"
    return None


def _chips(tree: "Tree") -> "List[Tuple[str, str]]":
    found = []
    for _, folder in tree.numbered("sys/class/hwmon", "hwmon"):
        name = tree.text(folder + "/name")
        if name in ("rpi_volt", "soctherm_oc", "ina3221"):
            found.append((name, folder))
    return found


def _alarms(tree: "Tree", folder: str, found: "Dict[str, Any]") -> None:
    for number, channel in tree.once(folder + " rails", lambda: _rails(tree, folder)):
        alarm = tree.whole_number(channel + "_crit_alarm", 0, 1)
        if alarm is None:
            continue
        raised = found.setdefault("over_current_alarms", [])
        if alarm:
            label = tree.fixed(folder + "/in" + str(number) + "_label")
            raised.append(label or "channel " + str(number))


def _rails(tree: "Tree", folder: str) -> "List[Tuple[int, str]]":
    names = tree.names(folder)
    numbers = (number for number in range(1, 4) if "curr%d_crit_alarm" % number in names)
    return [(number, folder + "/curr" + str(number)) for number in numbers]


def _sum(tree: "Tree", key: str) -> "Optional[int]":
    paths = tree.once(key, lambda: _counters(tree, key))
    counts = [tree.whole_number(path, least=0) for path in paths]
    known = [count for count in counts if count is not None]
    # A sum that lacks a core would look like a counter that ran backwards.
    return sum(known) if known and len(known) == len(counts) else None


def _counters(tree: "Tree", key: str) -> "List[str]":
    folders = [
        folder + "/thermal_throttle" for _, folder in tree.numbered("sys/devices/system/cpu", "cpu")
    ]
    return [folder + "/" + key for folder in folders if key in tree.names(folder)]
