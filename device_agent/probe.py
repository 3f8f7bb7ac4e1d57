"""Facts of the device. What cannot be read is absent, never a made-up number."""

import os
import re
import sys

from device_agent import AGENT_VERSION
from device_agent.pythons import find_pythons

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

VIRTUAL_BOARD_MARK = "edgekit/virtual-board.json"
"""Below ``etc``: written into every virtual board, absent on every real one."""


class Roots:
    """Where the kernel's trees stand. Tests give recorded trees of other boards."""

    def __init__(self, proc: str = "/proc", sys: str = "/sys", etc: str = "/etc") -> None:
        self.proc = proc
        self.sys = sys
        self.etc = etc


def facts(roots: Roots, store: str) -> "Dict[str, Any]":
    """Return everything that ``edgekit.core.target.DeviceFacts`` holds, as plain JSON values.

    Args:
        roots: the kernel's trees.
        store: a folder that exists, on the file system that content will be written to.
    """
    system = os.uname()
    cpus = _cpuinfo(os.path.join(roots.proc, "cpuinfo"))
    libc, libc_version = _libc()
    memory = _meminfo(os.path.join(roots.proc, "meminfo"))
    parts = _cpu_parts(cpus, roots.sys)
    return {
        "hostname": system.nodename,
        "machine": userland_machine(),
        "kernel": system.release,
        "os_name": _os_name(os.path.join(roots.etc, "os-release")),
        "l4t": _l4t(os.path.join(roots.etc, "nv_tegra_release")),
        "libc": libc,
        "libc_version": libc_version,
        "model": next(iter(_device_tree(roots, "model")), None),
        "compatible": _device_tree(roots, "compatible"),
        "cpu_parts": parts,
        "cpu_features": _cpu_features(cpus),
        "cpu_count": len(cpus) or os.cpu_count() or 1,
        "cpu_usable": len(os.sched_getaffinity(0)),
        "memory_total_bytes": memory.get("MemTotal"),
        "memory_available_bytes": memory.get("MemAvailable", memory.get("MemFree")),
        "disk_free_bytes": free_bytes(store),
        "pythons": find_pythons(),
        "agent_version": AGENT_VERSION,
        "home": os.path.expanduser("~"),
        "emulated": os.path.exists(os.path.join(roots.etc, VIRTUAL_BOARD_MARK)),
    }


def userland_machine() -> str:
    """Return ``uname -m``, corrected to what programs here are built for.

    A 32-bit system may run on a 64-bit kernel (the usual 32-bit Raspberry Pi image does), whose
    ``uname -m`` tells of the kernel alone.
    """
    machine = os.uname().machine
    if machine in ("armv8l", "aarch64") and sys.maxsize < 1 << 32:
        return "armv7l"
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(machine, machine)


def compatible_strings(roots: Roots) -> "List[str]":
    """Return the device tree's ``compatible`` strings, empty where there is no device tree."""
    return _device_tree(roots, "compatible")


def free_bytes(folder: str) -> "Optional[int]":
    """Return how much an ordinary user may still write to the folder's file system."""
    try:
        state = os.statvfs(folder)
    except OSError:
        return None
    return state.f_bavail * state.f_frsize


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return file.read(1 << 20).decode("utf-8", "replace")
    except OSError:
        return ""


def _device_tree(roots: Roots, name: str) -> "List[str]":
    # /proc/device-tree is a link into sysfs; a container may have only one of the two.
    for base in (
        os.path.join(roots.sys, "firmware/devicetree/base"),
        os.path.join(roots.proc, "device-tree"),
    ):
        strings = [text.strip() for text in _read(os.path.join(base, name)).split("\0")]
        strings = [text for text in strings if text]
        if strings:
            return strings
    return []


def _cpuinfo(path: str) -> "List[Dict[str, str]]":
    """Return one table per processor, in the file's order."""
    cpus: "List[Dict[str, str]]" = []
    for line in _read(path).splitlines():
        key, colon, value = line.partition(":")
        key = key.strip()
        if not colon:
            continue
        if key == "processor" and value.strip().isdigit():
            cpus.append({})
        if cpus:
            cpus[-1].setdefault(key, value.strip())
    return cpus


def _cpu_parts(cpus: "List[Dict[str, str]]", sys_root: str) -> "List[int]":
    try:
        listed = [int(cpu["CPU part"], 16) for cpu in cpus]
    except (KeyError, ValueError):
        listed = []
    return listed or _midr_parts(sys_root, len(cpus))


def _midr_parts(sys_root: str, count: int) -> "List[int]":
    parts = []
    for index in range(count):
        path = f"devices/system/cpu/cpu{index}/regs/identification/midr_el1"
        text = _read(os.path.join(sys_root, path)).strip()
        try:
            parts.append(int(text, 16) >> 4 & 0xFFF)
        except ValueError:
            return []
    return parts


def _cpu_features(cpus: "List[Dict[str, str]]") -> "List[str]":
    first = cpus[0] if cpus else {}
    return (first.get("Features") or first.get("flags") or "").split()


def _meminfo(path: str) -> "Dict[str, int]":
    table = {}
    for line in _read(path).splitlines():
        words = line.replace(":", " ").split()
        if words[1:2] and words[1].isdigit() and words[2:] == ["kB"]:
            table[words[0]] = int(words[1]) * 1024
    return table


def _os_name(path: str) -> str:
    for line in _read(path).splitlines():
        key, _equals, value = line.partition("=")
        if key == "PRETTY_NAME":
            return value.strip().strip("\"'")
    return ""


def _l4t(path: str) -> "Optional[str]":
    found = re.search(r"R(\d+) \(release\), REVISION: ([0-9.]+)", _read(path))
    return f"{found.group(1)}.{found.group(2)}" if found else None


def _libc() -> "List[str]":
    try:
        name, space, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    except (ValueError, OSError):
        name, space, version = "", "", ""
    if space:
        return [name, version]
    try:
        musl = any(name.startswith("ld-musl-") for name in os.listdir("/lib"))
    except OSError:
        musl = False
    return ["musl" if musl else "", ""]
