"""Images that cloud-init sets up: Raspberry Pi OS from 2025 on, Ubuntu, Debian's cloud images.

Where the boot partition holds ``user-data``, that is cloud-init's NoCloud seed: it is written
anew, with an archive beside it that a command of cloud-init's last stage unpacks. Other images
with cloud-init are edited on ext4, with a seed in ``/var/lib/cloud/seed/nocloud`` that keeps
cloud-init from undoing it (it would make new host keys).

All of it is JSON, which is YAML: no value can end where its writer did not mean it to.

Source: cloud-init's documentation, "NoCloud", "SSH", "Users and Groups"; cloud-init 22.4,
sources/DataSourceNoCloud.py and config/cc_ssh.py; Raspberry Pi, "Cloud-init on Raspberry Pi OS"
(2025); ``network-config`` in netplan's version 2.
"""

import hashlib
import tempfile
from pathlib import Path
from typing import Final

from edgekit.core.errors import FlashError
from edgekit.core.flash import ImageFacts
from edgekit.flash.provision import wifi
from edgekit.flash.provision.accounts import GROUPS
from edgekit.flash.provision.boot_script import FOLDER, PAYLOAD, cloud_init_script
from edgekit.flash.provision.debian_root import edit_root
from edgekit.flash.provision.ext4_image import Entry
from edgekit.flash.provision.fat_image import FatImage
from edgekit.flash.provision.methods.firstrun import refuse_root
from edgekit.flash.provision.payload import write_payload
from edgekit.flash.provision.roots import boot_partition, root_systems
from edgekit.flash.provision.values import Provision

_SCRIPT: Final = "first-boot.sh"
_SEED: Final = "/var/lib/cloud/seed/nocloud"
# Raspberry Pi OS and Ubuntu mount it at the first, older ones at the second.
_RUN: Final = (
    "for boot in /boot/firmware /boot; do "
    f'if [ -f "$boot/{FOLDER}/{_SCRIPT}" ]; then exec sh "$boot/{FOLDER}/{_SCRIPT}"; fi; '
    "done; exit 1"
)


def apply(image: Path, facts: ImageFacts, what: Provision) -> tuple[str, ...]:
    """Write cloud-init's seed.

    Raises:
        FlashError: the image has no room, or an edit did not hold.
        UsageError: the user is root.
    """
    refuse_root(what)
    boot = _seeded_boot(image, facts)
    if boot is None:
        return _seed_on_root(image, facts, what)
    user_data = _user_data(what, [["sh", "-c", _RUN]])
    files: dict[str, bytes | Path] = {}
    with tempfile.TemporaryDirectory(prefix="edgekit-provision-") as folder:
        payload = Path(folder, PAYLOAD)
        write_payload(payload, what, network=False)
        files[f"/{FOLDER}/{PAYLOAD}"] = payload
        files[f"/{FOLDER}/{_SCRIPT}"] = cloud_init_script(what).encode()
        if what.wifi is not None:
            # With a network of its own the image's default for the cable no longer counts.
            cable = {"eth0": {"dhcp4": True, "optional": True}}
            network = {**wifi.netplan(what.wifi), "ethernets": cable}
            files["/network-config"] = wifi.yaml_text(network).encode()
        files["/meta-data"] = _meta_data(user_data)
        files["/user-data"] = user_data
        boot.put(files)
    return (f"user {what.user}", "user-data", f"{len(what.files)} files")


def _seeded_boot(image: Path, facts: ImageFacts) -> FatImage | None:
    try:
        boot = FatImage(image, boot_partition(facts).start_bytes)
    except FlashError:
        return None
    # Raspberry Pi OS looks there even where somebody has taken the files away.
    seeded = facts.system == "raspios" or boot.read("/user-data") is not None
    return boot if seeded else None


def _seed_on_root(image: Path, facts: ImageFacts, what: Provision) -> tuple[str, ...]:
    done: tuple[str, ...] = ()
    user_data = _user_data(what, [])
    for root in root_systems(image, facts):
        done = edit_root(root, what)
        root.put(
            [
                Entry(f"{_SEED}/user-data", mode=0o600, content=user_data),
                Entry(f"{_SEED}/meta-data", mode=0o600, content=_meta_data(user_data)),
            ]
        )
        root.check()
    return (*done, "user-data")


def _user_data(what: Provision, commands: list[list[str]]) -> bytes:
    user: dict[str, object] = {
        "name": what.user,
        "groups": list(GROUPS),
        "shell": "/bin/bash",
        "lock_passwd": True,
    }
    if what.authorized_keys:
        user["ssh_authorized_keys"] = list(what.authorized_keys)
    if what.sudo:
        user["sudo"] = "ALL=(ALL) NOPASSWD:ALL"
    data: dict[str, object] = {"users": [user], "ssh_pwauth": False, "disable_root": True}
    if what.hostname is not None:
        data |= {"hostname": what.hostname.partition(".")[0], "manage_etc_hosts": "localhost"}
        if "." in what.hostname:
            data["fqdn"] = what.hostname
    if what.host_key is not None:
        data["ssh_deletekeys"] = True
        data["ssh_keys"] = {
            "ed25519_private": what.host_key.private,
            "ed25519_public": what.host_key.public,
        }
    if commands:
        data["runcmd"] = commands
    return f"#cloud-config\n{wifi.yaml_text(data)}".encode()


def _meta_data(user_data: bytes) -> bytes:
    """Return an identity that is new wherever the rest is, so that cloud-init acts on it."""
    identity = f"edgekit-{hashlib.sha256(user_data).hexdigest()[:16]}"
    return wifi.yaml_text({"instance-id": identity}).encode()
