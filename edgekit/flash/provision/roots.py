"""Where an image keeps its root file system and its boot partition."""

from pathlib import Path

from edgekit.core.errors import FlashError
from edgekit.core.flash import ImageFacts, Partition
from edgekit.flash.provision.ext4_image import Ext4Image, is_ext4


def root_systems(image: Path, facts: ImageFacts) -> tuple[Ext4Image, ...]:
    """Return every ext4 root: one, or two where slots A and B both hold a system.

    Raises:
        FlashError: there is none.
    """
    offsets = [part.start_bytes for part in facts.partitions] or [0]
    found = [Ext4Image(image, offset) for offset in offsets if is_ext4(image, offset)]
    roots = tuple(system for system in found if system.exists("/etc/passwd"))
    if not roots:
        raise FlashError(
            f"{image} holds no ext4 root file system with an /etc/passwd",
            hint="only roots on ext4 can be provisioned before their first boot",
        )
    return roots


def boot_partition(facts: ImageFacts) -> Partition:
    """Return the FAT partition that the board boots from.

    Raises:
        FlashError: there is none.
    """
    for part in facts.partitions:
        if part.filesystem.lower() in {"vfat", "fat", "fat12", "fat16", "fat32", "msdos"}:
            return part
    raise FlashError(
        "the image has no FAT boot partition",
        hint="its first-boot method cannot be served; leave out the provisioning",
    )
