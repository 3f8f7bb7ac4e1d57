"""Disks that an image may be written to, and the reasons why one may not."""

import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgekit.core.errors import FlashError
from edgekit.core.flash import Disk
from edgekit.flash.block_tree import SWAP, BlockTree

# sysfs counts in these, whatever the disk's own blocks are.
_SECTOR_BYTES: Final = 512
# Made by the kernel out of memory, files or other disks, or no disks at all.
_NO_DISK: Final = re.compile(r"(loop|ram|zram|dm-|md|sr|fd|nbd|mtdblock|bcache|drbd|rbd)\d")
# Areas beside the disk proper, from which firmware starts.
_BOOT_AREA: Final = re.compile(r"mmcblk\d+(boot\d+|rpmb|gp\d+)$")
_USB_PORT: Final = re.compile(r"\d+-\d+(\.\d+)*$")
# Below some of them people mount what they like; that is in use, and not the system.
_SYSTEM: Final = re.compile(
    r"/|/(home|opt|root|srv|tmp)|/(boot|efi|etc|gnu|nix|sysroot|usr|var)(/.*)?"
)
_FILE_HINT: Final = "truncate -s 8G disk.img makes a file that stands for a disk"


def find_disks(root: Path = Path("/")) -> list[Disk]:
    """Return the whole disks of this machine, by name; empty drives and card slots are left out.

    Args:
        root: below which ``sys`` and ``proc`` stand.
    """
    tree = BlockTree(root)
    return [
        _disk(tree, name, tree.node(name))
        for name in tree.names()
        if not tree.is_partition(name)
        and not _NO_DISK.match(name)
        and not _BOOT_AREA.match(name)
        and tree.number(name, "size")
    ]


def disk_at(path: Path, tree: BlockTree | None = None) -> Disk:
    """Return the disk at a path: a block device, a link to one, or a plain file.

    Raises:
        FlashError: nothing is there, or nothing that an image can be written to.
    """
    tree = tree or BlockTree()
    try:
        place = path.resolve(strict=True)
        number = tree.number_of(place)
    except OSError as error:
        raise _no_disk(path, error) from error
    if number is not None:
        return _device(tree, path, place, number)
    if place.is_dir():
        raise FlashError(
            f"{path} is a directory, not a disk",
            hint="edgekit flash --list shows the disks; name the whole disk, such as /dev/sdX",
        )
    if not place.is_file():
        raise FlashError(f"{path} is neither a block device nor a plain file", hint=_FILE_HINT)
    return _file(tree, place)


def _no_disk(path: Path, error: OSError) -> FlashError:
    if isinstance(error, FileNotFoundError):
        hint = "edgekit flash --list shows the disks that are here"
        if not str(path).startswith("/dev/"):
            hint = f"{hint}; {_FILE_HINT}"
        return FlashError(f"there is no disk at {path}", hint=hint)
    return FlashError(f"cannot look at {path}: {error.strerror}", hint="edgekit flash --list")


def _device(tree: BlockTree, path: Path, place: Path, number: str) -> Disk:
    name = tree.name_of(number)
    if name is None:
        raise FlashError(
            f"{path} is block device {number}, which the kernel does not know",
            hint="was it pulled? edgekit flash --list shows the disks that are here",
        )
    if tree.is_partition(name):
        whole = tree.node(tree.whole(name))
        raise FlashError(
            f"{path} is a partition; an image holds a partition table and needs a whole disk",
            hint=f"the disk that it is a part of is {whole}",
        )
    if _BOOT_AREA.match(name):
        raise FlashError(
            f"{path} is a boot area of an eMMC, not a disk",
            hint="edgekit flash --list shows the whole disks",
        )
    return _disk(tree, name, place)


def _file(tree: BlockTree, place: Path) -> Disk:
    uses = [
        use for loop in tree.loops_on(place) for use in _uses(tree, loop) or (f"[held by {loop}]",)
    ]
    return Disk(
        path=place,
        size_bytes=place.stat().st_size,
        is_file=True,
        model="plain file",
        removable=True,
        read_only=not os.access(place, os.W_OK),
        mounts=tuple(uses),
        system=any(_is_system(use) for use in uses),
    )


def _disk(tree: BlockTree, name: str, path: Path) -> Disk:
    uses = _uses(tree, name)
    return Disk(
        path=path,
        size_bytes=tree.number(name, "size") * _SECTOR_BYTES,
        model=_model(tree, name),
        serial=_serial(tree, name),
        port=_port(tree, name),
        removable=_is_removable(tree, name),
        read_only=tree.read(name, "ro") == "1",
        mounts=uses,
        system=any(_is_system(use) for use in uses),
        logical_block_bytes=tree.number(name, "queue/logical_block_size") or _SECTOR_BYTES,
    )


def _uses(tree: BlockTree, name: str) -> tuple[str, ...]:
    """Return where any of the disk's family is mounted; else what holds it, in brackets."""
    family = tree.family(name)
    points = [use.point for use in tree.uses() if use.device in family]
    if points:
        return tuple(dict.fromkeys(points))
    held = [holder for each in family for holder in tree.holders(each)]
    return tuple(
        f"[held by {tree.read(holder, 'dm/name') or holder}]" for holder in dict.fromkeys(held)
    )


def _is_system(use: str) -> bool:
    return use == SWAP or _SYSTEM.fullmatch(use) is not None


def _usb(tree: BlockTree, name: str) -> Path | None:
    """Return the folder of the USB device that the disk is, or is plugged into."""
    for folder in tree.place(name).parents:
        if (folder / "idVendor").exists():
            return folder
    return None


def _is_removable(tree: BlockTree, name: str) -> bool:
    """A medium that comes out, or a disk on USB; an SD card, but no eMMC."""
    kind = tree.read(name, "device/type")
    if name.startswith("mmcblk"):
        return kind == "SD"
    return tree.read(name, "removable") == "1" or _usb(tree, name) is not None


def _model(tree: BlockTree, name: str) -> str:
    if name.startswith("mmcblk"):
        told = f"{tree.read(name, 'device/type')} {tree.read(name, 'device/name')}"
    elif name.startswith(("vd", "xvd")):
        # A virtio disk has no model, and its vendor is a number.
        told = "virtual disk"
    elif name.startswith("loop"):
        told = "loop device"
    else:
        told = f"{tree.read(name, 'device/vendor')} {tree.read(name, 'device/model')}"
    return " ".join(told.split())


def _serial(tree: BlockTree, name: str) -> str:
    own = tree.read(name, "device/serial") or tree.read(name, "serial")
    usb = _usb(tree, name)
    if own or usb is None:
        return own
    try:
        return (usb / "serial").read_text("utf-8", errors="replace").strip()
    except OSError:
        return ""


def _port(tree: BlockTree, name: str) -> str:
    usb = _usb(tree, name)
    if usb is not None and _USB_PORT.match(usb.name):
        return f"usb {usb.name}"
    for folder in tree.place(name).parents:
        if re.match(r"(mmc|nvme|ata|virtio)\d+$", folder.name):
            return folder.name
        if re.match(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$", folder.name):
            return f"pci {folder.name}"
    return ""


def refuse(disk: Disk, image_bytes: int | None, *, allow_system: bool) -> None:
    """Refuse a disk that must not be written to.

    Args:
        disk: what is to be written to.
        image_bytes: size of the image; ``None``: not known yet, so only the rest is looked at.
        allow_system: let a disk through that is built into this machine. One that is mounted or
            otherwise in use stays refused: what runs from it would go on writing to it.

    Raises:
        FlashError: it must not be written to; the hint says what would make it fit.
    """
    if disk.system:
        raise FlashError(
            f"{disk.path} holds this machine's own system: {_listed(disk.mounts)}",
            hint="name another disk: edgekit flash --list. A system cannot be overwritten while "
            "it runs, not with --allow-system-disk either; start this machine from another disk",
        )
    if disk.mounts:
        raise FlashError(f"{disk.path} is in use: {_listed(disk.mounts)}", hint=_release(disk))
    if not disk.removable and not allow_system:
        raise FlashError(
            f"{disk.path} ({disk.model or 'no model'}) is built in, not removable",
            hint="if it is really the one to erase, say --allow-system-disk",
        )
    if disk.read_only:
        raise FlashError(f"{disk.path} is read-only", hint=_unlock(disk))
    if image_bytes is not None and disk.size_bytes < image_bytes:
        raise FlashError(
            f"{disk.path} is too small: it holds {disk.size_bytes} bytes and the image "
            f"{image_bytes}, {image_bytes - disk.size_bytes} more",
            hint=f"truncate -s {image_bytes} {disk.path}" if disk.is_file else "take a larger disk",
        )
    if not disk.size_bytes:
        raise FlashError(
            f"{disk.path} holds nothing: 0 bytes",
            hint=_FILE_HINT if disk.is_file else "is there a card in the reader?",
        )


def _listed(mounts: Sequence[str]) -> str:
    return ", ".join(each if each.startswith("[") else f"mounted at {each}" for each in mounts)


def _release(disk: Disk) -> str:
    points = [each for each in disk.mounts if each.startswith("/")]
    if points:
        return f"umount {' '.join(points)}"
    return "close what holds it first: cryptsetup close, vgchange -an, mdadm --stop or losetup -d"


def _unlock(disk: Disk) -> str:
    if disk.is_file:
        return f"chmod u+w {disk.path}"
    return "SD cards and adapters have a slide that locks them; a worn-out card locks itself"


def refuse_twins(disks: Sequence[Disk]) -> None:
    """Refuse to write one disk twice at once, by whatever names it was given.

    Raises:
        FlashError: two of them are one.
    """
    seen: dict[tuple[int, int], Disk] = {}
    for disk in disks:
        state = disk.path.stat()
        key = (-1, state.st_rdev) if not disk.is_file else (state.st_dev, state.st_ino)
        if key in seen:
            raise FlashError(
                f"{seen[key].path} and {disk.path} are the same disk",
                hint="name each disk once",
            )
        seen[key] = disk


def refuse_claimed(disk: Disk) -> None:
    """Refuse a device that somebody else holds, or that this user may not write to.

    What is mounted in another container, or a member of a ZFS pool, shows in no table that this
    process sees; the kernel knows, and refuses to open such a device exclusively.

    Raises:
        FlashError: it is held, or closed to this user.
    """
    # Not opened for writing: when such a descriptor is closed, desktops mount what they find.
    flags = os.O_RDONLY if disk.is_file else os.O_RDONLY | os.O_EXCL
    try:
        os.close(os.open(disk.path, flags | os.O_CLOEXEC))
        if not os.access(disk.path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), disk.path)
    except OSError as error:
        raise FlashError(
            f"{disk.path} cannot be opened for writing: {error.strerror}", hint=_opening(error)
        ) from error


def _opening(error: OSError) -> str:
    if error.errno == errno.EBUSY:
        return "another program, container or RAID holds it: lsblk and fuser -v tell which"
    if error.errno in {errno.EACCES, errno.EPERM}:
        return "run edgekit with sudo, or put yourself into the group that owns the device"
    if error.errno == errno.ENOMEDIUM:
        return "is there a card in the reader?"
    return "is it still plugged in? edgekit flash --list"
