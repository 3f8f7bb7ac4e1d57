"""Flashing: what may be written to, what an image holds, and what became of a write."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Disk:
    """What may be written to: a block device, or a plain file that stands for one.

    Attributes:
        port: a stable name of the place where it is plugged in, such as ``usb 1-1.2``.
        mounts: where it, or a part of it, is mounted; ``swap`` included.
        system: whether it holds ``/``, ``/boot``, ``/usr``, swap or the like, through device
            mapper, md or LVM too.
    """

    path: Path
    size_bytes: int
    is_file: bool = False
    model: str = ""
    serial: str = ""
    port: str = ""
    removable: bool = False
    read_only: bool = False
    mounts: tuple[str, ...] = ()
    system: bool = False
    logical_block_bytes: int = 512


@dataclass(frozen=True)
class Partition:
    """One partition of an image.

    Attributes:
        kind: the type's GUID of a GPT, or the type byte of a DOS table such as ``0x0c``.
        filesystem: what its superblock says it holds, such as ``vfat`` or ``ext4``.
    """

    number: int
    start_bytes: int
    size_bytes: int
    kind: str
    filesystem: str = ""
    label: str = ""
    uuid: str = ""


@dataclass(frozen=True)
class ImageFacts:
    """What inspection found in a raw image.

    Attributes:
        table: ``gpt``, ``dos`` or empty.
        architectures: of the programs in it: ``aarch64``, ``armhf``, ``x86_64``.
        compatible: the ``compatible`` strings of every device tree that was found.
        system: ``raspios``, ``armbian``, ``debian`` or empty.
        init: the methods of first-boot provisioning that it supports: ``cloud-init``,
            ``firstrun``, ``armbian-first-login``, ``ext4``.
        signs: by what all this was recognised.
    """

    size_bytes: int
    table: str
    partitions: tuple[Partition, ...]
    architectures: tuple[str, ...]
    compatible: tuple[str, ...]
    system: str = ""
    init: tuple[str, ...] = ()
    signs: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImageSoftware:
    """What an image brings that decides which wheels fit.

    Attributes:
        python: version of ``python3``, such as ``3.11``.
        glibc: version, such as ``2.36``.
    """

    python: str
    glibc: str


@dataclass(frozen=True)
class Written:
    """What became of writing one disk.

    Attributes:
        sha256: of the decompressed image; empty where it was not read to its end, or is a plain
            file that no checksum was promised for.
        size_bytes: of the image.
        written_bytes: what was really sent to the disk.
        error: why the disk must not be used; ``None``: it holds the image.
    """

    disk: Disk
    sha256: str
    size_bytes: int
    written_bytes: int
    write_s: float
    verify_s: float
    error: str | None = None
