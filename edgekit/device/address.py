"""Where a device is. Values only; opening one is :func:`edgekit.device.connect`."""

import re
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.errors import UsageError

_SSH = re.compile(
    r"(?:(?P<user>[^@\s/]+)@)?(?P<host>\[[0-9a-fA-F:.%\w]+\]|[^@:\s/\[\]-][^@:\s/\[\]]*)"
    r"(?::(?P<port>\d{1,5}))?"
)
_MAX_PORT = 65535


@dataclass(frozen=True)
class LocalAddress:
    """This machine is the device.

    Attributes:
        root: where the agent keeps what it installs; ``None``: ``EDGEKIT_DEVICE_ROOT`` from
            the environment, or ``~/.edgekit``.
    """

    root: Path | None = None

    def __str__(self) -> str:
        return "local"


@dataclass(frozen=True)
class SshAddress:
    """A device behind SSH. ``None`` leaves a matter to OpenSSH's configuration, then its defaults.

    Attributes:
        host: a name or an address, or a ``Host`` of the OpenSSH configuration.
        identity_file: private key to offer before any other.
        proxy_jump: as OpenSSH's ``ProxyJump``, several with commas.
        known_hosts: file of known host keys.
        config: OpenSSH client configuration; ``None``: ``~/.ssh/config``.
        connect_timeout_s: how long to wait for the host to answer.
    """

    host: str
    user: str | None = None
    port: int | None = None
    identity_file: Path | None = None
    proxy_jump: str | None = None
    known_hosts: Path | None = None
    config: Path | None = None
    connect_timeout_s: float = 10.0

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{user}{host}{f':{self.port}' if self.port else ''}"


Address = LocalAddress | SshAddress


def parse_address(text: str) -> Address:
    """Read ``local`` or ``[user@]host[:port]``.

    An IPv6 address with a port stands in brackets.

    Raises:
        UsageError: it is neither.
    """
    if text == "local":
        return LocalAddress()
    match = _SSH.fullmatch(text)
    if match is None or int(match["port"] or 1) not in range(1, _MAX_PORT + 1):
        raise UsageError(
            f"{text!r} is not the address of a device",
            hint="write local, host, user@host or user@host:port",
        )
    port = int(match["port"]) if match["port"] else None
    return SshAddress(host=match["host"].strip("[]"), user=match["user"], port=port)
