"""RAUC on a running device: its commands by a transport, its answers as values.

No code is sent: these are commands of the device's own RAUC, run as root by ``sudo``. Sources: the
command-line reference of RAUC's manual, and ``r_main.c`` of 1.8, which prints what is read here.
"""

import json
import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from edgekit.core.contracts import Transport
from edgekit.core.errors import DeviceError, FlashError

_PROGRESS: Final = re.compile(r"\s*(\d{1,3})%\s+(.+)")
_LAST_ERROR: Final = re.compile(r"LastError:\s*(.+)")
_CHUNK_BYTES: Final = 1 << 16
_KEPT_BYTES: Final = 1 << 20
_AS_ROOT: Final = ("sudo", "-n")
_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"


@dataclass(frozen=True)
class Slot:
    """One place that a system can be in.

    Attributes:
        name: RAUC's own, such as ``rootfs.0``.
        bootname: what the boot loader calls it, such as ``A``.
        booted: whether the device runs from it now.
        good: whether the boot loader may start it.
    """

    name: str
    bootname: str
    booted: bool
    good: bool


@dataclass(frozen=True)
class Slots:
    """What RAUC tells of a device.

    Attributes:
        compatible: the kind of system that it takes.
        slots: those that can be booted.
    """

    compatible: str
    slots: tuple[Slot, ...]

    @property
    def booted(self) -> Slot:
        """The slot that the device runs from.

        Raises:
            FlashError: RAUC cannot tell.
        """
        for slot in self.slots:
            if slot.booted:
                return slot
        raise FlashError(
            "RAUC on the device does not know from which slot it runs",
            hint="the kernel's command line must say it: rauc.slot=NAME",
        )


@dataclass(frozen=True)
class BundleInfo:
    """What an update says of itself, once its signature is verified."""

    compatible: str
    version: str


class Rauc:
    """RAUC on one device.

    Args:
        transport: the way there; its user may run ``sudo`` without a password, or is root.
    """

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def boot_id(self) -> str:
        """Return what is another after every start of the device."""
        return self._run(["cat", _BOOT_ID]).strip()

    def slots(self) -> Slots:
        """Return the device's slots.

        Raises:
            FlashError: there is no RAUC, it is not set up, or it may not be used.
        """
        return read_status(self._as_root("rauc", "status", "--output-format=json"))

    def info(self, bundle: str) -> BundleInfo:
        """Have the device verify an update's signature, and return what it says of itself.

        Raises:
            FlashError: the device does not trust it, or it is damaged.
        """
        return read_info(self._as_root("rauc", "info", "--output-format=json", bundle))

    def install(self, bundle: str, progress: Callable[[int, str], None]) -> None:
        """Write an update into the slot that is not in use, and make that the next one to boot.

        Args:
            bundle: path on the device.
            progress: told of percent, and of what is being done.

        Raises:
            FlashError: RAUC refused it or could not write it; the running system is untouched.
            ConnectionLostError: the link broke; nothing but the slot not in use was written to.
        """

        def hear(line: str) -> None:
            if found := _PROGRESS.fullmatch(line):
                progress(int(found[1]), found[2])

        self._as_root("rauc", "install", bundle, hear=hear)

    def mark(self, state: Literal["good", "bad"]) -> None:
        """Tell the boot loader what the running system proved to be.

        Raises:
            FlashError: RAUC could not.
        """
        self._as_root("rauc", "status", f"mark-{state}")

    def reboot(self) -> None:
        """Restart the device. The connection may break before this returns."""
        try:
            # Put off by a moment, so that the answer gets out.
            self._as_root("systemd-run", "--on-active=1", "systemctl", "reboot")
        except DeviceError:
            return

    def _as_root(self, *command: str, hear: Callable[[str], None] | None = None) -> str:
        return self._run([*_AS_ROOT, *command], hear)

    def _run(self, command: list[str], hear: Callable[[str], None] | None = None) -> str:
        stream = self._transport.open(command)
        said, rest = b"", b""
        try:
            while piece := stream.read(_CHUNK_BYTES):
                said = (said + piece)[-_KEPT_BYTES:]
                *lines, rest = (rest + piece).split(b"\n")
                for line in lines:
                    if hear:
                        hear(line.decode(errors="replace"))
        finally:
            status = stream.close()
        text = said.decode(errors="replace")
        if status != 0:
            raise _failure(self._transport.name, command, status, f"{text}\n{stream.diagnostics()}")
        return text


def read_status(text: str) -> Slots:
    """Read what ``rauc status --output-format=json`` prints.

    Raises:
        FlashError: it is something else.
    """
    told = _json(text)
    found = []
    for entry in told.get("slots", ()):
        for name, slot in entry.items():
            if bootname := slot.get("bootname"):
                booted = slot.get("state") == "booted"
                found.append(Slot(name, bootname, booted, slot.get("boot_status") == "good"))
    return Slots(str(told.get("compatible", "")), tuple(found))


def read_info(text: str) -> BundleInfo:
    """Read what ``rauc info --output-format=json`` prints.

    Raises:
        FlashError: it is something else.
    """
    told = _json(text)
    return BundleInfo(str(told.get("compatible", "")), str(told.get("version", "")))


def _json(text: str) -> dict[str, Any]:
    # Warnings may stand around it.
    begin, end = text.find("{"), text.rfind("}")
    try:
        told = json.loads(text[begin : end + 1])
    except ValueError as error:
        raise FlashError(
            f"RAUC on the device answered with something else than was asked: {text.strip()[:200]}",
            hint="edgekit knows RAUC 1.8 and later",
        ) from error
    return told if isinstance(told, dict) else {}


def _failure(device: str, command: list[str], status: int | None, said: str) -> FlashError:
    what = shlex.join(word for word in command if word not in _AS_ROOT)
    hint = "sudo rauc status on the device tells more"
    if "sudo: a password is required" in said or "sudo: a terminal is required" in said:
        return FlashError(
            f"{device}: this user may not run {what} as root",
            hint="allow it there without a password, in /etc/sudoers.d: docs/ab-update.md",
        )
    if "command not found" in said or "not found" in said.rsplit("rauc", 1)[0][-40:]:
        return FlashError(
            f"{device} has no RAUC: it cannot take an update into a second slot",
            hint="flash it with an image that has two slots and RAUC; see docs/ab-update.md",
        )
    found = _LAST_ERROR.findall(said)
    why = found[-1] if found else _last_line(said)
    if "signature" in why.lower() or "certificate" in why.lower():
        hint = "sign it by a key whose certificate is in the device's keyring"
    return FlashError(f"{device}: {what} failed ({status}): {why}", hint=hint)


def _last_line(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"
