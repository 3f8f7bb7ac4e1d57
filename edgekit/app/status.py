"""``status`` and ``rollback``: what is active on a device, and the way back."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.app.devices import known_target, locate, open_device
from edgekit.core.events import EventSink, ignore

if TYPE_CHECKING:
    from edgekit.device import DeviceStatus


@dataclass(frozen=True)
class NamedStatus:
    """What a device says of its deployments, and what the user calls it."""

    device: str
    status: "DeviceStatus"


def device_status(
    device: str | None,
    target: str | None,
    *,
    accept_new: bool = False,
    emit: EventSink = ignore,
) -> NamedStatus:
    """Ask a device what is active on it.

    Raises:
        DeviceError: it cannot be reached, or lacks what the agent needs.
    """
    located = locate(device, target)
    with open_device(located, known_target(located), emit=emit, accept_new=accept_new) as opened:
        return NamedStatus(located.name, opened.status())


def roll_back(
    device: str | None,
    target: str | None,
    *,
    accept_new: bool = False,
    emit: EventSink = ignore,
) -> NamedStatus:
    """Make what was active before active again.

    Raises:
        DeviceError: nothing was active before, or the device cannot be reached.
    """
    located = locate(device, target)
    with open_device(located, known_target(located), emit=emit, accept_new=accept_new) as opened:
        opened.rollback()
        return NamedStatus(located.name, opened.status())
