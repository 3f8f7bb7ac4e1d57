"""Which filesystem stands in a region, by its superblock; with label and UUID where they are easy.

Source: the filesystems' own documentation in Linux, and libblkid's superblock probes.
"""

import uuid
from dataclasses import dataclass
from typing import Final

from edgekit.flash.region import Region, UnreadableError


@dataclass(frozen=True)
class Superblock:
    """What a filesystem says of itself."""

    filesystem: str = ""
    label: str = ""
    uuid: str = ""


_EXT_AT: Final = 1024
_EXT_HAS_JOURNAL: Final = 0x4
_EXT_OF_EXT4: Final = 0x2C0  # extents, 64bit or flexible groups
_FAT_BOOT: Final = (b"\xeb", b"\xe9")
# Filesystem, where its mark stands, the mark.
_MARKS: Final = (
    ("squashfs", 0, b"hsqs"),
    ("xfs", 0, b"XFSB"),
    ("crypto_LUKS", 0, b"LUKS\xba\xbe"),
    ("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    ("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    ("LVM2_member", 512, b"LABELONE"),
    ("iso9660", 32769, b"CD001"),
    ("btrfs", 65600, b"_BHRfS_M"),
    ("swap", 4086, b"SWAPSPACE2"),
    ("ntfs", 3, b"NTFS    "),
    ("exfat", 3, b"EXFAT   "),
)


def superblock_of(region: Region) -> Superblock:
    """Return what stands in a region; all empty where it is nothing that is known."""
    for filesystem, at, mark in _MARKS:
        if _peek(region, at, len(mark)) == mark:
            return Superblock(filesystem)
    return _ext(_peek(region, _EXT_AT, 1024)) or _fat(_peek(region, 0, 512)) or Superblock()


def _peek(region: Region, at: int, count: int) -> bytes:
    try:
        return region.read(at, count)
    except UnreadableError:
        return b""


def _ext(block: bytes) -> Superblock | None:
    if block[0x38:0x3A] != b"\x53\xef":
        return None
    compatible = int.from_bytes(block[0x5C:0x60], "little")
    incompatible = int.from_bytes(block[0x60:0x64], "little")
    older = "ext3" if compatible & _EXT_HAS_JOURNAL else "ext2"
    return Superblock(
        "ext4" if incompatible & _EXT_OF_EXT4 else older,
        _text(block[0x78:0x88]),
        str(uuid.UUID(bytes=block[0x68:0x78])),
    )


def _fat(block: bytes) -> Superblock | None:
    if not block.startswith(_FAT_BOOT) or block[510:] != b"\x55\xaa":
        return None
    for kind, at in ((b"FAT32   ", 82), (b"FAT16   ", 54), (b"FAT12   ", 54)):
        if block[at : at + 8] == kind:
            serial = block[at - 15 : at - 11][::-1].hex().upper()
            label = _text(block[at - 11 : at]).strip()
            return Superblock(
                "vfat", "" if label == "NO NAME" else label, f"{serial[:4]}-{serial[4:]}"
            )
    return None


def _text(raw: bytes) -> str:
    return raw.partition(b"\0")[0].decode("utf-8", "replace")
