"""A device behind SSH: one connection, watched, with a channel for every command.

``ssh*.py`` are the only files that know paramiko.
"""

import shlex
import threading
import time
from collections.abc import Sequence

import paramiko

from edgekit.core.errors import ConnectionLostError, UnreachableError
from edgekit.core.events import EventSink, ignore
from edgekit.device.address import SshAddress
from edgekit.device.ssh_config import resolve
from edgekit.device.ssh_link import Limits, Link, open_link

_DIAGNOSTICS_BYTES = 16 << 10
_DRAIN_BYTES = 32 << 10
_JOIN_S = 2.0
_RESUME_HINT = "check power and network, then run the same command again: it resumes"


class SshStream:
    """The standard streams of a command. See ``edgekit.core.contracts.AgentStream``."""

    def __init__(self, channel: paramiko.Channel, link: Link) -> None:
        self._channel = channel
        self._link = link
        self._errors = bytearray()
        # What nobody reads fills the channel's one window and would stop the command.
        self._drain = threading.Thread(
            target=self._drain_errors, name=f"edgekit-ssh-stderr-{link.host.name}", daemon=True
        )
        self._drain.start()

    def read(self, size: int) -> bytes:
        """Read up to ``size`` bytes; ``b""`` at the end.

        Raises:
            ConnectionLostError: the link broke before the end.
        """
        try:
            data: bytes = self._channel.recv(size)
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost() from error
        if not data and not self._channel.eof_received and self._link.lost:
            raise self._lost()
        return data

    def write(self, data: bytes | memoryview) -> None:
        """Write all of ``data``.

        Raises:
            ConnectionLostError: the link broke, or the command ended.
        """
        left = memoryview(data).cast("B")
        try:
            while left:
                sent = self._channel.send(left)
                if not sent:
                    raise self._lost()
                left = left[sent:]
        except (OSError, EOFError, paramiko.SSHException) as error:
            raise self._lost() from error
        if self._link.lost:
            # Paramiko drops what is sent into a link that has just died, and says nothing.
            raise self._lost()

    def diagnostics(self) -> str:
        """Return the end of what the command wrote to standard error so far."""
        return bytes(self._errors).decode(errors="replace")

    def close(self) -> int | None:
        """Close the command's input, which ends it; return its exit status if it has one."""
        channel = self._channel
        try:
            channel.shutdown_write()
            self._await_end()
            channel.close()
        except (OSError, EOFError, paramiko.SSHException):
            # The link is gone, and the channel with it.
            channel.close()
        self._drain.join(_JOIN_S)
        status: int = channel.exit_status
        return status if status >= 0 else None

    def _await_end(self) -> None:
        """Wait for the command's end, dropping what it still has to say."""
        channel = self._channel
        deadline = time.monotonic() + self._link.limits.end_s
        while not channel.exit_status_ready() and time.monotonic() < deadline:
            while channel.recv_ready():
                channel.recv(_DRAIN_BYTES)
            channel.status_event.wait(0.05)

    def _drain_errors(self) -> None:
        try:
            while data := self._channel.recv_stderr(_DRAIN_BYTES):
                self._errors += data
                del self._errors[:-_DIAGNOSTICS_BYTES]
        except (OSError, EOFError, paramiko.SSHException):
            return

    def _lost(self) -> ConnectionLostError:
        name = self._link.host.name
        # A writer learns of a broken link before the transport does: hear it out first.
        # What the command said last may still be on its way as well.
        self._channel.status_event.wait(_JOIN_S)
        if self._link.lost:
            return ConnectionLostError(
                f"lost {name} in mid-work: {self._link.loss}", hint=_RESUME_HINT
            )
        self._drain.join(_JOIN_S)
        said = self.diagnostics().strip().splitlines()
        return ConnectionLostError(
            f"the command on {name} ended before it had read all its input",
            hint=f"it said: {said[-1]}" if said else _RESUME_HINT,
        )


class SshTransport:
    """Runs commands on a device behind SSH. See ``edgekit.core.contracts.Transport``.

    Args:
        address: where the device is; what it leaves open, OpenSSH's configuration fills in.
        emit: takes a warning when a new host key is accepted.
        accept_new: trust a host key that is unknown so far, and keep it. A key that has
            changed is refused all the same.
        limits: how long to wait for what.

    Raises:
        UnreachableError: no SSH server answers there.
        HostKeyError: its key is unknown, revoked, or not the one known.
        AuthenticationError: it takes none of our keys.
        ConnectionLostError: the link broke meanwhile.
        UsageError: the OpenSSH configuration is wrong.
    """

    def __init__(
        self,
        address: SshAddress,
        *,
        emit: EventSink = ignore,
        accept_new: bool = False,
        limits: Limits | None = None,
    ) -> None:
        self._name = str(address)
        self._streams: list[SshStream] = []
        self._link = open_link(
            resolve(address), emit=emit, accept_new=accept_new, limits=limits or Limits()
        )

    @property
    def name(self) -> str:
        """What the user calls the device."""
        return self._name

    def open(self, command: Sequence[str]) -> SshStream:
        """Start ``command`` in the login shell of the user, with its streams attached.

        Raises:
            ConnectionLostError: the link broke.
            UnreachableError: the host opens no further channel, or runs no command.
        """
        channel = None
        try:
            channel = self._link.transport.open_session(timeout=self._link.limits.open_s)
            channel.exec_command(shlex.join(command))
        except (OSError, EOFError, paramiko.SSHException) as error:
            if channel is not None:
                channel.close()
            # Only a broken link ends in EOFError or OSError; a refusal has a class of its own.
            if self._link.lost or not isinstance(error, paramiko.SSHException):
                raise ConnectionLostError(
                    f"lost {self.name}: {self._link.loss}", hint=_RESUME_HINT
                ) from error
            raise UnreachableError(
                f"{self.name} does not start {command[0]}: {error}",
                hint="look at MaxSessions, ForceCommand and the login shell on the board",
            ) from error
        stream = SshStream(channel, self._link)
        self._streams.append(stream)
        return stream

    def close(self) -> None:
        """End every command that still runs, and give the connection back."""
        while self._streams:
            self._streams.pop().close()
        self._link.close()
