"""Small images with a root file system made by hand, and what reads them back."""

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgekit.core.flash import ImageFacts, Partition

MIB = 1 << 20
PASSWD = "root:x:0:0:root:/root:/bin/bash\nsshd:x:101:65534::/run/sshd:/usr/sbin/nologin\n"
SHADOW = "root:$y$j9T$known:19000:0:99999:7:::\nsshd:!:19000::::::\n"
GROUP = "root:x:0:\nsudo:x:27:\nvideo:x:44:\nstaff:x:1000:\n"
PUBLIC_KEY = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@host"
)

DEBIAN = {
    "etc/passwd": PASSWD,
    "etc/shadow": SHADOW,
    "etc/group": GROUP,
    "etc/gshadow": "root:*::\nsudo:*::\nvideo:*::\nstaff:*::\n",
    "etc/hostname": "debian\n",
    "etc/hosts": "127.0.0.1\tlocalhost\n127.0.1.1\tdebian\n::1\tlocalhost\n",
    "etc/skel/.profile": "# profile\n",
    "etc/sudoers.d/README": "#\n",
    "etc/ssh/sshd_config": "UsePAM yes\n",
    "etc/ssh/ssh_host_rsa_key": "everybody has this\n",
    "etc/ssh/ssh_host_ed25519_key": "everybody has this\n",
    "etc/systemd/system/multi-user.target.wants/.keep": "",
    "usr/lib/systemd/system/ssh.service": "[Unit]\n",
    "usr/sbin/sshd": "",
    "usr/sbin/NetworkManager": "",
    "usr/bin/bash": "",
    "home/.keep": "",
    "root/.keep": "",
}


def write_tree(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
    shadow = folder / "etc/shadow"
    if shadow.exists():
        shadow.chmod(0o640)
    for link in ("bin", "sbin", "lib"):
        if (folder / "usr" / link).is_dir():
            (folder / link).symlink_to(f"usr/{link}")
    return folder


@dataclass(frozen=True)
class Disk:
    """An image with one ext4 partition at ``offset``."""

    path: Path
    offset: int
    size: int

    @property
    def name(self) -> str:
        return f"{self.path}?offset={self.offset}"

    def facts(self, *init: str, boot: Partition | None = None) -> ImageFacts:
        root = Partition(2, self.offset, self.size, "0x83", "ext4")
        parts = (boot, root) if boot else (root,)
        return ImageFacts(self.path.stat().st_size, "dos", parts, (), (), "", init)

    def debugfs(self, command: str) -> bytes:
        done = subprocess.run(
            ["debugfs", "-R", command, self.name], check=True, capture_output=True
        )
        return done.stdout

    def cat(self, path: str) -> str:
        return self.debugfs(f"cat {path}").decode()

    def mode_and_owner(self, path: str) -> tuple[str, int, int]:
        said = self.debugfs(f"stat {path}").decode()
        match = re.search(r"Mode:\s+(\d+).*\n.*\nUser:\s*(\d+)\s+Group:\s*(\d+)", said)
        assert match, said
        return match[1], int(match[2]), int(match[3])

    def names(self, path: str) -> set[str]:
        said = self.debugfs(f"ls -p {path}").decode()
        return {line.split("/")[5] for line in said.splitlines() if line} - {".", ".."}

    def is_clean(self) -> bool:
        done = subprocess.run(["e2fsck", "-fn", self.name], check=False, capture_output=True)
        return done.returncode == 0


def make_disk(
    folder: Path, files: dict[str, str], *, size: int = 16 * MIB, offset: int = 4 * MIB
) -> Disk:
    """Make an image whose root file system holds ``files``."""
    tree = write_tree(folder / "tree", files)
    path = folder / "disk.img"
    with path.open("wb") as file:
        file.truncate(offset + size)
    options = ["-q", "-t", "ext4", "-b", "1024", "-E", f"offset={offset},root_owner=0:0"]
    command = ["mke2fs", *options, "-d", str(tree), str(path), f"{size >> 10}k"]
    subprocess.run(command, check=True, capture_output=True)
    return Disk(path, offset, size)
