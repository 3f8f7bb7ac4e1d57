"""Raspberry Pi OS up to Bookworm: a script on the boot partition that systemd runs once.

The kernel's command line names it by ``systemd.run=``; systemd boots into that alone, and
starts the board again when it is done. It stands where the system mounts the partition:
``/boot`` up to Bullseye, ``/boot/firmware`` from Bookworm on. ``custom.toml``, which Bookworm
reads as well, has no place for a host key or files, so it is not used.

Source: systemd-run-generator(8); rpi-imager and raspberrypi-sys-mods (initramfs-tools/scripts/
local-bottom/imager_fixup, usr/lib/raspberrypi-sys-mods/init_config), read in 2026.
"""

import tempfile
from pathlib import Path
from typing import Final

from edgekit.core.errors import FlashError, UsageError
from edgekit.core.flash import ImageFacts
from edgekit.flash.provision.boot_script import FOLDER, PAYLOAD, firstrun_script
from edgekit.flash.provision.fat_image import FatImage
from edgekit.flash.provision.payload import write_payload
from edgekit.flash.provision.roots import boot_partition, root_systems
from edgekit.flash.provision.values import Provision

_COMMAND_LINE: Final = "/cmdline.txt"


def apply(image: Path, facts: ImageFacts, what: Provision) -> tuple[str, ...]:
    """Put script and archive on the boot partition.

    Raises:
        FlashError: the image is not as Raspberry Pi OS is, has no room, or an edit did not hold.
        UsageError: the user is root, whom Raspberry Pi OS does not let in.
    """
    refuse_root(what)
    boot = FatImage(image, boot_partition(facts).start_bytes)
    line = (boot.read(_COMMAND_LINE) or b"").decode("utf-8", "replace").strip()
    if "root=" not in line or "\n" in line:
        raise FlashError(
            f"{image}: cmdline.txt of the boot partition is not one line with root=",
            hint="take an image of Raspberry Pi OS",
        )
    words = [word for word in line.split() if not word.startswith(("systemd.run", "systemd.unit"))]
    words += [
        f"systemd.run={_mounted_at(image, facts)}/firstrun.sh",
        "systemd.run_success_action=reboot",
        "systemd.unit=kernel-command-line.target",
    ]
    with tempfile.TemporaryDirectory(prefix="edgekit-provision-") as folder:
        payload = Path(folder, PAYLOAD)
        write_payload(payload, what, network=True)
        # The command line last: without it nothing of this is run.
        boot.put(
            {
                f"/{FOLDER}/{PAYLOAD}": payload,
                "/firstrun.sh": firstrun_script(what).encode(),
                _COMMAND_LINE: f"{' '.join(words)}\n".encode(),
            }
        )
    return (f"user {what.user}", "firstrun.sh", f"{len(what.files)} files")


def refuse_root(what: Provision) -> None:
    """Raise if the user is root.

    Raises:
        UsageError: it is.
    """
    if what.user == "root":
        raise UsageError("this image does not let root in from outside", hint="name another user")


def _mounted_at(image: Path, facts: ImageFacts) -> str:
    """Return where the system mounts its boot partition, as its fstab says."""
    for root in root_systems(image, facts):
        for line in root.text("/etc/fstab").splitlines():
            fields = line.split()
            if len(fields) > 1 and fields[1] in {"/boot", "/boot/firmware"} and fields[0][0] != "#":
                return fields[1]
    raise FlashError(
        f"{image}: /etc/fstab does not say where the boot partition is mounted",
        hint="take an image of Raspberry Pi OS",
    )
