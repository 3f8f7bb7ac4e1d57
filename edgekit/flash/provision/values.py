"""What a device is to be when it boots for the first time; nothing that is wrong gets past here."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from edgekit.flash.provision import checks


@dataclass(frozen=True)
class Wifi:
    """A network protected by WPA2, or open where there is no password.

    Attributes:
        password: the passphrase of 8 to 63 characters; ``None``: the network is open.
        country: where the device stands, as ISO 3166 (``GB``); some images keep their radio
            off until they know.
        hidden: whether the network does not tell its name.
    """

    ssid: str
    password: str | None = field(default=None, repr=False)
    country: str | None = None
    hidden: bool = False

    def __post_init__(self) -> None:
        """Refuse what can be no network.

        Raises:
            UsageError: name, password or country cannot be meant.
        """
        checks.check_ssid(self.ssid)
        if self.password is not None:
            checks.check_passphrase(self.password)
        if self.country is not None:
            checks.check_country(self.country)


@dataclass(frozen=True)
class HostKeyPair:
    """The device's own SSH key, made on the host (:func:`keys.new_host_key`).

    Attributes:
        private: in OpenSSH's form, without a passphrase.
        public: ``ssh-ed25519 <base64>``.
    """

    private: str = field(repr=False)
    public: str

    def __post_init__(self) -> None:
        """Refuse halves that have been swapped.

        Raises:
            UsageError: one of them is not what its name says.
        """
        checks.check_host_key(self.private, self.public)


@dataclass(frozen=True)
class HomeFile:
    """One thing to put below the user's home folder.

    Attributes:
        path: relative to the home folder, such as ``.edgekit/store/<sha256>``.
        source: the host's file that holds the content; with neither ``source`` nor ``link``
            this is a folder.
        link: what a symbolic link leads to.
    """

    path: str
    source: Path | None = None
    mode: int = 0o644
    link: str | None = None

    def __post_init__(self) -> None:
        """Refuse what would leave the home folder.

        Raises:
            UsageError: path, mode or link cannot be meant.
        """
        checks.check_home_path(self.path)
        checks.check_mode(self.path, self.mode)
        if self.link is not None:
            checks.check_link(self.path, self.link)
            if self.source is not None:
                raise checks.wrong(f"{self.path} cannot be a file and a link", "name one of them")


@dataclass(frozen=True)
class Unit:
    """A systemd unit that is put in and wanted by ``multi-user.target``."""

    name: str
    text: str

    def __post_init__(self) -> None:
        """Refuse what can be no unit.

        Raises:
            UsageError: the name or the text cannot be meant.
        """
        checks.check_unit(self.name, self.text)


@dataclass(frozen=True)
class Provision:
    """What a device is to be when it boots for the first time.

    Attributes:
        user: who edgekit logs in as; made if the image has no such user, password locked.
        authorized_keys: public keys, one ``type base64 comment`` each.
        hostname: ``None`` leaves the image's own.
        host_key: the device's SSH key; ``None`` leaves it to the image.
        sudo: whether the user may become root without a password.
        files: what goes below the user's home folder, folders of their own included if they
            need another mode than 0755.
    """

    user: str
    authorized_keys: tuple[str, ...] = ()
    hostname: str | None = None
    wifi: Wifi | None = None
    host_key: HostKeyPair | None = None
    sudo: bool = True
    files: tuple[HomeFile, ...] = ()
    units: tuple[Unit, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what can be no device.

        Raises:
            UsageError: something given cannot be meant.
        """
        checks.check_user(self.user)
        if self.hostname is not None:
            checks.check_hostname(self.hostname)
        for line in self.authorized_keys:
            checks.check_public_key(line)
        for kind, names in (
            ("file", [item.path for item in self.files]),
            ("unit", [item.name for item in self.units]),
        ):
            if twice := [name for name, count in Counter(names).items() if count > 1]:
                which = ", ".join(twice)
                raise checks.wrong(f"the same {kind} is given twice: {which}", "name each once")
