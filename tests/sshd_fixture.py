"""A real sshd on loopback, with a home, keys and configuration of its own.

``sshd`` is one that runs; ``make_sshd(**options)`` makes more. Nothing of the user's own
``~/.ssh`` is read or written: ``own_home`` points HOME to an empty folder for the test.
"""

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from edgekit.device.address import SshAddress

START_TIMEOUT_S = 20.0


class Sshd:
    """One sshd. ``folder`` holds all that is its own; ``home`` is HOME of its sessions."""

    def __init__(self, folder: Path, options: Mapping[str, str]) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.host_key = folder / "host_key"
        self.identity = folder / "id_client"
        self.known_hosts = folder / "known_hosts"
        self.authorized_keys = folder / "authorized_keys"
        self.port = _free_port()
        self.user = getpass.getuser()
        self._options = dict(options)
        self._process: subprocess.Popen[bytes] | None = None
        make_key(self.host_key)
        make_key(self.identity)
        shutil.copy(self.identity.with_suffix(".pub"), self.authorized_keys)
        self.trust()

    @property
    def address(self) -> SshAddress:
        """The address, with key and known_hosts given."""
        return SshAddress(
            "127.0.0.1",
            user=self.user,
            port=self.port,
            identity_file=self.identity,
            known_hosts=self.known_hosts,
        )

    @property
    def known_as(self) -> str:
        return f"[127.0.0.1]:{self.port}"

    @property
    def public_host_key(self) -> str:
        """Type and key, as they stand in known_hosts."""
        return " ".join(self.host_key.with_suffix(".pub").read_text().split()[:2])

    def trust(self) -> None:
        """Write the true host key to ``known_hosts``."""
        self.known_hosts.write_text(f"{self.known_as} {self.public_host_key}\n")

    def start(self) -> None:
        config = self.folder / "sshd_config"
        settings = {
            "Port": str(self.port),
            "ListenAddress": "127.0.0.1",
            "HostKey": str(self.host_key),
            "AuthorizedKeysFile": str(self.authorized_keys),
            "PidFile": "none",
            "UsePAM": "no",
            "StrictModes": "no",
            "PasswordAuthentication": "no",
            "KbdInteractiveAuthentication": "no",
            "PermitRootLogin": "yes",
            "PrintMotd": "no",
            "LogLevel": "VERBOSE",
            "MaxStartups": "100",
            "Subsystem": "sftp internal-sftp",
            "SetEnv": f"HOME={self.home}",
            **self._options,
        }
        config.write_text("".join(f"{key} {value}\n" for key, value in settings.items()))
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [_sshd(), "-D", "-e", "-f", str(config)], stdin=subprocess.DEVNULL, stderr=log
            )
        deadline = time.monotonic() + START_TIMEOUT_S
        while not _answers(self.port):
            if self._process.poll() is not None or time.monotonic() > deadline:
                self.stop()
                pytest.fail(f"sshd did not start:\n{self.log}")
            time.sleep(0.02)

    @property
    def log(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def sessions(self) -> list[int]:
        """Process ids of the sshd processes that serve connections, children included."""
        assert self._process is not None
        return [pid for pid in _descendants(self._process.pid) if _comm(pid).startswith("sshd")]

    def signal_sessions(self, number: signal.Signals) -> None:
        for pid in self.sessions():
            _signal(pid, number)

    def stop(self) -> None:
        """Stop it and what its sessions run."""
        if self._process is None:
            return
        for pid in _descendants(self._process.pid):
            _signal(pid, signal.SIGKILL)
        self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process = None


MakeSshd = Callable[..., Sshd]


@pytest.fixture
def make_sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MakeSshd]:
    """Make a running sshd; keyword arguments are lines of its configuration."""
    running: list[Sshd] = []
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)  # its privilege separation folder
    _sshd()

    def make(**options: str) -> Sshd:
        sshd = Sshd(tmp_path_factory.mktemp("sshd") / "it", options)
        running.append(sshd)
        sshd.start()
        return sshd

    yield make
    for sshd in running:
        sshd.stop()


@pytest.fixture
def sshd(make_sshd: MakeSshd) -> Sshd:
    """A running sshd that takes ``sshd.identity``."""
    return make_sshd()


@pytest.fixture
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty HOME without an agent, for the side of the client."""
    home = tmp_path / "client-home"
    (home / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return home


def make_key(path: Path, *, passphrase: str = "", kind: str = "ed25519") -> None:
    """Make a key pair at ``path`` and ``path``.pub."""
    command = ["ssh-keygen", "-q", "-t", kind, "-N", passphrase, "-C", path.name, "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


def _sshd() -> str:
    path = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
    if path is None or shutil.which("ssh-keygen") is None:
        pytest.skip("no sshd here: apt-get install openssh-server openssh-client")
    return path


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as probe:
            return probe.recv(4) == b"SSH-"
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _comm(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _descendants(root: int) -> list[int]:
    """Return all processes below ``root``, from /proc."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue
        parent = int(stat.rpartition(")")[2].split()[1])
        children.setdefault(parent, []).append(int(folder.name))
    found: list[int] = []
    todo = [root]
    while todo:
        below = children.get(todo.pop(), [])
        found += below
        todo += below
    return found
