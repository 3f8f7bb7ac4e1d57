"""Use cases of the inventory: keep a board under a name, read what it is."""

from dataclasses import dataclass
from pathlib import Path

from edgekit.app.devices import LOCAL, known_target, locate, open_device
from edgekit.catalog.devices import RESERVED, DeviceEntry, add_device
from edgekit.catalog.targets import load_target, match_target
from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, ignore
from edgekit.core.names import check_name
from edgekit.core.target import DeviceFacts
from edgekit.device.address import SshAddress, parse_address


@dataclass(frozen=True)
class Probe:
    """A device's facts and the target that fits them, if any does."""

    facts: DeviceFacts
    target: str | None


def add_to_inventory(
    name: str,
    address: str,
    *,
    target: str | None = None,
    identity_file: Path | None = None,
    proxy_jump: str | None = None,
    note: str = "",
) -> DeviceEntry:
    """Keep the board at ``address`` under ``name``.

    Raises:
        UsageError: the name or the address cannot be one, or the name is taken.
        UnknownNameError: there is no such target.
    """
    if name in RESERVED:
        raise UsageError(
            f"{name!r} cannot name a device",
            hint=f"--device gives {' and '.join(RESERVED)} a meaning of their own: choose another",
        )
    check_name(name, "device")
    place = parse_address(address)
    if not isinstance(place, SshAddress):
        raise UsageError(
            "this machine needs no entry", hint="write --device local wherever it is meant"
        )
    entry = DeviceEntry(
        name=name,
        address=place.host,
        user=place.user,
        port=place.port,
        target=load_target(target).name if target else None,
        identity_file=identity_file.expanduser().absolute() if identity_file else None,
        proxy_jump=proxy_jump,
        note=note,
    )
    add_device(entry)
    return entry


def probe(
    device: str, target: str | None, *, accept_new: bool = False, emit: EventSink = ignore
) -> Probe:
    """Read what a device is, and find the target that fits it.

    Raises:
        DeviceError: it cannot be reached, or lacks what the agent needs.
    """
    located = locate(device, target)
    with open_device(located, known_target(located), emit=emit, accept_new=accept_new) as opened:
        fits = LOCAL if located.name == LOCAL else match_target(opened.facts)
        return Probe(opened.facts, fits)
