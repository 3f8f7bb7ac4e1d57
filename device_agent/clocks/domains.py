"""What has a clock that can be pinned: cpufreq's policies and devfreq's devices.

Sources: the kernel's Documentation/admin-guide/pm/cpufreq.rst and
Documentation/ABI/testing/sysfs-class-devfreq.
"""

import errno
import os
import re
import stat

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Tuple

CPUFREQ = "devices/system/cpu/cpufreq"
DEVFREQ = "class/devfreq"
_POLICY = re.compile(r"policy\d{1,4}")
_PIECE_BYTES = 4096  # no file of the kernel's of this kind is longer


class Files:
    """The kernel's small files below one root."""

    def __init__(self, root: str) -> None:
        self.root = root

    def read(self, path: str) -> "Optional[str]":
        """Return a file's text, ``None`` where it is absent or cannot be read."""
        try:
            handle = os.open(os.path.join(self.root, path), os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            return os.read(handle, _PIECE_BYTES).decode("ascii", "replace").strip()
        except OSError:
            return None
        finally:
            os.close(handle)

    def number(self, path: str) -> "Optional[int]":
        """Return the number in a file, ``None`` where there is none."""
        text = self.read(path) or ""
        return int(text) if text.isdecimal() else None

    def write(self, path: str, text: str) -> str:
        """Write a file in one go; return "" or the name of the error."""
        # The kernel takes one write as one value; a plain file is cut to it, never made.
        flags = os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC
        try:
            handle = os.open(os.path.join(self.root, path), flags)
            try:
                os.write(handle, text.encode("ascii"))
            finally:
                os.close(handle)
        except OSError as error:
            return errno.errorcode.get(error.errno or 0, "EIO")
        return ""

    def writable(self, path: str) -> bool:
        """Tell whether this user may write a file."""
        return os.access(os.path.join(self.root, path), os.W_OK)

    def names(self, folder: str) -> "List[str]":
        """Return what stands in a folder, in order."""
        try:
            return sorted(os.listdir(os.path.join(self.root, folder)))
        except OSError:
            return []

    def is_setting(self, path: str) -> bool:
        """Tell whether this is a file that somebody may write."""
        try:
            mode = os.stat(os.path.join(self.root, path)).st_mode
        except OSError:
            return False
        return stat.S_ISREG(mode) and bool(mode & 0o222)


class Domain:
    """One clock: that of a group of cores, or of a device such as a GPU.

    Attributes:
        name: ``policy0``, or the device's name.
        kind: ``cpu`` or ``device``.
        folder: where its files stand, below the root of sysfs.
        scale_hz: what one of its clock files' units is.
        governor, governors, low, high, clock, steps: its files' paths.
    """

    def __init__(self, name: str, kind: str) -> None:
        self.name = name
        self.kind = kind
        is_cpu = kind == "cpu"
        self.folder = (CPUFREQ if is_cpu else DEVFREQ) + "/" + name
        self.scale_hz = 1000 if is_cpu else 1
        prefix = self.folder + ("/scaling_" if is_cpu else "/")
        self.governor = prefix + "governor"
        self.governors = prefix + "available_governors"
        self.low = prefix + "min_freq"
        self.high = prefix + "max_freq"
        self.clock = prefix + "cur_freq"
        self.steps = prefix + "available_frequencies"
        self.speed = prefix + "setspeed"

    def range(self, files: Files) -> "Tuple[Optional[int], Optional[int]]":
        """Return what the hardware can do at least and at most, in the files' own unit."""
        if self.kind == "cpu":
            least = files.number(self.folder + "/cpuinfo_min_freq")
            return least, files.number(self.folder + "/cpuinfo_max_freq")
        steps = [int(word) for word in self.step_list(files)]
        return (min(steps), max(steps)) if steps else (None, None)

    def cpus(self, files: Files) -> "List[int]":
        """Return the cores that have this clock, whether they are online or not."""
        words = (files.read(self.folder + "/related_cpus") or "").split()
        return [int(word) for word in words if word.isdecimal()]

    def step_list(self, files: Files) -> "List[str]":
        """Return the clocks that it may have, empty where it does not tell."""
        return [word for word in (files.read(self.steps) or "").split() if word.isdecimal()]

    def state(self, files: Files) -> "Dict[str, Any]":
        """Return governor, limits and clock as they are now; what is not told is absent."""
        found: "Dict[str, Any]" = {"governor": files.read(self.governor)}
        for key, path in (("min_hz", self.low), ("max_hz", self.high), ("current_hz", self.clock)):
            value = files.number(path)
            found[key] = None if value is None else value * self.scale_hz
        return {key: value for key, value in found.items() if value is not None}


def find(files: Files, devices: bool) -> "List[Domain]":
    """Return every clock there is: cpufreq's, and devfreq's if they are wanted."""
    policies = filter(_POLICY.fullmatch, files.names(CPUFREQ))
    found = [Domain(name, "cpu") for name in sorted(policies, key=lambda name: int(name[6:]))]
    if devices:
        found += [Domain(name, "device") for name in files.names(DEVFREQ)]
    # A policy whose cores are all offline has its folder still, and nothing that can be read.
    return [domain for domain in found if domain.state(files)]
