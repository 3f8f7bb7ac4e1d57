"""Links: the way to a host, its key checked, ourselves logged in, and the link watched.

A link that falls silent is told from one that is idle by asking: after
``Limits.ask_after_s`` without a sign of life the host is asked for one, and after
``Limits.lost_after_s`` the link is closed from our side, which wakes whoever waits on it.
"""

import logging
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass

import paramiko
from paramiko.packet import Packetizer

from edgekit.core.errors import UnreachableError
from edgekit.core.events import EventSink
from edgekit.device.ssh_config import SshHost
from edgekit.device.ssh_dial import Stream, dial
from edgekit.device.ssh_keys import authenticate
from edgekit.device.ssh_known_hosts import KnownHosts
from edgekit.device.ssh_trust import check_host_key, signatures_of

# AES-GCM encrypts and authenticates in one call per packet; paramiko asks for it last.
_FIRST_CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
_JOIN_S = 2.0

# Without a handler, logging would print paramiko's tracebacks; what matters is raised.
logging.getLogger("paramiko").addHandler(logging.NullHandler())


@dataclass(frozen=True)
class Limits:
    """How long to wait, in seconds.

    Attributes:
        ask_after_s: silence after which the host is asked whether it lives.
        lost_after_s: silence after which the link counts as lost.
        login_s: for key exchange and login, each.
        open_s: for a command to start.
        end_s: for a command to end once its input is closed.
    """

    ask_after_s: float = 5.0
    lost_after_s: float = 20.0
    login_s: float = 30.0
    open_s: float = 30.0
    end_s: float = 5.0


class _Packets(Packetizer):  # type: ignore[misc] # paramiko carries no types
    """Packets that note when the host was last heard, and acknowledge it at once.

    Before a session is interactive, sshd leaves Nagle's algorithm on: each of its small
    answers would wait 40 ms for the kernel's delayed acknowledgement of the one before.
    """

    def __init__(self, stream: Stream) -> None:
        super().__init__(stream)
        self.heard = time.monotonic()
        self._tcp = _tcp_of(stream)

    def read_message(self) -> tuple[int, paramiko.Message]:
        message: tuple[int, paramiko.Message] = super().read_message()
        self.heard = time.monotonic()
        if self._tcp is not None:
            # The kernel forgets this option, so it is set anew each time.
            with suppress(OSError):
                self._tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return message


def _tcp_of(stream: Stream) -> socket.socket | None:
    families = {socket.AF_INET, socket.AF_INET6}
    if isinstance(stream, socket.socket) and stream.family in families:
        return stream if hasattr(socket, "TCP_QUICKACK") else None
    return None


class _Client(paramiko.Transport):  # type: ignore[misc] # paramiko carries no types
    """A client whose end is always explained in ``saved_exception``."""

    def _parse_disconnect(self, message: paramiko.Message) -> None:
        super()._parse_disconnect(message)
        self.saved_exception = EOFError("the host said goodbye")


class Link:
    """A connection to one host, logged in and watched, with those it goes through."""

    def __init__(self, host: SshHost, through: "Link | None", limits: Limits) -> None:
        self.host = host
        self.limits = limits
        self._through = through
        self._closing = threading.Event()
        self._lost_before_close = False
        self._watchers: list[threading.Thread] = []
        self._stream = dial(host, through.transport if through else None)
        self.transport: paramiko.Transport = _Client(self._stream, packetizer_class=_Packets)
        self.transport.banner_timeout = limits.login_s
        self.transport.handshake_timeout = limits.login_s
        self.transport.auth_timeout = limits.login_s
        self.silent_s: float | None = None

    @property
    def lost(self) -> bool:
        """Whether the link broke, rather than ended by our own wish."""
        if self._closing.is_set():
            return self._lost_before_close
        return self.transport.saved_exception is not None or not self.transport.is_active()

    @property
    def loss(self) -> str:
        """How the link was lost, in words."""
        if self.silent_s is not None:
            return f"no sign of life for {self.silent_s:.0f} s"
        return "the link was cut"

    def watch(self) -> None:
        """Start to watch the link."""
        for name, work in (("ask", self._ask), ("judge", self._judge)):
            thread = threading.Thread(
                target=work, name=f"edgekit-ssh-{name}-{self.host.name}", daemon=True
            )
            thread.start()
            self._watchers.append(thread)

    def close(self) -> None:
        """Close the link and those it goes through; wait for their threads."""
        self._lost_before_close = self.lost
        self._closing.set()
        self._shut()
        # A handshake that broke leaves a timer behind, which would keep the process alive.
        self.transport.packetizer.complete_handshake()
        self.transport.close()
        # A thread that was never started has nothing to close the stream for it.
        self._stream.close()
        threads: tuple[threading.Thread, ...] = (*self._watchers, self.transport)
        for thread in threads:
            if thread.is_alive() and thread is not threading.current_thread():
                thread.join(_JOIN_S)
        if self._through is not None:
            self._through.close()

    def _ask(self) -> None:
        """Ask for a sign of life when there was none for a while."""
        while not self._closing.wait(self.limits.ask_after_s / 2) and self.transport.is_active():
            if self._silence_s() < self.limits.ask_after_s:
                continue
            try:
                # Any answer will do, a refusal too. Ends by itself when the link does.
                self.transport.global_request("keepalive@openssh.com", wait=True)
            except (paramiko.SSHException, EOFError, OSError):
                return

    def _judge(self) -> None:
        """Close a link that is silent for too long; never waits on the link itself."""
        pause_s = min(1.0, self.limits.lost_after_s / 10)
        woken = time.monotonic()
        while not self._closing.wait(pause_s) and self.transport.is_active():
            slept_s, woken = time.monotonic() - woken, time.monotonic()
            if slept_s > pause_s + self.limits.ask_after_s:
                # It was this process that stopped (Ctrl-Z): the host has a right to be asked.
                self.transport.packetizer.heard = woken
            silence_s = self._silence_s()
            if silence_s > self.limits.lost_after_s:
                self.silent_s = silence_s
                self.transport.saved_exception = EOFError("silence")
                self._shut()
                self.transport.close()
                return

    def _shut(self) -> None:
        """Wake the threads that sleep in the stream."""
        with suppress(OSError):  # it may be gone already
            self._stream.shutdown(socket.SHUT_RDWR)

    def _silence_s(self) -> float:
        heard: float = self.transport.packetizer.heard
        return time.monotonic() - heard


def open_link(host: SshHost, *, emit: EventSink, accept_new: bool, limits: Limits) -> Link:
    """Connect to a host, through its jump hosts if it has any, and log in.

    Raises:
        UnreachableError: no SSH server answers there.
        HostKeyError: its key is unknown, revoked, or not the one known.
        AuthenticationError: it takes none of our keys.
        ConnectionLostError: the link broke meanwhile.
    """
    through = None
    if host.jump is not None:
        through = open_link(host.jump, emit=emit, accept_new=accept_new, limits=limits)
    try:
        link = Link(host, through, limits)
    except BaseException:
        if through is not None:
            through.close()
        raise
    try:
        _shake_hands(link, emit, accept_new=accept_new)
        authenticate(link.transport, host)
        link.watch()
    except BaseException:
        link.close()
        raise
    return link


def _shake_hands(link: Link, emit: EventSink, *, accept_new: bool) -> None:
    host, transport = link.host, link.transport
    known = KnownHosts(host.known_hosts)
    options = transport.get_security_options()
    options.ciphers = _first(_FIRST_CIPHERS, options.ciphers)
    # Ask first for the types of key that can be checked.
    wanted = signatures_of(known.key_types(host.known_as))
    options.key_types = _first(wanted, options.key_types)
    try:
        # A timeout here would return as if all were well; the transport has its own.
        transport.start_client()
        shown = transport.get_remote_server_key()
    except (paramiko.SSHException, EOFError, OSError) as error:
        raise UnreachableError(
            f"{host.hostname} port {host.port} answers, but not as an SSH server should: {error}",
            hint="check the port; if it is right, look at the board's sshd log",
        ) from error
    check_host_key(shown, host, known, emit=emit, accept_new=accept_new)


def _first(wanted: tuple[str, ...], offered: tuple[str, ...]) -> tuple[str, ...]:
    """Reorder ``offered`` so that what is wanted stands in front."""
    front = tuple(name for name in wanted if name in offered)
    return front + tuple(name for name in offered if name not in front)
