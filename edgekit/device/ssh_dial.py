"""Dialling: a stream of bytes to a host's SSH server, straight, by command, or by tunnel."""

import os
import socket
import subprocess
from typing import Protocol

import paramiko

from edgekit.core.errors import UnreachableError
from edgekit.device.ssh_config import SshHost

_END_S = 2.0


class Stream(Protocol):
    """What paramiko asks of a socket; a tunnel's channel has it too."""

    def settimeout(self, timeout: float | None, /) -> None:
        """Set how long to wait in ``send`` and ``recv``."""

    def send(self, data: bytes, /) -> int:
        """Send some of ``data``; return how much."""

    def recv(self, size: int, /) -> bytes:
        """Receive up to ``size`` bytes; ``b""`` at the end."""

    def shutdown(self, how: int, /) -> object:
        """Wake whoever waits here, and let nobody wait again."""

    def close(self) -> None:
        """Give the stream back."""


class _ProxySocket(socket.socket):
    """Our end of a ProxyCommand's standard streams; closing it ends the command.

    Paramiko's own class loops for ever once the command has died.
    """

    def __init__(self, command: str) -> None:
        ours, theirs = socket.socketpair()
        super().__init__(fileno=ours.detach())
        with theirs:
            # The user's own shell, as OpenSSH does: the command is a line of shell.
            self._process = subprocess.Popen(
                [os.environ.get("SHELL", "/bin/sh"), "-c", f"exec {command}"],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                start_new_session=True,
            )

    def close(self) -> None:
        super().close()
        if self._process.poll() is not None:
            return
        self._process.terminate()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def dial(host: SshHost, through: paramiko.Transport | None) -> Stream:
    """Open a stream to ``host``; ``through`` is the transport of its jump host, if any.

    Raises:
        UnreachableError: nothing answers there.
    """
    if host.proxy_command is not None:
        return _run_proxy(host, host.proxy_command)
    if through is not None:
        return _tunnel(host, through)
    return _connect(host)


def _run_proxy(host: SshHost, command: str) -> Stream:
    try:
        return _ProxySocket(command)
    except OSError as error:
        raise UnreachableError(
            f"the ProxyCommand for {host.name} did not start: {error}",
            hint=f"try it by hand: {command}",
        ) from error


def _tunnel(host: SshHost, through: paramiko.Transport) -> Stream:
    jump = host.jump.name if host.jump else "the jump host"
    try:
        tunnel: Stream = through.open_channel(
            "direct-tcpip",
            (host.hostname, host.port),
            ("127.0.0.1", 0),
            timeout=host.connect_timeout_s,
        )
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(
            f"{host.hostname} port {host.port} cannot be reached from {jump}: {error}",
            hint=f"try it there: ssh {jump} nc -vz {host.hostname} {host.port}",
        ) from error
    return tunnel


def _connect(host: SshHost) -> Stream:
    place = f"{host.hostname} port {host.port}"
    try:
        stream = socket.create_connection(
            (host.hostname, host.port), timeout=host.connect_timeout_s
        )
    except socket.gaierror as error:
        raise UnreachableError(
            f"the name {host.hostname} cannot be resolved: {error.strerror}",
            hint="check the spelling; give the board's address, or add it to ~/.ssh/config",
        ) from error
    except ConnectionRefusedError as error:
        raise UnreachableError(
            f"{place} refuses the connection",
            hint="the board is up but no sshd listens there: start it, or give the right port",
        ) from error
    except TimeoutError as error:
        raise UnreachableError(
            f"{place} timed out: no answer within {host.connect_timeout_s:g} s",
            hint="check that the board is powered and on this network: ping it",
        ) from error
    except OSError as error:
        raise UnreachableError(
            f"{place} cannot be reached: {error.strerror or error}",
            hint="check the network between here and the board",
        ) from error
    stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return stream
