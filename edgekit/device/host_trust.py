"""Trust in a device that has not been seen yet: its key was made here and put into its image."""

import base64
import binascii
from pathlib import Path

from edgekit.catalog.cache import write_atomically
from edgekit.core.errors import HostKeyError
from edgekit.device.address import SshAddress
from edgekit.device.ssh_config import SshHost, resolve
from edgekit.device.ssh_known_hosts import Entry, HostKey, KnownHosts, append_key


def is_known_host(address: SshAddress) -> bool:
    """Tell whether some key is known for this address already."""
    host = resolve(address)
    return bool(KnownHosts(host.known_hosts).key_types(host.known_as))


def trust_host_key(address: SshAddress, public: str, *, replace: bool = False) -> Path:
    """Write a device's key to the file of known hosts, so that its first connection is trusted.

    Args:
        address: as the device will be connected to; what OpenSSH's configuration says of it
            holds (alias, port, file).
        public: ``ssh-ed25519 <base64>``.
        replace: forget the keys that are known for this address, as for a device that is flashed
            anew.

    Returns:
        The file that holds the key.

    Raises:
        HostKeyError: another key is known and ``replace`` was not asked for, this one is
            revoked, or no file can be written.
    """
    host, key = resolve(address), _parsed(public)
    verdict = KnownHosts(host.known_hosts).judge(host.known_as, key)
    if verdict.standing == "known":
        return verdict.entries[0].path
    if not host.known_hosts:
        raise HostKeyError(
            f"the host key of {host.known_as} cannot be kept: no known_hosts file is configured",
            hint="name one with UserKnownHostsFile in ~/.ssh/config",
        )
    if verdict.standing == "revoked" or (verdict.standing == "changed" and not replace):
        entry = verdict.entries[0]
        raise HostKeyError(
            f"{host.known_as} is known by another key: {entry.path} line {entry.line}",
            hint=f"if that device is no more: ssh-keygen -f {entry.path} -R '{host.known_as}'; "
            "else choose another host name",
        )
    try:
        for entry in reversed(verdict.entries):
            _forget(entry, host)
        append_key(host.known_hosts[0], host.known_as, key, hashed=host.hash_names)
    except OSError as error:
        raise HostKeyError(
            f"the host key of {host.known_as} cannot be written: {error}",
            hint="mend the file's owner and mode",
        ) from error
    return host.known_hosts[0]


def _parsed(public: str) -> HostKey:
    try:
        kind, encoded = public.split()[:2]
        return HostKey(kind, base64.b64decode(encoded, validate=True))
    except (ValueError, binascii.Error) as error:
        raise HostKeyError("the device's public key cannot be read", hint="make it anew") from error


def _forget(entry: Entry, host: SshHost) -> None:
    """Take the host out of one line; the line stays where it speaks of others too."""
    rest = [name for name in entry.names if name.lower() != host.known_as]
    hashed = len(entry.names) == 1 and entry.names[0].startswith("|")
    if len(rest) == len(entry.names) and not hashed:
        raise HostKeyError(
            f"{entry.path} line {entry.line} speaks of {host.known_as} by a pattern",
            hint="change that line by hand",
        )
    lines = entry.path.read_text("utf-8", errors="surrogateescape").splitlines(keepends=True)
    at = entry.line - 1
    names = ",".join(entry.names)
    kept = lines[at].replace(names, ",".join(rest), 1) if rest and not hashed else ""
    lines[at : at + 1] = [kept] if kept else []
    mode = entry.path.stat().st_mode & 0o777
    text = "".join(lines).encode("utf-8", errors="surrogateescape")
    write_atomically(entry.path, text, mode=mode)
