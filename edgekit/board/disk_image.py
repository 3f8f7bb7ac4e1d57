"""A disk image of Debian for ARM that boots by itself, with two root slots for updates by RAUC.

Layout: a GPT with ``esp`` (GRUB, its settings and environment), ``root-a``, ``root-b`` (empty until
the first update) and ``data`` (homes, and what makes a device itself). Nothing is mounted for it.
"""

import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.board import privilege, requirements
from edgekit.board.boot_parts import BOOT_MODULES, boot_parts
from edgekit.board.debian_packages import said
from edgekit.board.gpt import EFI_SYSTEM, LINUX_DATA, LINUX_ROOT_ARM64, Extent, write_gpt
from edgekit.board.initial_ramdisk import initial_ramdisk
from edgekit.board.kernel import load_order
from edgekit.board.privilege import SYSTEM_PATH, Privilege
from edgekit.board.rootfs import (
    BOARD_USER,
    RootfsRecipe,
    boards_folder,
    build_rootfs,
    check_room,
    recipe_for,
    remove_as_root,
    rootfs_path,
)
from edgekit.catalog.cache import KeyedCache
from edgekit.catalog.settings import settings
from edgekit.core.errors import DeviceError
from edgekit.core.events import EventSink, StepFinished, StepStarted, ignore

COMPATIBLE: Final = "edgekit-virt-arm64"
"""What RAUC on the device calls the kind of system that it takes."""

DISK: Final = "disk.img"
ROOT: Final = "root.img"
_FILES: Final = Path(__file__).parent / "disk"
_ESP_FILES: Final = "EFI/debian"
_MIB: Final = 1 << 20
_LAYOUT: Final = (
    Extent(1 * _MIB, 32 * _MIB, EFI_SYSTEM, "esp"),
    Extent(33 * _MIB, 576 * _MIB, LINUX_ROOT_ARM64, "root-a"),
    Extent(609 * _MIB, 576 * _MIB, LINUX_ROOT_ARM64, "root-b"),
    Extent(1185 * _MIB, 512 * _MIB, LINUX_DATA, "data"),
)
_SIZE_BYTES: Final = 1698 * _MIB  # sparse: what is not written takes no place
# Of an update's root: the device carries over into it what is its own.
_SPARE_BYTES: Final = 24 * _MIB
_PACKAGES: Final = (
    *("dbus", "e2fsprogs", "grub-common", "iproute2", "kmod", "rauc", "rauc-service", "sudo"),
    *("systemd-sysv", "udev"),
)
# What GRUB and RAUC agree on: one good root; the environment's fixed size is GRUB's.
_ENVIRONMENT: Final = "# GRUB Environment Block\nORDER=A B\nA_OK=1\nB_OK=0\nA_TRY=0\nB_TRY=0\n"
_ENVIRONMENT_BYTES: Final = 1024
_EXT4: Final = ("-q", "-t", "ext4", "-m", "0", "-E", "lazy_itable_init=1,nodiscard")
_FSTAB: Final = "/dev/disk/by-partlabel/esp /boot/efi vfat umask=0077,sync 0 0\n"
# What a device that nobody keeps up by hand does not need, and is slow to start.
_MASKED: Final = (
    "e2scrub_reap.service",
    "systemd-pstore.service",
    "proc-sys-fs-binfmt_misc.automount",
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "fstrim.timer",
    "logrotate.timer",
    "getty@tty1.service",
    "serial-getty@ttyAMA0.service",
)
_MARK: Final = '{"kind": "disk"}\n'
_NETWORK: Final = "[Match]\nName=e*\n\n[Network]\nDHCP=yes\n"


@dataclass(frozen=True)
class DiskImage:
    """An image, and what an update of it is made from; nothing of it may be written to."""

    folder: Path

    @property
    def disk(self) -> Path:
        """Raw image of the whole disk."""
        return self.folder / DISK

    @property
    def root(self) -> Path:
        """Its root as a file system of its own, no larger than it must be."""
        return self.folder / ROOT


def disk_recipe() -> RootfsRecipe:
    """Return the recipe of the root file system."""
    base = recipe_for("aarch64")
    return RootfsRecipe(base.architecture, base.suite, _PACKAGES, base=base, hooks=())


def disk_image(*, mirror: str | None = None, emit: EventSink = ignore) -> DiskImage:
    """Return the image; make it if it is not in the cache, which takes root and some minutes.

    Args:
        mirror: Debian archive; ``None`` for the setting ``debian_mirror``, and failing that the
            host's own.
        emit: told of each step.

    Raises:
        DeviceError: the host lacks something, or a step failed.
        DiskFullError: the cache's disk has no room for it.
    """
    mirror = mirror or settings().debian_mirror
    recipe = disk_recipe()
    cache, key = _cache(), _key(mirror)
    if found := cache.get(key):
        return DiskImage(found)
    requirements.check_disk_requirements()
    parts = boot_parts(recipe.suite, mirror, emit)
    rootfs = rootfs_path(recipe)
    root = privilege.obtain("Making a disk image")
    if not rootfs.is_dir():
        requirements.enable_binfmt(root)
        build_rootfs(recipe, root, mirror=mirror, emit=emit)
    step = "board:disk-image"

    def fill(folder: Path) -> None:
        emit(StepStarted(step, "Make a disk image of Debian for arm64"))
        try:
            _fill(folder, rootfs, parts, root)
        except BaseException:
            emit(StepFinished(step, "failed", ok=False))
            raise
        emit(StepFinished(step))

    return DiskImage(cache.build(key, fill, emit=emit, subject="the disk image of Debian"))


def disk_image_path() -> Path:
    """Return where the image's folder stands, or would stand."""
    return _cache().path_of(_key(settings().debian_mirror))


def _cache() -> KeyedCache:
    return KeyedCache(boards_folder() / "disks")


def _key(mirror: str | None) -> str:
    # This file too: much of what stands on the disk is written down in it.
    files = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (*_files(), Path(__file__))
    }
    return json.dumps([disk_recipe().name, mirror, files], sort_keys=True)


def copy_image(image: Path, place: Path, files: Mapping[str, Path]) -> None:
    """Copy an image, of a disk or of its root alone, and put files into the copy's root.

    Args:
        image: one of :class:`DiskImage`.
        place: where the copy comes to stand.
        files: what to put in, by its path there; they will belong to root. What stands there
            already is replaced.

    Raises:
        DeviceError: a file cannot be put in.
    """
    said(["cp", "--sparse=always", image, place])
    place.chmod(0o644)
    offset = _slot("root-a").start_bytes if image.name == DISK else 0
    for path, source in files.items():
        folders = [str(folder) for folder in reversed(Path(path).parents)][1:]
        # What is there already, and what is not, is no fault of these.
        _edit(place, offset, [*(f"mkdir {folder}" for folder in folders), f"rm {path}"])
        name = Path(path).name
        told = _edit(place, offset, [f"cd {folders[-1]}", f'write "{source}" {name}'])
        if "Allocated inode" not in told:
            raise DeviceError(f"{path} could not be put into {place}: {told.strip()}")


def _edit(image: Path, offset: int, commands: list[str]) -> str:
    debugfs = shutil.which("debugfs", path=SYSTEM_PATH) or "debugfs"
    done = subprocess.run(
        [debugfs, "-w", "-f", "-", f"{image}?offset={offset}"],
        input="\n".join(commands),
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr


def _slot(name: str) -> Extent:
    return next(each for each in _LAYOUT if each.name == name)


def _files() -> list[Path]:
    return sorted(_FILES.iterdir())


def _fill(folder: Path, rootfs: Path, parts: Path, root: Privilege) -> None:
    # Of a fixed name: what a killed process left, root alone can remove.
    scratch = boards_folder() / f".disk-{folder.name}"
    remove_as_root(scratch, root)
    check_room(boards_folder())
    scratch.mkdir()
    try:
        added = scratch / "added"
        _lay_out(added, parts)
        tree = scratch / "tree"
        root.run(["cp", "-a", "--reflink=auto", rootfs, tree])
        root.run(["chown", "-R", "0:0", added])
        root.run(["cp", "-a", f"{added}/.", tree])
        _write_root(folder / ROOT, tree, root)
    finally:
        remove_as_root(scratch, root)
    _write_disk(folder, parts)


def _lay_out(added: Path, parts: Path) -> None:
    """Put together what stands on the root beside the packages' own files."""
    release = (parts / "release").read_text(encoding="ascii")
    tree = added / "usr" / "lib" / "modules" / release
    shutil.copytree(parts / "lib" / "modules" / release, tree)
    shutil.copytree(parts / "device-trees", added / "usr" / "lib" / f"linux-image-{release}")
    boot = added / "boot"
    (boot / "efi").mkdir(parents=True)
    shutil.copyfile(parts / "vmlinuz", boot / "vmlinuz")
    (boot / "initrd.img").write_bytes(_ramdisk(parts))
    (added / "data").mkdir()
    rauc = (_FILES / "rauc.conf").read_text(encoding="ascii").replace("@COMPATIBLE@", COMPATIBLE)
    texts = {
        "etc/fstab": _FSTAB,
        "etc/hostname": "debian\n",
        "etc/hosts": "127.0.0.1 localhost debian\n",
        # By this file the device agent knows that times mean nothing here.
        "etc/edgekit/virtual-board.json": _MARK,
        "etc/rauc/system.conf": rauc,
        f"etc/sudoers.d/{BOARD_USER}": f"{BOARD_USER} ALL=(ALL) NOPASSWD: ALL\n",
        "usr/lib/systemd/network/20-wired.network": _NETWORK,
    }
    for path, text in texts.items():
        (added / path).parent.mkdir(parents=True, exist_ok=True)
        (added / path).write_text(text, encoding="ascii")
    (added / f"etc/sudoers.d/{BOARD_USER}").chmod(0o440)
    own = added / "usr" / "lib" / "edgekit"
    own.mkdir()
    for script in _FILES.glob("*.sh"):
        shutil.copyfile(script, own / script.stem)
        (own / script.stem).chmod(0o755)
    _enable(added)


def _enable(added: Path) -> None:
    """Lay out units, and have them started, as ``systemctl enable`` would."""
    units = added / "usr" / "lib" / "systemd" / "system"
    wanted = added / "etc" / "systemd" / "system" / "multi-user.target.wants"
    for folder in (units, wanted):
        folder.mkdir(parents=True)
    for unit in (path for path in _files() if path.suffix in {".service", ".path", ".timer"}):
        shutil.copyfile(unit, units / unit.name)
        if "[Install]" in unit.read_text(encoding="ascii"):
            (wanted / unit.name).symlink_to(f"/usr/lib/systemd/system/{unit.name}")
    for name in ("ssh.service", "systemd-networkd.service"):
        (wanted / name).symlink_to(f"/lib/systemd/system/{name}")
    for name in _MASKED:
        (wanted.parent / name).symlink_to("/dev/null")


def _ramdisk(parts: Path) -> bytes:
    release = (parts / "release").read_text(encoding="ascii")
    tree = parts / "lib" / "modules" / release
    order = load_order(tree, BOOT_MODULES)
    files = {
        "init": (_FILES / "initial_ramdisk_init.sh").read_bytes(),
        "bin/busybox": (parts / "busybox").read_bytes(),
        "modules": "".join(f"{Path(path).name}\n" for path in order).encode(),
    }
    files |= {f"lib/{Path(path).name}": (tree / path).read_bytes() for path in order}
    return initial_ramdisk(files)


def _write_root(image: Path, tree: Path, root: Privilege) -> None:
    """Write the file system of a tree, as small as it can be with some room to spare."""
    slot = _slot("root-a")
    root.run(["mke2fs", *_EXT4, "-d", tree, image, f"{slot.size_bytes // 1024}k"])
    root.run(["chown", f"{os.getuid()}:{os.getgid()}", image])
    said(["resize2fs", "-M", image])
    least = image.stat().st_size
    said(["resize2fs", image, f"{(least + _SPARE_BYTES) // 1024}k"])


def _write_disk(folder: Path, parts: Path) -> None:
    disk = folder / DISK
    with disk.open("wb") as file:
        file.truncate(_SIZE_BYTES)
    write_gpt(disk, _LAYOUT)
    esp, slot, _, data = _LAYOUT
    _write_esp(disk, esp, folder, parts)
    grown = folder / ".root"
    said(["cp", "--sparse=always", folder / ROOT, grown])
    said(["truncate", "-s", str(slot.size_bytes), grown])
    said(["resize2fs", grown])
    _put(grown, disk, slot)
    grown.unlink()
    empty = folder / ".data"
    said(["mke2fs", *_EXT4, empty, f"{data.size_bytes // 1024}k"])
    _put(empty, disk, data)
    empty.unlink()
    for path in (disk, folder / ROOT):
        path.chmod(0o444)


def _write_esp(disk: Path, esp: Extent, folder: Path, parts: Path) -> None:
    image = folder / ".esp"
    with image.open("wb") as file:
        file.truncate(esp.size_bytes)
    environment = folder / ".grubenv"
    environment.write_text(_ENVIRONMENT.ljust(_ENVIRONMENT_BYTES, "#"), encoding="ascii")
    said(["mformat", "-i", image, "-v", "ESP", "-h", "64", "-s", "32", "-t", "32", "::"])
    said(["mmd", "-i", image, "::/EFI", "::/EFI/BOOT", f"::/{_ESP_FILES}"])
    for source, place in {
        parts / "grubaa64.efi": "EFI/BOOT/BOOTAA64.EFI",
        _FILES / "grub.cfg": f"{_ESP_FILES}/grub.cfg",
        environment: f"{_ESP_FILES}/grubenv",
    }.items():
        said(["mcopy", "-i", image, source, f"::/{place}"])
    _put(image, disk, esp)
    image.unlink()
    environment.unlink()


def _put(image: Path, disk: Path, extent: Extent) -> None:
    if image.stat().st_size > extent.size_bytes:
        raise DeviceError(f"{extent.name} is too small for what it shall hold")
    where = ["bs=1M", f"seek={extent.start_bytes // _MIB}", "conv=notrunc,sparse"]
    said(["dd", f"if={image}", f"of={disk}", "status=none", *where])


def slot_bytes(name: str) -> tuple[int, int]:
    """Return where a partition of the image begins, and its size."""
    slot = _slot(name)
    return slot.start_bytes, slot.size_bytes
