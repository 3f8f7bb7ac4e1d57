"""``ab-update``: a running device takes a signed update into its second slot."""

from pathlib import Path
from typing import Final

from edgekit.app.devices import Located
from edgekit.catalog.cache import sha256_of
from edgekit.core.bundle import BundleFile
from edgekit.core.contracts import Transport
from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, ignore
from edgekit.flash.ab_update import RETURN_S, Update, Updated, update

_SILENT_S: Final = 120.0


def update_device(
    located: Located,
    bundle: Path,
    *,
    emit: EventSink = ignore,
    accept_new: bool = False,
    return_s: float = RETURN_S,
) -> Updated:
    """Bring an update to a device, and see it confirmed or the former system back.

    The update is sent as bundles are: what arrived before a link broke is not sent again. The new
    system stays if the agent answers on it, and has what the device's user had deployed.

    Args:
        located: the device.
        bundle: a bundle of RAUC's (``.raucb``), signed by whom the device trusts.
        emit: told of each step.
        accept_new: trust a host key that is unknown so far.
        return_s: how long the device may take to come back.

    Raises:
        UsageError: the device is not one that is reached over SSH, or there is no such file.
        FlashError: the device cannot take the update, or did not come back.
        DeviceError: the device cannot be reached, or was lost.
    """
    from edgekit.device import SshAddress, connect
    from edgekit.device.ssh import SshTransport
    from edgekit.device.ssh_link import Limits

    address = located.address
    if not isinstance(address, SshAddress):
        raise UsageError(
            f"{located.name} cannot be updated so: an update restarts a device behind SSH",
            hint="name a device by its address or its name in the inventory",
        )
    if not bundle.is_file():
        raise UsageError(f"there is no update at {bundle}", hint="check the path")
    active: list[str | None] = []

    def reach() -> Transport:
        # A device that writes all it can may be silent for long, and is not lost.
        limits = Limits(ask_after_s=10.0, lost_after_s=_SILENT_S, login_s=_SILENT_S / 2)
        return SshTransport(address, emit=emit, accept_new=accept_new, limits=limits)

    def send(path: Path) -> str:
        content = BundleFile(path.name, sha256_of(path), path.stat().st_size, path)
        with connect(address, emit=emit, accept_new=accept_new) as device:
            current = device.status().current
            active.append(current.bundle if current else None)
            device.push((content,), emit)
            return f"{device.facts.home}/.edgekit/store/{content.sha256}"

    def check() -> None:
        with connect(address, emit=emit) as device:
            current = device.status().current
            _compare(active[-1], current.bundle if current else None)

    return update(reach, Update(bundle, send, check, return_s), emit)


def _compare(before: str | None, now: str | None) -> None:
    if before != now:
        raise UsageError(
            f"before the update {before or 'nothing'} was active on the device, now it is "
            f"{now or 'nothing'}",
            hint="the image must keep the homes of its users on a partition of their own",
        )
