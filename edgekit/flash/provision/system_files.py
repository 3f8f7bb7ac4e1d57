"""What is written below ``/etc``, whichever way it gets there."""

from collections.abc import Iterable

from edgekit.flash.provision.ext4_image import Entry
from edgekit.flash.provision.values import HostKeyPair, Provision, Unit

HOST_KEY = "/etc/ssh/ssh_host_ed25519_key"
SUDOERS = "/etc/sudoers.d/010-edgekit"


def host_key_entries(key: HostKeyPair) -> tuple[Entry, ...]:
    """Return the device's SSH key as sshd wants it: the private half for root alone."""
    return (
        Entry(HOST_KEY, mode=0o600, content=key.private.encode()),
        Entry(f"{HOST_KEY}.pub", mode=0o644, content=f"{key.public}\n".encode()),
    )


def sudo_entry(user: str) -> Entry:
    """Return the rule that lets the user become root. Source: sudoers(5): mode 0440."""
    return Entry(SUDOERS, mode=0o440, content=f"{user} ALL=(ALL:ALL) NOPASSWD: ALL\n".encode())


def unit_entries(units: Iterable[Unit]) -> tuple[Entry, ...]:
    """Return units and the links that start them; what ``systemctl enable`` would make."""
    entries = []
    for unit in units:
        path = f"/etc/systemd/system/{unit.name}"
        link = f"/etc/systemd/system/multi-user.target.wants/{unit.name}"
        entries += [
            Entry(path, content=unit.text.encode()),
            Entry(link, "link", content=path.encode()),
        ]
    return tuple(entries)


def home_entries(what: Provision, home: str, uid: int, gid: int) -> tuple[Entry, ...]:
    """Return what goes below the user's home folder, every folder on the way the user's."""
    entries = {}
    folders = {".ssh": 0o700} if what.authorized_keys else {}
    for item in what.files:
        if item.source is None and item.link is None:
            folders[item.path] = item.mode
    for path in [*folders, *(item.path for item in what.files)]:
        parts = path.split("/")
        for depth in range(1, len(parts)):
            folders.setdefault("/".join(parts[:depth]), 0o755)
    for path, mode in folders.items():
        entries[path] = Entry(f"{home}/{path}", "folder", mode, uid, gid)
    if what.authorized_keys:
        text = "".join(f"{line}\n" for line in what.authorized_keys)
        path = ".ssh/authorized_keys"
        entries[path] = Entry(f"{home}/{path}", "file", 0o600, uid, gid, text.encode())
    for item in what.files:
        if item.source is not None:
            entry = Entry(f"{home}/{item.path}", "file", item.mode, uid, gid, item.source)
            entries[item.path] = entry
        elif item.link is not None:
            link = item.link.encode()
            entries[item.path] = Entry(f"{home}/{item.path}", "link", 0o777, uid, gid, link)
    return tuple(entries.values())
