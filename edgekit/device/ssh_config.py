"""How a host is reached: what the user said, completed from the OpenSSH configuration.

``StrictHostKeyChecking`` is left aside on purpose: edgekit's own rule holds for every host.
"""

import getpass
import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.core.errors import UsageError
from edgekit.device.address import SshAddress
from edgekit.device.ssh_known_hosts import SSH_PORT, lookup_name

DEFAULT_IDENTITIES = ("id_ed25519", "id_ecdsa", "id_rsa")
_DEEPEST_JUMP = 8
_DEEPEST_INCLUDE = 16  # Source: OpenSSH readconf.c, READCONF_MAX_DEPTH


@dataclass(frozen=True)
class SshHost:
    """One host on the way, with everything settled.

    Attributes:
        name: what the user calls it.
        hostname, port: where it listens.
        chosen_identity: private key to offer before any other.
        identity_files: private keys to offer, in order.
        identities_only: offer no agent key beyond ``identity_files``.
        agent_socket: path of the agent's socket, ``None`` to do without.
        known_hosts: files that are read; the first is the one that is added to.
        known_as: the name under which those files hold it.
        hash_names: whether a name is hidden by a hash when it is added.
        jump: the host to go through, if any.
        proxy_command: command whose standard streams lead to the host, if any.
    """

    name: str
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_only: bool
    agent_socket: Path | None
    known_hosts: tuple[Path, ...]
    known_as: str
    hash_names: bool
    connect_timeout_s: float
    chosen_identity: Path | None = None
    jump: "SshHost | None" = None
    proxy_command: str | None = None


def resolve(address: SshAddress) -> SshHost:
    """Complete an address from ``~/.ssh/config`` and ``/etc/ssh/ssh_config``.

    What the address says stands above the files.

    Raises:
        UsageError: a file cannot be parsed, or the jump hosts go in a circle.
    """
    config = _Config.load(address.config, address.connect_timeout_s)
    host = config.host(address.host, user=address.user, port=address.port, jump=address.proxy_jump)
    if address.identity_file is not None:
        host = replace(host, chosen_identity=address.identity_file.expanduser())
    if address.known_hosts is not None:
        host = replace(host, known_hosts=(address.known_hosts.expanduser(),))
    return host


class _Config:
    """The files, parsed by paramiko, and our reading of their keywords."""

    def __init__(self, text: str, connect_timeout_s: float) -> None:
        self._text = text
        self._connect_timeout_s = connect_timeout_s

    def _lookup(
        self, name: str, user: str | None, port: int | None
    ) -> Mapping[str, str | list[str] | None]:
        import paramiko

        # The first value counts: said at the top, user and port also reach Match and tokens.
        said = (f"User {user}\n" if user else "") + (f"Port {port}\n" if port else "")
        try:
            found: Mapping[str, str | list[str] | None] = paramiko.SSHConfig.from_text(
                said + self._text
            ).lookup(name)
        except (paramiko.SSHException, ValueError) as error:
            raise UsageError(
                f"the SSH configuration cannot be read for {name}: {error}",
                hint="compare with `ssh -G HOST`, which names file and line",
            ) from error
        return found

    @classmethod
    def load(cls, path: Path | None, connect_timeout_s: float) -> "_Config":
        home = Path.home() / ".ssh"
        if path is not None:
            own = path.expanduser()
            if not own.is_file():
                raise UsageError(f"there is no SSH configuration at {own}", hint="check the path")
            return cls("\n".join(_lines(own, home)), connect_timeout_s)
        user = _lines(home / "config", home)
        system = _lines(Path("/etc/ssh/ssh_config"), Path("/etc/ssh"))
        return cls("\n".join([*user, "Host *", *system]), connect_timeout_s)

    def host(
        self,
        name: str,
        *,
        user: str | None = None,
        port: int | None = None,
        jump: str | None = None,
        depth: int = 0,
    ) -> SshHost:
        if depth > _DEEPEST_JUMP:
            raise UsageError(
                f"the jump hosts on the way to {name} go in a circle",
                hint="check ProxyJump in ~/.ssh/config",
            )
        found = self._lookup(name, user, port)
        words = {key: value for key, value in found.items() if isinstance(value, str)}
        hostname = words.get("hostname", name)
        port = _port(words.get("port"))
        via, command = _way(words, jump, found.get("proxycommand"))
        alias = words.get("hostkeyalias")
        return SshHost(
            name=name,
            hostname=hostname,
            port=port,
            user=words.get("user") or getpass.getuser(),
            identity_files=_identity_files(found.get("identityfile")),
            identities_only=words.get("identitiesonly", "no").lower() == "yes",
            agent_socket=_agent_socket(words.get("identityagent")),
            known_hosts=_known_hosts(words),
            known_as=alias.lower() if alias else lookup_name(hostname, port),
            hash_names=words.get("hashknownhosts", "no").lower() == "yes",
            jump=self._jump(via, depth),
            proxy_command=command,
            connect_timeout_s=_seconds(words.get("connecttimeout"), self._connect_timeout_s),
        )

    def _jump(self, chain: str | None, depth: int) -> SshHost | None:
        """Resolve ``[user@]host[:port]`` hops, separated by commas, the nearest hop first."""
        if chain is None:
            return None
        earlier, _, last = chain.rpartition(",")
        user, name, port = _split_hop(last.strip())
        # As in OpenSSH, the configuration of the last hop yields to the hops named before it.
        return self.host(name, user=user, port=port, jump=earlier or None, depth=depth + 1)


def _way(
    words: Mapping[str, str], jump: str | None, command: str | list[str] | None
) -> tuple[str | None, str | None]:
    """Choose between jump and command: the one said by hand, else the jump."""
    jump = jump or words.get("proxyjump")
    if jump is not None and jump.lower() == "none":
        return None, None
    if jump is not None:
        return jump, None
    return None, command if isinstance(command, str) else None


def _split_hop(hop: str) -> tuple[str | None, str, int | None]:
    hop = hop.removeprefix("ssh://")
    user, _, rest = hop.rpartition("@")
    port = ""
    if rest.startswith("["):
        name, _, tail = rest[1:].partition("]")
        port = tail.removeprefix(":")
    elif rest.count(":") == 1:
        name, _, port = rest.partition(":")
    else:
        name = rest
    if not name or (port and not port.isdigit()):
        raise UsageError(
            f"{hop!r} is no jump host", hint="write [user@]host[:port], hops separated by commas"
        )
    return user or None, name, int(port) if port else None


def _identity_files(value: str | list[str] | None) -> tuple[Path, ...]:
    if isinstance(value, list):
        return tuple(Path(item).expanduser() for item in value if item.lower() != "none")
    return tuple(Path.home() / ".ssh" / name for name in DEFAULT_IDENTITIES)


def _agent_socket(value: str | None) -> Path | None:
    if value is not None and value.lower() == "none":
        return None
    if value is None or value == "SSH_AUTH_SOCK":
        value = os.environ.get("SSH_AUTH_SOCK")
    elif value.startswith("$"):
        value = os.environ.get(value[1:].strip("{}"))
    return Path(value).expanduser() if value else None


def _known_hosts(words: Mapping[str, str]) -> tuple[Path, ...]:
    user = words.get("userknownhostsfile", "~/.ssh/known_hosts ~/.ssh/known_hosts2")
    system = words.get("globalknownhostsfile", "/etc/ssh/ssh_known_hosts /etc/ssh/ssh_known_hosts2")
    names = [name for value in (user, system) for name in shlex.split(value)]
    expanded = (name.replace("%d", str(Path.home())) for name in names if name.lower() != "none")
    return tuple(Path(name).expanduser() for name in expanded)


def _port(value: str | None) -> int:
    if value is not None and not value.isdigit():
        raise UsageError(f"{value!r} is no port", hint="check Port in ~/.ssh/config")
    return int(value) if value else SSH_PORT


def _seconds(value: str | None, default: float) -> float:
    # Also "none", which OpenSSH takes for its own default.
    return float(value) if value is not None and value.isdigit() else default


def _lines(path: Path, base: Path, depth: int = 0) -> Iterator[str]:
    """Yield the lines of a file with every ``Include`` put in place.

    Paramiko does not know ``Include``. After the included lines the block that held the
    directive is opened anew, so that what follows it still belongs to that block.
    """
    if depth > _DEEPEST_INCLUDE:
        raise UsageError(f"{path} includes itself", hint="check the Include lines")
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    block = "Host *"
    for line in text.splitlines():
        keyword, _, rest = line.strip().replace("=", " ", 1).partition(" ")
        if keyword.lower() in {"host", "match"}:
            block = line
        if keyword.lower() != "include":
            yield line
            continue
        for pattern in shlex.split(rest):
            for included in _included(pattern, base):
                yield from _lines(included, base, depth + 1)
        yield block


def _included(pattern: str, base: Path) -> Iterator[Path]:
    wanted = Path(pattern).expanduser()
    wanted = wanted if wanted.is_absolute() else base / wanted
    yield from sorted(Path(wanted.anchor).glob(str(wanted.relative_to(wanted.anchor))))
