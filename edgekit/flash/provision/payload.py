"""What a boot partition carries to the first boot: one archive, unpacked there by a script."""

import io
import tarfile
import time
from collections.abc import Iterable
from pathlib import Path

from edgekit.flash.provision import system_files, wifi
from edgekit.flash.provision.ext4_image import Entry
from edgekit.flash.provision.values import Provision

HOME = "home"
SYSTEM = "system"
NETWORK = "network"


def write_payload(path: Path, what: Provision, *, network: bool) -> None:
    """Write the archive: ``home/``, ``system/``, and ``network/`` where it is asked for.

    Folders of the system are not listed, so that unpacking leaves the mode of those that exist.
    """
    entries = list(system_files.unit_entries(what.units))
    if what.host_key is not None:
        entries += system_files.host_key_entries(what.host_key)
    if what.sudo:
        entries.append(system_files.sudo_entry(what.user))
    with tarfile.open(path, "w:gz", compresslevel=6, format=tarfile.PAX_FORMAT) as archive:
        _add(archive, SYSTEM, entries)
        _add(archive, "", system_files.home_entries(what, f"/{HOME}", 0, 0))
        if network and what.wifi is not None:
            _add(archive, NETWORK, _networks(what))


def _networks(what: Provision) -> Iterable[Entry]:
    """Return the network for either service; the script takes the one that the image uses."""
    assert what.wifi is not None  # noqa: S101 - the caller looked
    return (
        Entry("/networkmanager", mode=0o600, content=wifi.network_manager(what.wifi).encode()),
        Entry("/wpa_supplicant", mode=0o600, content=wifi.wpa_supplicant(what.wifi).encode()),
    )


def _add(archive: tarfile.TarFile, folder: str, entries: Iterable[Entry]) -> None:
    for entry in sorted(entries, key=lambda item: item.path):
        member = tarfile.TarInfo(f"{folder}{entry.path}".lstrip("/"))
        member.mode, member.mtime = entry.mode, int(time.time())
        member.uname = member.gname = "root"
        if entry.kind == "folder":
            member.type = tarfile.DIRTYPE
            archive.addfile(member)
        elif entry.kind == "link":
            member.type = tarfile.SYMTYPE
            member.linkname = entry.content.decode() if isinstance(entry.content, bytes) else ""
            archive.addfile(member)
        elif isinstance(entry.content, Path):
            # The host's time stays: compiled Python is believed by the time of its source.
            stat = entry.content.stat()
            member.size, member.mtime = stat.st_size, int(stat.st_mtime)
            with entry.content.open("rb") as file:
                archive.addfile(member, file)
        else:
            member.size = len(entry.content)
            archive.addfile(member, io.BytesIO(entry.content))
