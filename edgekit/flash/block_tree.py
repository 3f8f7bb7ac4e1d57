"""The kernel's own account of block devices: sysfs and procfs below any root.

A disk's parts, and whatever device mapper, md, LVM or bcache made of them, are one family;
what any of them is mounted as, the disk is mounted as.
Source: Documentation/ABI/stable/sysfs-block, proc(5) on mountinfo and swaps.
"""

import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final

_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
# After the mount point come optional fields, ended by a lone hyphen; then type and source.
_MOUNT_FIELDS: Final = 5


@dataclass(frozen=True)
class Use:
    """One use that is made of a block device: ``point`` is a mount point or ``[swap]``."""

    device: str
    point: str


SWAP: Final = "[swap]"


def number_of(path: Path) -> str | None:
    """Return ``major:minor`` of a block device's node, ``None`` if ``path`` is none.

    Raises:
        OSError: it cannot be looked at.
    """
    state = path.stat()
    if not stat.S_ISBLK(state.st_mode):
        return None
    return f"{os.major(state.st_rdev)}:{os.minor(state.st_rdev)}"


class BlockTree:
    """Block devices by their kernel names, such as ``sda``, ``mmcblk0p1`` or ``dm-0``."""

    def __init__(
        self, root: Path = Path("/"), number_of: Callable[[Path], str | None] = number_of
    ) -> None:
        self.root = root
        self.number_of = number_of
        self._class = root / "sys/class/block"

    def names(self) -> tuple[str, ...]:
        """Return the kernel names of all block devices, partitions included."""
        return tuple(sorted(entry.name for entry in _entries(self._class)))

    def read(self, name: str, attribute: str) -> str:
        """Return an attribute's text, empty where the device has none such."""
        try:
            text = (self._class / name / attribute).read_text("utf-8", errors="replace")
        except OSError:
            return ""
        return text.strip().strip("\0")

    def number(self, name: str, attribute: str) -> int:
        """Return an attribute that is a number, 0 where there is none."""
        text = self.read(name, attribute)
        return int(text) if text.isdecimal() else 0

    def place(self, name: str) -> Path:
        """Return the device's own folder below ``devices``, which tells where it is plugged in."""
        return (self._class / name).resolve()

    def is_partition(self, name: str) -> bool:
        """Tell whether the device is a part of another."""
        return (self._class / name / "partition").exists()

    def whole(self, name: str) -> str:
        """Return the disk that a partition is a part of."""
        return self.place(name).parent.name if self.is_partition(name) else name

    def node(self, name: str) -> Path:
        """Return the path below ``/dev``; sysfs writes ``!`` where that has a slash."""
        return Path("/dev") / name.replace("!", "/")

    def name_of(self, number: str) -> str | None:
        """Return the kernel name of ``major:minor``, ``None`` if there is no such device."""
        for name in self.names():
            if self.read(name, "dev") == number:
                return name
        return None

    def family(self, name: str) -> tuple[str, ...]:
        """Return the device, its partitions, and all that is made of any of them.

        A Btrfs of several devices is mounted by one of them: the others are in the family too.
        """
        found: dict[str, None] = {}
        open_ends = [name]
        while open_ends:
            each = open_ends.pop()
            if each not in found:
                found[each] = None
                open_ends += [*self._parts(each), *self.holders(each), *self._btrfs_peers(each)]
        return tuple(found)

    def holders(self, name: str) -> tuple[str, ...]:
        """Return what device mapper, md or the like made of this device directly."""
        return tuple(sorted(entry.name for entry in _entries(self._class / name / "holders")))

    def loops_on(self, file: Path) -> tuple[str, ...]:
        """Return the loop devices behind which this file stands."""
        return tuple(
            name
            for name in self.names()
            if name.startswith("loop") and self.read(name, "loop/backing_file") == str(file)
        )

    def uses(self) -> tuple[Use, ...]:
        """Return every mount and swap of a block device."""
        return (*self._mounts(), *self._swaps())

    def _parts(self, name: str) -> Iterator[str]:
        for entry in _entries(self._class / name):
            if (entry / "partition").exists():
                yield entry.name

    def _btrfs_peers(self, name: str) -> tuple[str, ...]:
        for filesystem in _entries(self.root / "sys/fs/btrfs"):
            names = tuple(entry.name for entry in _entries(filesystem / "devices"))
            if name in names:
                return names
        return ()

    def _mounts(self) -> Iterator[Use]:
        by_number = {self.read(name, "dev"): name for name in self.names()}
        for line in self._lines("proc/self/mountinfo"):
            fields = line.split(" ")
            if len(fields) <= _MOUNT_FIELDS or "-" not in fields[_MOUNT_FIELDS:]:
                continue
            kind_at = fields.index("-", _MOUNT_FIELDS) + 1
            # Btrfs and overlays number their mounts themselves; there the source tells.
            source = fields[kind_at + 1] if len(fields) > kind_at + 1 else ""
            name = by_number.get(fields[2]) or self._name_at(_plain(source))
            if name is not None:
                yield Use(name, _plain(fields[4]))

    def _swaps(self) -> Iterator[Use]:
        for line in self._lines("proc/swaps")[1:]:
            name = self._name_at(_plain(line.split()[0])) if line.split() else None
            if name is not None:
                yield Use(name, SWAP)

    def _name_at(self, path: str) -> str | None:
        """Return the kernel name of what stands at a path below ``/dev``, through its links."""
        if not path.startswith("/dev/"):
            return None
        below = self.root / PurePosixPath(path).relative_to("/")
        name = below.resolve().name if below.is_symlink() else path.removeprefix("/dev/")
        name = name.replace("/", "!")
        return name if (self._class / name).exists() else None

    def _lines(self, path: str) -> list[str]:
        try:
            return (self.root / path).read_text("utf-8", errors="surrogateescape").splitlines()
        except OSError:
            return []


def _entries(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _plain(text: str) -> str:
    """Undo the kernel's octal escapes of blanks and backslashes."""
    return _ESCAPED.sub(lambda found: chr(int(found[1], 8)), text)
