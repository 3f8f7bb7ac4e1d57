"""From what the user calls a device to an open one."""

from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekit.catalog.folders import find_file
from edgekit.catalog.settings import settings
from edgekit.catalog.targets import load_target
from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, StepFinished, StepStarted
from edgekit.core.names import check_name, nearest
from edgekit.core.target import Target

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgekit.board.user_mode import RunningBoard
    from edgekit.catalog.devices import DeviceEntry
    from edgekit.device import Device
    from edgekit.device.address import Address

LOCAL = "local"
VIRTUAL = "virtual"
# A machine that is emulated beside other work may not come to answer for long.
_EMULATED_LOST_AFTER_S = 60.0


@dataclass(frozen=True)
class Located:
    """A device's name, its target, and where it is (``None``: a virtual board, not yet up)."""

    name: str
    target: str | None
    address: "Address | None"

    @property
    def board(self) -> str | None:
        """Name of the virtual board that ``virtual:NAME`` means; ``None``: its target's."""
        return self.name.partition(":")[2] or None if self.address is None else None


def locate(device: str | None, target: str | None) -> Located:
    """Find out which device is meant.

    A name from the inventory wins; ``local``, ``virtual``, ``virtual:NAME`` and anything with
    ``@``, ``.`` or ``:`` in it speak for themselves. Without a device: ``local`` for the target
    ``local``, else the one entry of the inventory that has the target. Without a target: that of
    the inventory's entry, or of the virtual board of this name, if it is up.

    Raises:
        UsageError: no device was named and none follows, or nothing has the name.
        UnknownNameError: there is no such target.
    """
    from edgekit.catalog.devices import load_devices
    from edgekit.device.address import LocalAddress, parse_address

    held = settings()
    target = target or held.target
    device = device or held.device
    if target is not None:
        find_file("targets", target)  # a name that nothing has is told before anything else
    entries = {entry.name: entry for entry in load_devices()}
    if device is None:
        device = _only_device(target, list(entries.values()))
    if device == LOCAL:
        return Located(LOCAL, target or LOCAL, LocalAddress())
    if device.partition(":")[0] == VIRTUAL:
        if device != VIRTUAL:
            name = check_name(device.partition(":")[2], "virtual board")
            target = target or _target_of_board(name)
        return Located(device, target, None)
    if device in entries:
        entry = entries[device]
        address = _patient(_address_of(entry), held.connect_timeout_s)
        return Located(device, target or entry.target, address)
    if any(mark in device for mark in "@.:"):
        address = _patient(parse_address(device), held.connect_timeout_s)
        return Located(device, target, address)
    near = nearest(device, [*entries, LOCAL, VIRTUAL])
    meant = f"did you mean {near[0]}? " if near else ""
    raise UsageError(
        f"no device is named {device!r}",
        hint=f"{meant}write user@host, or keep it under a name: "
        f"edgekit devices add {device} user@host",
    )


@contextmanager
def open_device(
    located: Located, target: Target | None, *, emit: EventSink, accept_new: bool = False
) -> "Iterator[Device]":
    """Connect to a device; a virtual board is made and started first.

    Raises:
        DeviceError: it cannot be reached, or lacks what the agent needs.
    """
    from edgekit.device import connect

    address, lost_after_s = located.address, None
    if address is None:
        address = _virtual_address(target, located.board, emit)
        lost_after_s = _EMULATED_LOST_AFTER_S
    step = "connect"
    emit(StepStarted(step, f"Connect to {located.name}"))
    try:
        device = connect(address, emit=emit, accept_new=accept_new, lost_after_s=lost_after_s)
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    with device:
        emit(StepFinished(step, device.facts.model or device.facts.hostname))
        yield device


def known_target(located: Located) -> Target | None:
    """Return the target of a device, ``None`` where nothing names one.

    Raises:
        UnknownNameError: there is no such target.
    """
    return load_target(located.target) if located.target else None


def required_target(located: Located) -> Target:
    """Return the target of a device, where one is needed.

    Raises:
        UsageError: neither the user, nor the inventory, nor the settings name one.
        UnknownNameError: there is no such target.
    """
    target = known_target(located)
    if target is None:
        raise UsageError(
            f"no target was given for {located.name}",
            hint=f"--target NAME; edgekit devices probe {located.name} tells which one fits",
        )
    return target


def _target_of_board(name: str) -> str | None:
    """Return the target of a virtual board that is up; ``None`` where none is of this name."""
    from edgekit.board.instances import held_state

    held = held_state(name)
    return held.target if held is not None else None


def _only_device(target: str | None, entries: "list[DeviceEntry]") -> str:
    if target == LOCAL:
        return LOCAL
    fitting = [entry.name for entry in entries if target is None or entry.target == target]
    if len(fitting) == 1:
        return fitting[0]
    wanted = f" for {target}" if target else ""
    if fitting:
        raise UsageError(
            f"several devices{wanted} are known: {', '.join(fitting)}",
            hint="choose one with --device NAME",
        )
    raise UsageError(
        f"no device was given{wanted}",
        hint="--device user@host for a board, --device virtual for an emulated one, "
        "--target local for this machine",
    )


def _patient(address: "Address", connect_timeout_s: float) -> "Address":
    from edgekit.device.address import LocalAddress

    if isinstance(address, LocalAddress):
        return address
    return replace(address, connect_timeout_s=connect_timeout_s)


def _address_of(entry: "DeviceEntry") -> "Address":
    from edgekit.device.address import SshAddress

    return SshAddress(
        host=entry.address,
        user=entry.user,
        port=entry.port,
        identity_file=entry.identity_file,
        proxy_jump=entry.proxy_jump,
    )


def _virtual_address(target: Target | None, name: str | None, emit: EventSink) -> "Address":
    from edgekit.board import boards

    if target is None:
        raise UsageError(
            f"no virtual board {name} is up" if name else "no target was given for virtual",
            hint="--target NAME has one made; edgekit board list shows those that are up",
        )
    if not target.compatible:
        raise UsageError(
            f"no virtual board can be made of {target.name}",
            hint="--target NAME with a board's name; edgekit targets lists them",
        )
    return board_address(boards.up(target, name=name, emit=emit))


def board_address(board: "RunningBoard") -> "Address":
    """Return where a virtual board is that is up."""
    from edgekit.device.address import SshAddress

    return SshAddress(
        host=board.host,
        user=board.user,
        port=board.port,
        identity_file=board.identity_file,
        known_hosts=board.known_hosts,
        config=None,
    )
