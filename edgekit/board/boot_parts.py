"""What a disk for ARM needs to boot by itself: Debian's kernel, modules, GRUB and busybox.

Nothing of it is installed, so nothing runs emulated: packages are unpacked, files are taken.
"""

import json
import shutil
from pathlib import Path
from typing import Final

from edgekit.board.debian_packages import PackageArchive, said, unpack
from edgekit.board.kernel import load_order
from edgekit.board.rootfs import archive_line, boards_folder, check_room
from edgekit.catalog.cache import KeyedCache, remove_tree
from edgekit.core.errors import DeviceError
from edgekit.core.events import EventSink, StepFinished, StepStarted

_FORMAT: Final = 2
_META: Final = "linux-image-arm64"
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


def boot_parts(suite: str, mirror: str | None, emit: EventSink) -> Path:
    """Return the folder with what boots; fetch it if it is not in the cache.

    It holds ``release``, ``vmlinuz``, ``lib/modules/<release>``, ``device-trees``, ``busybox`` and
    ``grubaa64.efi``.

    Raises:
        DeviceError: a package cannot be had.
        DiskFullError: the cache's disk has no room for it.
    """
    key = json.dumps([_FORMAT, suite, mirror, _META, _GRUB, _BUSYBOX, _MODULES, _DEVICE_TREES])
    cache = KeyedCache(boards_folder() / "boot-parts")
    if found := cache.get(key):
        return found
    step = "board:boot-parts"

    def fill(folder: Path) -> None:
        emit(StepStarted(step, "Fetch Debian's kernel and GRUB for arm64 (once, 60 MB)"))
        scratch = folder / "scratch"
        try:
            check_room(folder)
            scratch.mkdir()
            release = _fill(folder, scratch, archive_line(suite, mirror), step, emit)
            remove_tree(scratch)
        except BaseException:
            emit(StepFinished(step, "failed", ok=False))
            raise
        emit(StepFinished(step, release))

    return cache.build(key, fill, emit=emit, subject="the kernel and boot loader of disks")


def _fill(folder: Path, scratch: Path, line: str, step: str, emit: EventSink) -> str:
    archive = PackageArchive(scratch, line, "arm64")
    images = [name for name in archive.dependencies(_META) if name.startswith("linux-image-")]
    if len(images) != 1:
        raise DeviceError(
            f"Debian's {_META} needs {', '.join(images) or 'no kernel'}: one expected"
        )
    (image,) = images
    release = image.removeprefix("linux-image-")
    archive.download([image, _GRUB, _BUSYBOX], scratch, step, emit)
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
    _choose_modules(scratch / image, release, folder)
    (folder / "release").write_text(release, encoding="ascii")
    return release


def _choose_modules(image: Path, release: str, folder: Path) -> None:
    said(["depmod", "-b", image, release])
    tree = image / "lib" / "modules" / release
    chosen = folder / "lib" / "modules" / release
    for file in load_order(tree, _MODULES):
        (chosen / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / file, chosen / file)
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copyfile(tree / name, chosen / name)
    said(["depmod", "-b", folder, release])
