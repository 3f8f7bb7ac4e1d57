"""Cards, sticks and whatever else shows as a disk here."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink
from edgekit.core.flash import Disk
from edgekit.core.flash_method import Flashed, FlashJob, FlashUnit, MethodOption, VendorTool
from edgekit.core.names import FlashMethodName
from edgekit.core.target import Target
from edgekit.flash.disks import find_disks
from edgekit.flash.write_unit import write_unit


@dataclass(frozen=True)
class SdCard:
    """Removable disks that nothing here uses.

    Attributes:
        disks: finds the disks below a root.
    """

    name: FlashMethodName = "sdcard"
    tools: tuple[VendorTool, ...] = ()
    options: tuple[MethodOption, ...] = ()
    takes_image: bool = True
    at_once: int | None = None
    disks: Callable[[Path], Sequence[Disk]] = find_disks

    def units(self, target: Target, root: Path) -> tuple[FlashUnit, ...]:  # noqa: ARG002 - a card fits any board
        """Find removable disks; what is built in, in use or locked is none of them."""
        return tuple(
            FlashUnit(
                title=f"{disk.path} ({disk.model})" if disk.model else str(disk.path),
                port=disk.port or str(disk.path),
                serial=disk.serial,
                disk=disk,
            )
            for disk in self.disks(root)
            if disk.removable
            and disk.size_bytes
            and not (disk.system or disk.mounts or disk.read_only)
        )

    def flash(self, unit: FlashUnit, job: FlashJob, emit: EventSink) -> Flashed:
        """Write the image and read it back past the page cache.

        Raises:
            FlashError: the disk must not be used.
            UsageError: there is no disk or no image.
        """
        if unit.disk is None:
            raise UsageError(f"{unit.title} is no disk", hint="edgekit flash --list shows disks")
        return write_unit(self.name, unit, unit.disk, job, emit)


METHOD: Final = SdCard()
