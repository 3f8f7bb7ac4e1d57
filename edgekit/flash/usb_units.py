"""Boards that wait for an image over USB, found in sysfs: no library for USB is needed."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.core.flash_method import FlashUnit
from edgekit.core.target import Target

_DEVICE: Final = re.compile(r"\d+-\d+(\.\d+)*")


@dataclass(frozen=True)
class UsbUnit:
    """A device on USB.

    Attributes:
        id: ``vendor:product``.
        path: bus and ports, such as ``1-1.2``; it names the socket, whatever is in it.
        release: ``bcdUSB`` as the kernel prints it, such as ``2.01``.
    """

    id: str
    path: str
    serial: str = ""
    release: str = ""

    @property
    def port(self) -> str:
        """What edgekit calls the socket, for disks as for boards."""
        return f"usb {self.path}"


def usb_units(root: Path = Path("/")) -> tuple[UsbUnit, ...]:
    """Return what is plugged into USB, sorted by port; hubs and boards that vanish are left out."""
    return tuple(sorted(_read(root), key=lambda unit: _order(unit.path)))


def units_of(
    target: Target, root: Path, state_of: Callable[[UsbUnit], tuple[str, str]]
) -> tuple[FlashUnit, ...]:
    """Return the boards of a target that are plugged in.

    Args:
        target: whose ids in ``usb_boot`` they have.
        root: of sysfs.
        state_of: a unit's state, and the same in words behind the name of the SoC.
    """
    ids = target.usb_boot.ids if target.usb_boot else ()
    found = []
    for usb in usb_units(root):
        if usb.id in ids:
            state, words = state_of(usb)
            title = f"{target.soc} {words}"
            found.append(
                FlashUnit(title=title, port=usb.port, serial=usb.serial, state=state, usb_id=usb.id)
            )
    return tuple(found)


def _read(root: Path) -> Iterator[UsbUnit]:
    folder = root / "sys/bus/usb/devices"
    if not folder.is_dir():
        return
    for device in folder.iterdir():
        if not _DEVICE.fullmatch(device.name):
            continue
        vendor, product = _attribute(device, "idVendor"), _attribute(device, "idProduct")
        if vendor and product:
            yield UsbUnit(
                id=f"{vendor}:{product}",
                path=device.name,
                serial=_attribute(device, "serial"),
                release=_attribute(device, "version"),
            )


def _attribute(device: Path, name: str) -> str:
    try:
        return (device / name).read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""


def _order(path: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.split(r"[-.]", path))
