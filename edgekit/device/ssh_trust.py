"""Host keys: whether a host is the one it is taken for."""

import paramiko

from edgekit.core.errors import HostKeyError
from edgekit.core.events import EventSink, Note
from edgekit.device.ssh_config import SshHost
from edgekit.device.ssh_known_hosts import HostKey, KnownHosts, Verdict, append_key

_SIGNATURES = {"ssh-rsa": ("rsa-sha2-512", "rsa-sha2-256")}


def signatures_of(key_types: tuple[str, ...]) -> tuple[str, ...]:
    """Return the algorithms by which keys of these types sign, best first."""
    return tuple(name for kind in key_types for name in _SIGNATURES.get(kind, (kind,)))


def check_host_key(
    shown: paramiko.PKey, host: SshHost, known: KnownHosts, *, emit: EventSink, accept_new: bool
) -> None:
    """Return if the key that ``host`` has shown may be trusted.

    Raises:
        HostKeyError: it is unknown and ``accept_new`` was not given, or it is revoked, or the
            host is known by another.
    """
    key = HostKey(shown.get_name(), shown.asbytes())
    verdict = known.judge(host.known_as, key)
    if verdict.standing == "known":
        return
    if verdict.standing != "unknown":
        raise _distrust(host, key, verdict)
    if not accept_new:
        raise HostKeyError(
            f"the host key of {host.known_as} is unknown: {key}",
            hint="compare it with `ssh-keygen -lf /etc/ssh/ssh_host_*_key.pub` on the board; "
            "then pass --accept-new to trust it from now on",
        )
    _accept(host, key, emit)


def _accept(host: SshHost, key: HostKey, emit: EventSink) -> None:
    if not host.known_hosts:
        raise HostKeyError(
            f"the host key of {host.known_as} cannot be kept: no known_hosts file is configured",
            hint="name one with UserKnownHostsFile in ~/.ssh/config",
        )
    path = host.known_hosts[0]
    try:
        append_key(path, host.known_as, key, hashed=host.hash_names)
    except OSError as error:
        raise HostKeyError(
            f"the host key of {host.known_as} cannot be written to {path}: {error.strerror}",
            hint="mend the file's owner and mode",
        ) from error
    emit(
        Note(
            f"host key of {host.known_as} accepted without proof and added to {path}: {key}",
            warning=True,
        )
    )


def _distrust(host: SshHost, key: HostKey, verdict: Verdict) -> HostKeyError:
    entry = verdict.entries[0]
    where = f"{entry.path} line {entry.line}"
    if verdict.standing == "revoked":
        return HostKeyError(
            f"the host key of {host.known_as} is revoked in {where}: {key}",
            hint="do not connect; give the board a new host key",
        )
    known = ", ".join(dict.fromkeys(str(item.key) for item in verdict.entries))
    return HostKeyError(
        f"the host key of {host.known_as} has changed: it shows {key}, but {where} knows {known}",
        hint="someone may stand between you and the board; if you did reinstall it: "
        f"ssh-keygen -f {entry.path} -R '{host.known_as}'",
    )
