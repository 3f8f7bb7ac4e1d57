"""Proving who we are: the agent's keys and key files, in the order of OpenSSH."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.agent import AgentSSH

from edgekit.core.errors import AuthenticationError, ConnectionLostError
from edgekit.device.ssh_config import SshHost

_AGENT_TIMEOUT_S = 10.0


class _Agent(AgentSSH):  # type: ignore[misc] # paramiko carries no types
    """An agent at a given socket; paramiko's own looks only at ``SSH_AUTH_SOCK``."""

    def __init__(self, socket_path: Path) -> None:
        import socket

        super().__init__()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_AGENT_TIMEOUT_S)
        try:
            connection.connect(str(socket_path))
            self._connect(connection)
        except (OSError, paramiko.SSHException):
            connection.close()
            raise

    def close(self) -> None:
        self._close()


@dataclass
class _Attempts:
    """What was tried, for the error message; and what would have helped."""

    tried: list[str] = field(default_factory=list)
    locked: list[Path] = field(default_factory=list)


def authenticate(transport: paramiko.Transport, host: SshHost) -> None:
    """Log in with the first key that the host takes.

    Raises:
        AuthenticationError: no key was taken; the message lists what was tried.
        ConnectionLostError: the link broke meanwhile.
    """
    allowed = _ask_methods(transport, host)
    if allowed is None:
        return
    attempts = _Attempts()
    if "publickey" not in allowed:
        raise AuthenticationError(
            f"{host.name} takes no keys, only {', '.join(allowed) or 'nothing'}",
            hint="set PubkeyAuthentication yes in the board's /etc/ssh/sshd_config",
        )
    agent = _open_agent(host, attempts)
    try:
        for title, key in _Ring(agent, attempts).in_order(host):
            if _offer(transport, host, key, title, attempts):
                return
    finally:
        if agent is not None:
            agent.close()
    raise _refused(host, attempts)


def _ask_methods(transport: paramiko.Transport, host: SshHost) -> list[str] | None:
    """Ask what the host takes; ``None`` if it lets us in without any proof."""
    try:
        transport.auth_none(host.user)
    except paramiko.BadAuthenticationType as answer:
        return list(answer.allowed_types)
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise ConnectionLostError(
            f"{host.name} hung up before any key was offered",
            hint=f"look at the board's sshd log; its limits may refuse us ({error})",
        ) from error
    return None


def _open_agent(host: SshHost, attempts: _Attempts) -> _Agent | None:
    if host.agent_socket is None:
        return None
    try:
        return _Agent(host.agent_socket)
    except (OSError, paramiko.SSHException) as error:
        attempts.tried.append(f"agent {host.agent_socket}: no answer ({error})")
        return None


class _Ring:
    """The keys at hand, each given out once."""

    def __init__(self, agent: _Agent | None, attempts: _Attempts) -> None:
        self._held = {key.asbytes(): key for key in agent.get_keys()} if agent else {}
        self._given: set[bytes] = set()
        self._attempts = attempts

    def in_order(self, host: SshHost) -> Iterator[tuple[str, paramiko.PKey]]:
        """Yield the keys to offer, with their titles, in the order of OpenSSH.

        First the key that the user chose, then agent keys that a file names, other agent
        keys, and last the files that the agent does not hold.
        """
        for path in filter(None, [host.chosen_identity]):
            yield from self._from_agent(_public_blob(path))
            yield from self._from_file(path)
        for path in host.identity_files:
            yield from self._from_agent(_public_blob(path))
        if not host.identities_only:
            for blob in self._held:
                yield from self._from_agent(blob)
        for path in filter(Path.exists, host.identity_files):
            yield from self._from_file(path)

    def _from_agent(self, blob: bytes | None) -> Iterator[tuple[str, paramiko.PKey]]:
        if blob is not None and blob in self._held and blob not in self._given:
            self._given.add(blob)
            key = self._held[blob]
            yield f"agent key {key.comment or key.get_name()}", key

    def _from_file(self, path: Path) -> Iterator[tuple[str, paramiko.PKey]]:
        if _public_blob(path) in self._given:
            return
        key = _load(path, self._attempts)
        if key is not None and key.asbytes() not in self._given:
            self._given.add(key.asbytes())
            yield f"{path} ({key.get_name()})", key


def _public_blob(path: Path) -> bytes | None:
    """Read the public half beside a private key: that much is open even when it is locked."""
    public = path if path.suffix == ".pub" else path.with_name(path.name + ".pub")
    with suppress(OSError, ValueError, IndexError):
        import base64

        return base64.b64decode(public.read_text(encoding="utf-8").split()[1])
    return None


def _load(path: Path, attempts: _Attempts) -> paramiko.PKey | None:
    try:
        return paramiko.PKey.from_path(path)
    except (paramiko.PasswordRequiredException, TypeError):
        # cryptography says TypeError for a password that is missing.
        attempts.locked.append(path)
        attempts.tried.append(f"{path}: locked by a passphrase, and no agent holds it")
    except (OSError, ValueError, paramiko.SSHException, UnsupportedAlgorithm) as error:
        attempts.tried.append(f"{path}: cannot be read ({error})")
    except paramiko.UnknownKeyType:
        attempts.tried.append(f"{path}: a kind of key that paramiko does not know")
    return None


def _offer(
    transport: paramiko.Transport,
    host: SshHost,
    key: paramiko.PKey,
    title: str,
    attempts: _Attempts,
) -> bool:
    try:
        further: Any = transport.auth_publickey(host.user, key)
    except paramiko.SSHException as error:
        if transport.is_active():
            attempts.tried.append(f"{title}: refused")
            return False
        # An agent that will not sign ends the link from our side.
        attempts.tried.append(f"{title}: {error}")
        raise AuthenticationError(
            f"{host.name} hung up after {len(attempts.tried)} keys for user {host.user}: "
            + "; ".join(attempts.tried),
            hint="name the one right key: IdentityFile and IdentitiesOnly yes in ~/.ssh/config, "
            "or identity_file for the device",
        ) from error
    except (EOFError, OSError) as error:
        raise ConnectionLostError(
            f"the link to {host.name} broke while logging in", hint="try again"
        ) from error
    if further:
        raise AuthenticationError(
            f"{host.name} took {title} but wants {', '.join(further)} as well",
            hint="edgekit logs in by key alone; allow that for this user on the board",
        )
    return True


def _refused(host: SshHost, attempts: _Attempts) -> AuthenticationError:
    tried = "; ".join(attempts.tried) or "no key was found"
    port = f" -p {host.port}" if host.port != 22 else ""  # noqa: PLR2004 - SSH's own port
    hint = f"put your key on the board: ssh-copy-id{port} {host.user}@{host.hostname}"
    if attempts.locked:
        hint = f"unlock it first: ssh-add {attempts.locked[0]}"
    return AuthenticationError(
        f"{host.name} refused every key for user {host.user}: {tried}", hint=hint
    )
