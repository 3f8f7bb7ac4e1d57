"""Edits of a Debian root file system: name, user, keys, network, units."""

from dataclasses import replace

from edgekit.core.errors import FlashError
from edgekit.flash.provision import accounts, system_files, wifi
from edgekit.flash.provision.accounts import Account, Accounts
from edgekit.flash.provision.ext4_image import Entry, Ext4Image, Found
from edgekit.flash.provision.values import Provision, Wifi

_ACCOUNT_FILES = ("/etc/passwd", "/etc/shadow", "/etc/group", "/etc/gshadow")
_SYSTEMD_UNITS = ("/usr/lib/systemd/system", "/lib/systemd/system", "/etc/systemd/system")
# Removes every host key at the first boot. Source: raspberrypi-sys-mods,
# usr/lib/raspberrypi-sys-mods/regenerate_ssh_host_keys (read in 2026).
_MAKES_NEW_KEYS = "regenerate_ssh_host_keys.service"
_WANTS = "/etc/systemd/system/multi-user.target.wants"


def edit_root(root: Ext4Image, what: Provision) -> tuple[str, ...]:
    """Apply all of it to one root file system, and check the file system before and after.

    Raises:
        FlashError: the image has no sshd or no network service that is known, no room, or an
            edit did not hold.
    """
    root.check()
    if not root.exists("/usr/sbin/sshd"):
        raise FlashError(
            f"{root.image} holds no OpenSSH server: nothing could connect to the device",
            hint="take an image that has openssh-server",
        )
    done: list[str] = []
    if what.hostname is not None:
        done += _name(root, what.hostname)
    account = _user(root, what)
    done.append(f"user {account.name}")
    root.put(system_files.home_entries(what, account.home, account.uid, account.gid))
    done += _host_key(root, what)
    if what.wifi is not None:
        done.append(_network(root, what.wifi))
    root.put([*system_files.unit_entries(what.units), *_ssh_enabled(root)])
    root.check()
    return (*done, *_counted(what))


def _counted(what: Provision) -> tuple[str, ...]:
    counts = {
        "authorised key": len(what.authorized_keys),
        "file": len(what.files),
        "unit": len(what.units),
    }
    return tuple(
        f"{count} {name}{'' if count == 1 else 's'}" for name, count in counts.items() if count
    )


def _name(root: Ext4Image, hostname: str) -> tuple[str, ...]:
    hosts = root.text("/etc/hosts") or "127.0.0.1\tlocalhost\n"
    root.put(
        [
            Entry("/etc/hostname", content=f"{hostname}\n".encode()),
            Entry("/etc/hosts", content=_bytes(accounts.hosts_with_name(hosts, hostname))),
        ]
    )
    return (f"hostname {hostname}",)


def _user(root: Ext4Image, what: Provision) -> Account:
    files = Accounts(*map(root.text, _ACCOUNT_FILES))
    is_new = accounts.find_account(files.passwd, what.user) is None
    shell = "/bin/bash" if root.exists("/bin/bash") else "/bin/sh"
    made = accounts.add_account(files, what.user, shell=shell)
    if what.authorized_keys:
        # A user who came with the image has a password that everybody knows.
        made = replace(made, shadow=accounts.lock_password(made.shadow, what.user))
    entries = []
    before = (files.passwd, files.shadow, files.group, files.gshadow)
    after = (made.passwd, made.shadow, made.group, made.gshadow)
    for path, old, new, found in zip(
        _ACCOUNT_FILES, before, after, root.stat(*_ACCOUNT_FILES), strict=True
    ):
        if new != old:
            entries.append(_replaced(path, new, found))
    if what.sudo and what.user != "root" and root.exists("/etc/sudoers.d"):
        entries.append(system_files.sudo_entry(what.user))
    account = accounts.find_account(made.passwd, what.user)
    assert account is not None  # noqa: S101 - add_account has just made it
    _check_home(root, account.home)
    if is_new:
        entries += _new_home(root, account)
    root.put(entries)
    return account


def _check_home(root: Ext4Image, home: str) -> None:
    """Raise if another file system will be mounted over the home folder."""
    for line in root.text("/etc/fstab").splitlines():
        place = [*line.partition("#")[0].split(), "", ""][1]
        if place.startswith("/") and place != "/" and f"{home}/".startswith(f"{place}/"):
            raise FlashError(
                f"{root.image} mounts another file system at {place}: what is put into {home} "
                "would not be seen",
                hint="take an image that keeps it on the root file system",
            )


def _replaced(path: str, text: str, found: Found | None) -> Entry:
    """Return a file with new text and the owner and mode that it had."""
    if found is None:
        # Source: passwd(5), shadow(5) as Debian installs them.
        return Entry(path, mode=0o600 if "shadow" in path else 0o644, content=_bytes(text))
    return Entry(path, "file", found.mode, found.uid, found.gid, _bytes(text))


def _new_home(root: Ext4Image, account: Account) -> list[Entry]:
    """Return the home folder with what useradd(8) would copy from /etc/skel: plain files."""
    entries = [Entry(account.home, "folder", 0o755, account.uid, account.gid)]
    for name in root.names("/etc/skel"):
        content = root.read(f"/etc/skel/{name}")
        if content is not None:
            path = f"{account.home}/{name}"
            entries.append(Entry(path, "file", 0o644, account.uid, account.gid, content))
    return entries


def _host_key(root: Ext4Image, what: Provision) -> tuple[str, ...]:
    """Put the device's key in, and take away keys that everybody has who has the image."""
    if what.host_key is None:
        return ()
    keys = [name for name in root.names("/etc/ssh") if name.startswith("ssh_host_")]
    root.remove(*(f"/etc/ssh/{name}" for name in keys), f"{_WANTS}/{_MAKES_NEW_KEYS}")
    root.put(system_files.host_key_entries(what.host_key))
    return ("its own SSH host key",)


def _ssh_enabled(root: Ext4Image) -> list[Entry]:
    """Return the link that starts sshd, unless the image starts it already."""
    wants = root.names(_WANTS) + root.names("/etc/systemd/system/sockets.target.wants")
    if {"ssh.service", "sshd.service", "ssh.socket"} & set(wants):
        return []
    for folder in _SYSTEMD_UNITS:
        if root.exists(f"{folder}/ssh.service"):
            target = f"{folder}/ssh.service".encode()
            return [Entry(f"{_WANTS}/ssh.service", "link", content=target)]
    # No unit of Debian's: the image starts sshd in its own way, such as from an init script.
    return []


def _network(root: Ext4Image, network: Wifi) -> str:
    """Write the network where the image's network service looks for it.

    Source: NetworkManager(8) and nm-settings-keyfile(5); netplan(5); Debian's
    wpasupplicant, README.Debian, "ifupdown integration".
    """
    country = network.country
    entries = []
    if country is not None:
        # Source: Linux, Documentation/networking/regulatory.rst: cfg80211's ieee80211_regdom.
        text = f"options cfg80211 ieee80211_regdom={country}\n"
        entries.append(Entry("/etc/modprobe.d/edgekit-wifi.conf", content=text.encode()))
    if root.exists("/usr/sbin/NetworkManager"):
        path = "/etc/NetworkManager/system-connections/edgekit-wifi.nmconnection"
        entries.append(Entry(path, mode=0o600, content=wifi.network_manager(network).encode()))
        service = "NetworkManager"
    elif root.exists("/usr/sbin/netplan"):
        text = wifi.yaml_text({"network": wifi.netplan(network)})
        entries.append(
            Entry("/etc/netplan/90-edgekit-wifi.yaml", mode=0o600, content=text.encode())
        )
        service = "netplan"
    elif root.exists("/sbin/wpa_supplicant") and root.exists("/sbin/ifup"):
        conf = "/etc/wpa_supplicant/wpa_supplicant.conf"
        stanza = f"allow-hotplug wlan0\niface wlan0 inet dhcp\n\twpa-conf {conf}\n"
        entries += [
            Entry(conf, mode=0o600, content=wifi.wpa_supplicant(network).encode()),
            Entry("/etc/network/interfaces.d/edgekit-wifi", content=stanza.encode()),
        ]
        service = "wpa_supplicant"
    else:
        raise FlashError(
            f"{root.image} holds no network service that edgekit can tell a Wi-Fi network",
            hint="take an image with NetworkManager, netplan or wpa_supplicant, or leave Wi-Fi out",
        )
    root.put(entries)
    return f"Wi-Fi {network.ssid!r} by {service}"


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
