"""Raspberry Pi compute modules over USB, by Raspberry Pi's own ``rpiboot``.

A module whose boot is disabled by a jumper waits on USB for a program. ``rpiboot`` sends it one
that shows the module's storage as a disk, which is then written like a card. What it prints is
told by its source, ``main.c`` of raspberrypi/usbboot.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.core.errors import FlashError
from edgekit.core.events import EventSink, StepFinished, StepStarted
from edgekit.core.flash import Disk
from edgekit.core.flash_method import Flashed, FlashJob, FlashUnit, MethodOption, VendorTool
from edgekit.core.names import FlashMethodName
from edgekit.core.target import Target
from edgekit.flash.disks import find_disks
from edgekit.flash.usb_units import units_of, usb_units
from edgekit.flash.vendor_faults import KnownFault, fault_of
from edgekit.flash.vendor_program import Limits, Said, find_program, run_program
from edgekit.flash.write_unit import write_unit

TOOL: Final = VendorTool(
    "rpiboot",
    "sudo apt-get install rpiboot (Debian 13, Raspberry Pi OS); elsewhere: git clone --recurse-"
    "submodules --depth=1 https://github.com/raspberrypi/usbboot && make -C usbboot install",
)
_VENDOR: Final = "0a5c"
# Where packages and `make install` put the program that turns a module into a disk.
_GADGET: Final = "share/rpiboot/mass-storage-gadget64"
_PREFIXES: Final = ("usr", "usr/local")
# Older modules than BCM2711 cannot run it; rpiboot has a smaller one for them built in.
_TAKES_GADGET: Final = frozenset({"0a5c:2711", "0a5c:2712"})
_SILENCE_S: Final = 60.0
_DISK_S: Final = 45.0
_SETTLED_S: Final = 1.5
_LOOK_S: Final = 0.2
_CABLE: Final = "a short cable to a socket of the machine itself, no hub; power off, then again"
FAULTS: Final = (
    KnownFault(
        r"^Permission to access USB device denied",
        "the module may not be opened",
        "run edgekit with sudo, or join the group plugdev",
    ),
    KnownFault(
        r"^(Failed to open second stage bootloader|No 'bootcode' files found)|^Failed to open boot",
        "the program that turns a module into a disk is not there",
        "name mass-storage-gadget64 of raspberrypi/usbboot with the option folder",
    ),
    KnownFault(
        r"^(Failed control transfer|Failed to claim interface|Failed to (write|read) correct length"
        r"|Failed to write complete file|Failed to read config descriptor|Failed : 0x)",
        "the module was lost on USB",
        _CABLE,
    ),
    KnownFault(r"^Failed to initialise libUSB", "USB cannot be used here", "is this a container?"),
    KnownFault(
        r"^Usage: rpiboot",
        "this rpiboot does not know how to be told a socket",
        "update rpiboot, or plug in one module at a time",
    ),
)


@dataclass(frozen=True)
class Rpiboot:
    """``rpiboot``, then as a card.

    Attributes:
        disks: finds the disks below a root.
    """

    name: FlashMethodName = "rpiboot"
    tools: tuple[VendorTool, ...] = (TOOL,)
    options: tuple[MethodOption, ...] = (
        MethodOption("folder", "sent instead of the installed mass-storage-gadget64", "folder"),
        MethodOption("storage", "which storage, where a module has several: a part of its model"),
    )
    takes_image: bool = True
    at_once: int | None = None
    disks: Callable[[Path], Sequence[Disk]] = find_disks

    def units(self, target: Target, root: Path) -> tuple[FlashUnit, ...]:
        """Find modules of the target that wait for a program."""
        return units_of(target, root, lambda _usb: ("waiting", "waiting for a program"))

    def flash(self, unit: FlashUnit, job: FlashJob, emit: EventSink) -> Flashed:
        """Turn the module into a disk, write the image there and read it back.

        Raises:
            FlashError: the module must not be used.
            UsageError: no image was named.
        """
        step = f"rpiboot:{unit.port}"
        emit(StepStarted(step, f"turn {unit.port} into a disk"))
        ok = False
        try:
            self._send(unit, job)
            disk = self._disk(unit, job)
            ok = True
        finally:
            emit(StepFinished(step, ok=ok))
        return write_unit(self.name, unit, disk, job, emit)

    def _send(self, unit: FlashUnit, job: FlashJob) -> None:
        program = str(find_program(TOOL))
        folder = _folder(unit, job)
        command = [program, *(["-d", str(folder)] if folder else [])]
        limits = Limits(_SILENCE_S, lambda: "somebody asked for an end" if job.stopped() else None)
        said = run_program([*command, "-p", unit.port.removeprefix("usb ")], _ignored, limits)
        if _knows_no_port(said) and _waiting(job.root) == [unit.port]:
            said = run_program(command, _ignored, limits)
        if said.status != 0 or "Second stage boot server done" not in said.lines:
            raise fault_of(said, FAULTS, f"{unit.port} did not become a disk")

    def _disk(self, unit: FlashUnit, job: FlashJob) -> Disk:
        """Wait for the disk in the module's socket; storages come one after the other."""
        wanted = job.options.get("storage", "")
        deadline = time.monotonic() + _DISK_S
        seen: list[Disk] = []
        since = time.monotonic()
        while True:
            found = [disk for disk in self.disks(job.root) if _is_of(disk, unit)]
            if found != seen:
                seen, since = found, time.monotonic()
            if seen and time.monotonic() - since > _SETTLED_S:
                return _chosen(seen, wanted, unit)
            if job.stopped():
                raise FlashError("somebody asked for an end", hint="flash the unit anew")
            if time.monotonic() > deadline:
                raise FlashError(
                    f"{unit.port}: the module took the program, and no disk came in {_DISK_S:g} s",
                    hint=f"has the module storage at all (a Lite has none)? Else {_CABLE}",
                )
            time.sleep(_LOOK_S)


def _folder(unit: FlashUnit, job: FlashJob) -> Path | None:
    named = job.options.get("folder")
    if named:
        return Path(named).expanduser()
    if unit.usb_id not in _TAKES_GADGET:
        return None
    places = (job.root / prefix / _GADGET for prefix in _PREFIXES)
    # Without one, rpiboot looks for itself and says what it misses.
    return next((place for place in places if place.is_dir()), None)


def _knows_no_port(said: Said) -> bool:
    return said.status != 0 and any(line.startswith("Usage: rpiboot") for line in said.lines)


def _waiting(root: Path) -> list[str]:
    return [usb.port for usb in usb_units(root) if usb.id.startswith(_VENDOR)]


def _is_of(disk: Disk, unit: FlashUnit) -> bool:
    return disk.port == unit.port and disk.size_bytes > 0


def _chosen(disks: Sequence[Disk], wanted: str, unit: FlashUnit) -> Disk:
    fitting = [disk for disk in disks if wanted in disk.model]
    if len(fitting) == 1:
        return fitting[0]
    listed = ", ".join(f"{disk.path} ({disk.model}, {disk.size_bytes} bytes)" for disk in disks)
    raise FlashError(
        f"{unit.port}: {len(fitting)} storages of the module are {wanted or 'to be had'}: {listed}",
        hint="name one with the option storage: a part of its model",
    )


def _ignored(_line: str) -> None:
    """Hear a line whose meaning is looked for afterwards."""


METHOD: Final = Rpiboot()
