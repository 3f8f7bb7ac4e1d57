"""Keys and sshd settings of virtual boards: one client key for all, one host key for each."""

import subprocess
from pathlib import Path

from edgekit.board.rootfs import BOARD_USER
from edgekit.catalog.cache import FileLock, write_atomically
from edgekit.core.errors import DeviceError

CONFIG_FOLDER = "edgekit"
"""Below the board's ``/etc``: what edgekit puts there."""


def ensure_key(path: Path, comment: str) -> Path:
    """Return the private key at ``path``; make the pair if it is not there.

    Raises:
        DeviceError: ``ssh-keygen`` is missing or failed.
    """
    if path.is_file() and _public(path).is_file():
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_suffix(".lock")):
        if path.is_file() and _public(path).is_file():
            return path
        path.unlink(missing_ok=True)
        _keygen(path, comment)
    return path


def _keygen(path: Path, comment: str) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(path)]
    try:
        subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=True)
    except FileNotFoundError as error:
        raise DeviceError(
            "ssh-keygen is not installed", hint="run `apt-get install openssh-client` as root"
        ) from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip()
        raise DeviceError(f"ssh-keygen could not make {path}: {said}") from error


def public_key(path: Path) -> str:
    """Return the public half as ``<type> <base64>``, without the comment."""
    return " ".join(_public(path).read_text(encoding="ascii").split()[:2])


def _public(path: Path) -> Path:
    return path.with_name(f"{path.name}.pub")


def sshd_config(port: int, cpu: str) -> str:
    """Return the board's sshd settings.

    sshd gives its sessions a fresh environment, so the emulator's processor must be set here.
    """
    return f"""\
Port {port}
ListenAddress 127.0.0.1
HostKey /etc/{CONFIG_FOLDER}/ssh_host_ed25519_key
AuthorizedKeysFile /etc/{CONFIG_FOLDER}/authorized_keys
AllowUsers {BOARD_USER}
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
PrintMotd no
MaxStartups 100:30:200
MaxSessions 100
SetEnv QEMU_CPU={cpu}
Subsystem sftp internal-sftp
"""


def system_sshd_config() -> str:
    """Return the sshd settings of a board that is a machine of its own.

    Its root may log in: a machine apart can be harmed by it, this one cannot. Of the ways to
    exchange keys it has the one that costs least where each instruction is emulated.
    """
    return f"""\
Port 22
HostKey /etc/{CONFIG_FOLDER}/ssh_host_ed25519_key
AuthorizedKeysFile /etc/{CONFIG_FOLDER}/authorized_keys
AllowUsers {BOARD_USER} root
PermitRootLogin prohibit-password
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
UseDNS no
PidFile none
PrintMotd no
PrintLastLog no
KexAlgorithms ecdh-sha2-nistp256
MaxStartups 100:30:200
MaxSessions 100
SetEnv PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
Subsystem sftp internal-sftp
"""


def write_known_hosts(path: Path, port: int, host_key: Path) -> None:
    """Write the file by which clients know the board's host key."""
    write_atomically(path, f"[127.0.0.1]:{port} {public_key(host_key)}\n".encode())
