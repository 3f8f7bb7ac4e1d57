"""What a disk for ARM needs to boot by itself: Debian's kernel, modules, GRUB and busybox.

Nothing of it is installed, so nothing runs emulated: packages are unpacked, files are taken.
"""

import shutil
from pathlib import Path
from typing import Final

from edgekit.board.debian_packages import PackageArchive, Selection, said, unpack
from edgekit.board.kernel import IMAGE, META, choose_modules, kernel_package
from edgekit.core.events import EventSink

_FORMAT: Final = 2
_GRUB: Final = "grub-efi-arm64-bin"
_BUSYBOX: Final = "busybox-static"
# One program with all of GRUB's modules in it, which looks for its settings in EFI/debian.
_GRUB_PROGRAM: Final = "usr/lib/grub/arm64-efi/monolithic/grubaa64.efi"
BOOT_MODULES: Final = ("virtio_mmio", "virtio_pci", "virtio_blk", "crc32c_generic", "ext4")
_MODULES: Final = (
    *BOOT_MODULES,
    *("virtio_net", "virtio_rng"),
    *("vfat", "nls_cp437", "nls_ascii"),  # the EFI system partition
    *("loop", "squashfs", "dm-verity", "sha256_generic"),  # RAUC's bundles
    "softdog",
)
# By these it is told from outside which boards an image is for; the machine has a tree of its own.
_DEVICE_TREES: Final = "rockchip/rk3566-*.dtb"
_SELECTION: Final = Selection(
    "boot-parts",
    "the kernel and boot loader of disks",
    60,
    "arm64",
    (_FORMAT, META, _GRUB, _BUSYBOX, _MODULES, _DEVICE_TREES),
)


def boot_parts(suite: str, mirror: str | None, emit: EventSink) -> Path:
    """Return the folder with what boots; fetch it if it is not in the cache.

    It holds ``release``, ``vmlinuz``, ``lib/modules/<release>``, ``device-trees``, ``busybox`` and
    ``grubaa64.efi``.

    Raises:
        DeviceError: a package cannot be had.
        DiskFullError: the cache's disk has no room for it.
    """
    return _SELECTION.folder(suite, mirror, _fill, emit)


def boot_parts_path(suite: str, mirror: str | None) -> Path:
    """Return where the folder with what boots stands, or would stand."""
    return _SELECTION.path(suite, mirror)


def _fill(folder: Path, scratch: Path, archive: PackageArchive) -> str:
    image = kernel_package(archive)
    release = image.removeprefix(IMAGE)
    archive.download([image, _GRUB, _BUSYBOX], scratch)
    for package in (image, _GRUB, _BUSYBOX):
        unpack(next(scratch.glob(f"{package}_*.deb")), scratch / package)
    shutil.copyfile(scratch / image / "boot" / f"vmlinuz-{release}", folder / "vmlinuz")
    shutil.copyfile(scratch / _GRUB / _GRUB_PROGRAM, folder / "grubaa64.efi")
    shutil.copyfile(scratch / _BUSYBOX / "bin" / "busybox", folder / "busybox")
    trees = scratch / image / "usr" / "lib" / image
    for tree in trees.glob(_DEVICE_TREES):
        place = folder / "device-trees" / tree.relative_to(trees)
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree, place)
    choose_modules(scratch / image, release, _MODULES, folder)
    said(["depmod", "-b", folder, release])
    (folder / "release").write_text(release, encoding="ascii")
    return release
