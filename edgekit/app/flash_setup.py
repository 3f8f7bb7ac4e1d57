"""What a device is to be at its first boot: put into its image, and into the inventory."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edgekit.app.first_boot import FirstBundle, home_files, stage
from edgekit.app.models import resolve_recipe
from edgekit.catalog.devices import RESERVED, DeviceEntry, add_device, load_devices
from edgekit.core.errors import EdgekitError, UsageError
from edgekit.core.events import EventSink, Note, ignore
from edgekit.core.flash import ImageFacts, ImageSoftware
from edgekit.core.names import check_name
from edgekit.core.target import Target
from edgekit.device.address import SshAddress, parse_address
from edgekit.device.host_trust import is_known_host, trust_host_key
from edgekit.flash.provision import (
    HomeFile,
    HostKeyPair,
    Provision,
    Wifi,
    new_host_key,
    provision,
)
from edgekit.flash.software import software_of

DEFAULT_USER: Final = "edge"


@dataclass(frozen=True)
class Setup:
    """What one device is to be.

    Attributes:
        user: who logs in, made if the image has no such user.
        ssh_keys: public keys as lines, or files that hold them.
        wifi: name of the network to join.
        wifi_password: ``None``: the network is open.
        wifi_country: where the device stands, two letters.
        name: under which it is to stand in the inventory.
        address: host or host:port where it will be reached; default: its host name in ``.local``.
        replace: it takes the place of the device that has its name or address now.
        bundle: a recipe's name or an ONNX file; it is built for the board and is active at once.
    """

    user: str = DEFAULT_USER
    hostname: str | None = None
    ssh_keys: tuple[str, ...] = ()
    wifi: str | None = None
    wifi_password: str | None = field(default=None, repr=False)
    wifi_country: str | None = None
    name: str | None = None
    address: str | None = None
    replace: bool = False
    bundle: str | None = None

    def check(self, to: Sequence[Path]) -> None:
        """Refuse what cannot be meant before anything is done.

        Raises:
            UsageError: it cannot be meant.
        """
        if not self.ssh_keys:
            raise UsageError(
                f"nobody could log in as {self.user}: no SSH key is given",
                hint="--ssh-key ~/.ssh/id_ed25519.pub; ssh-keygen -t ed25519 makes one",
            )
        if len(to) > 1 and (self.name or self.hostname or self.address):
            raise UsageError(
                "several disks cannot be one device: a host name and a name are for one",
                hint="leave out --name, --hostname and --address, or flash one after the other",
            )
        if self.wifi is None and (self.wifi_password is not None or self.wifi_country):
            raise UsageError(
                "a Wi-Fi password and a country are for a network, and none is named",
                hint="--wifi SSID",
            )
        if self.name is not None:
            _check_free(self.name, replace=self.replace)
        self._check_unknown()
        if self.bundle is not None:
            resolve_recipe(self.bundle)
        _provision(self, None, ())

    @property
    def place(self) -> SshAddress | None:
        """Where the device will be reached; ``None`` where nothing tells."""
        host = self.address or (f"{own}.local" if (own := self.hostname or self.name) else None)
        if host is None:
            return None
        place = parse_address(f"{self.user}@{host}")
        assert isinstance(place, SshAddress)  # noqa: S101 - it has a user
        return place

    def _check_unknown(self) -> None:
        place = self.place
        if place is not None and not self.replace and is_known_host(place):
            raise UsageError(
                f"another device is known at {place.host}: this one will have another SSH host key",
                hint="--replace if this one takes its place, else choose another --hostname "
                "or --address",
            )


@dataclass(frozen=True)
class PreparedUnit:
    """What was done to the image, one phrase each, and the device's own public key, if any."""

    done: tuple[str, ...]
    host_key: str


def prepare_unit(
    image: Path,
    facts: ImageFacts,
    setup: Setup,
    target: Target,
    *,
    alone: bool = True,
    emit: EventSink = ignore,
) -> PreparedUnit:
    """Edit a copy of an image in place, so that it starts as the device that is wanted.

    Args:
        image: the copy.
        facts: of its inspection.
        setup: what the device is to be.
        target: the kind of board.
        alone: one device starts from it, so that it may be given its own SSH host key; several
            must not share one, so the image's way of making them stays.
        emit: hears of builds and progress.

    Raises:
        FlashError: the image supports no method, or has no room.
        EngineError: the first bundle cannot be built.
    """
    key = new_host_key() if alone else None
    with tempfile.TemporaryDirectory(prefix="edgekit-unit-") as name:
        folder = Path(name) / ".edgekit"
        bundle, software = None, ImageSoftware("", "")
        if setup.bundle is not None:
            bundle, software = FirstBundle(setup.bundle), software_of(image, facts)
        staged = stage(target, software, folder, bundle, emit=emit)
        what = _provision(setup, key, home_files(staged))
        done = provision(image, facts, what, emit)
    return PreparedUnit(done, key.public if key else "")


def remember(setup: Setup, target: Target, host_key: str, emit: EventSink = ignore) -> Path | None:
    """Write the device into the inventory if it has a name there, and trust its host key.

    Returns:
        The file of known hosts; ``None`` where nothing tells where the device will be reached.

    Raises:
        DeviceError: the host key cannot be kept.
        OSError: the inventory cannot be written.
        UsageError: the name was taken meanwhile.
    """
    place = setup.place
    if place is None:
        return None
    try:
        if setup.name is not None:
            add_device(_entry(setup, setup.name, place, target), replace=setup.replace)
        return trust_host_key(place, host_key, replace=setup.replace)
    except (EdgekitError, OSError):
        # Nothing else has the key, and what it stands on need not be flashed anew.
        emit(
            Note(
                "what was flashed is whole, but this machine does not know it; "
                f"its SSH host key is: {place.host} {host_key}",
                warning=True,
            )
        )
        raise


def _entry(setup: Setup, name: str, place: SshAddress, target: Target) -> DeviceEntry:
    return DeviceEntry(
        name=name,
        address=place.host,
        port=place.port,
        user=setup.user,
        target=target.name,
        identity_file=_identity(setup),
    )


def _provision(setup: Setup, key: HostKeyPair | None, files: tuple[HomeFile, ...]) -> Provision:
    wifi = None
    if setup.wifi is not None:
        wifi = Wifi(setup.wifi, setup.wifi_password, setup.wifi_country)
    return Provision(
        user=setup.user,
        authorized_keys=tuple(line for given in setup.ssh_keys for line in _key_lines(given)),
        hostname=setup.hostname or setup.name,
        wifi=wifi,
        host_key=key,
        files=files,
    )


def _key_lines(given: str) -> list[str]:
    """Return the keys that are meant: the text itself, or the lines of the file at that path."""
    if given.startswith(("ssh-", "ecdsa-", "sk-")):
        return [given.strip()]
    try:
        text = Path(given).expanduser().read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"there is no public key in {given}",
            hint="--ssh-key takes a .pub file, or the line that stands in one",
        ) from error
    if "PRIVATE KEY" in text:
        return [text]  # which is refused without being shown
    lines = [line.strip() for line in text.splitlines()]
    keys = [line for line in lines if line and line[0] != "#"]
    if not keys:
        raise UsageError(
            f"there is no public key in {given}, so nobody could log in with it",
            hint="name the file that ssh-keygen made, which ends in .pub",
        )
    return keys


def read_wifi_password(file: Path) -> str:
    """Return a network's password: the file's first line. A file of none is no open network.

    Raises:
        UsageError: it cannot be read, or no password stands there.
    """
    try:
        password = next(iter(file.read_text("utf-8").splitlines()), "")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"cannot read the Wi-Fi password in {file}", hint="its first line is the password"
        ) from error
    if not password:
        raise UsageError(
            f"no Wi-Fi password stands in {file}", hint="its first line is the password"
        )
    return password


def _identity(setup: Setup) -> Path | None:
    """Return the private key that lies beside the first public one, where it does."""
    for given in setup.ssh_keys:
        if given.endswith(".pub"):
            private = Path(given.removesuffix(".pub")).expanduser().absolute()
            if private.is_file():
                return private
    return None


def _check_free(name: str, *, replace: bool) -> None:
    if name in RESERVED:
        raise UsageError(f"{name!r} cannot name a device", hint="choose another --name")
    check_name(name, "device")
    if not replace and any(entry.name == name for entry in load_devices()):
        raise UsageError(
            f"there is a device named {name!r} already",
            hint="--replace if this one takes its place, else choose another --name",
        )
