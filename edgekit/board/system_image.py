"""Disks of system boards: the root file system of user-mode boards, with a kernel's modules."""

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.board import keys, privilege
from edgekit.board.debian_packages import said
from edgekit.board.initial_ramdisk import initial_ramdisk
from edgekit.board.kernel import load_order
from edgekit.board.machine_types import MACHINE_TYPES
from edgekit.board.privilege import SYSTEM_PATH, Privilege
from edgekit.board.rootfs import boards_folder, check_room, remove_as_root
from edgekit.catalog.cache import KeyedCache
from edgekit.core.events import EventSink, StepFinished, StepStarted

_FORMAT: Final = 1
_SCRIPTS: Final = Path(__file__).parent / "system"
# Sparse: what is not written takes no place. An SD card of QEMU's must be a power of two.
_DISK_SIZE: Final = "4G"
HOST_KEY: Final = "ssh_host_ed25519_key"


@dataclass(frozen=True)
class Parts:
    """What an image is made of: each a folder in the cache, named by what went into it."""

    rootfs: Path
    kernel: Path
    modules: Path
    client_key: Path

    @property
    def key(self) -> str:
        """A text that differs where the image would."""
        scripts = {
            path.name: hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(_SCRIPTS.glob("*.sh"))
        }
        names = [self.rootfs.name, self.kernel.name, self.modules.name]
        login = [keys.public_key(self.client_key), keys.system_sshd_config()]
        boot = {machine.name: machine.boot_modules for machine in MACHINE_TYPES}
        return json.dumps([_FORMAT, names, scripts, login, _DISK_SIZE, boot], sort_keys=True)


def image_folder(parts: Parts, emit: EventSink) -> Path:
    """Return the folder with ``disk.img``, ``initrd.img`` and the boards' host key.

    It takes root, if it is not in the cache: files of a root file system belong to root.

    Raises:
        DeviceError: it cannot be made.
    """
    cache = _cache()
    if found := cache.get(parts.key):
        return found
    step = "board:image"

    def fill(folder: Path) -> None:
        emit(StepStarted(step, "Make the disk of system boards"))
        try:
            _fill(folder, parts)
        except BaseException:
            emit(StepFinished(step, "failed", ok=False))
            raise
        emit(StepFinished(step))

    return cache.build(parts.key, fill, emit=emit, subject="the disk of system boards")


def image_path(parts: Parts) -> Path:
    """Return where the image's folder stands, or would stand."""
    return _cache().path_of(parts.key)


def _cache() -> KeyedCache:
    return KeyedCache(boards_folder() / "images")


def _fill(folder: Path, parts: Parts) -> None:
    root = privilege.obtain("Making the disk of system boards")
    keys.ensure_key(folder / HOST_KEY, "edgekit system boards")
    # Of a fixed name: what a killed process left, root alone can remove.
    scratch = boards_folder() / f".image-{folder.name}"
    remove_as_root(scratch, root)
    check_room(boards_folder())
    scratch.mkdir()
    try:
        added = scratch / "added"
        _lay_out(added, folder, parts)
        _write_ramdisk(folder, added, parts)
        _write_disk(folder / "disk.img", scratch / "tree", added, parts.rootfs, root)
    finally:
        remove_as_root(scratch, root)


def _lay_out(added: Path, folder: Path, parts: Parts) -> None:
    """Put together what stands on the board beside the root file system's own files."""
    release = (parts.kernel / "release").read_text(encoding="ascii")
    tree = added / "usr" / "lib" / "modules" / release
    shutil.copytree(parts.kernel / "modules" / "lib" / "modules" / release, tree)
    shutil.copytree(parts.modules, tree / "extra")
    said(["depmod", "-b", added / "usr", release])
    own = added / "usr" / "lib" / "edgekit"
    programs = added / "usr" / "sbin"
    libraries = added / "usr" / "lib" / "aarch64-linux-gnu"
    for each in (own, programs, libraries):
        each.mkdir(parents=True)
    tools = parts.kernel / "tools"
    shutil.copy(tools / "bin" / "busybox", own / "busybox")
    for name in ("modprobe", "insmod", "rmmod", "lsmod", "ip"):
        (programs / name).symlink_to("../lib/edgekit/busybox")
    for name in ("i2cdetect", "i2cdump", "i2cget", "i2cset", "i2ctransfer"):
        shutil.copy(tools / "usr" / "sbin" / name, programs)
    for library in (tools / "usr" / "lib" / "aarch64-linux-gnu").glob("libi2c.so*"):
        shutil.copy(library, libraries, follow_symlinks=False)
    shutil.copy(tools / "sbin" / "dmsetup", programs)
    shutil.copy(next((tools / "lib").glob("*/libdevmapper.so.*")), libraries)
    _script("init", own / "init")
    _script("virtual-sensors", programs / "virtual-sensors")
    etc = added / "etc" / keys.CONFIG_FOLDER
    etc.mkdir(parents=True)
    (etc / "sshd_config").write_text(keys.system_sshd_config(), encoding="ascii")
    login = f"{keys.public_key(parts.client_key)}\n"
    (etc / "authorized_keys").write_text(login, encoding="ascii")
    shutil.copy(folder / HOST_KEY, etc)
    (etc / HOST_KEY).chmod(0o600)
    # A name to begin with: each board gets its own when it is started.
    (added / "etc" / "hostname").write_text("board\n", encoding="ascii")
    (added / "etc" / "hosts").write_text("127.0.0.1 localhost board\n", encoding="ascii")


def _script(name: str, place: Path) -> None:
    shutil.copyfile(_SCRIPTS / f"{name}.sh", place)
    place.chmod(0o755)


def _write_ramdisk(folder: Path, added: Path, parts: Parts) -> None:
    release = (parts.kernel / "release").read_text(encoding="ascii")
    tree = added / "usr" / "lib" / "modules" / release
    files = {
        "init": (_SCRIPTS / "initial_ramdisk_init.sh").read_bytes(),
        "bin/busybox": (parts.kernel / "tools" / "bin" / "busybox").read_bytes(),
    }
    for machine in MACHINE_TYPES:
        order = load_order(tree, machine.boot_modules)
        files[f"modules/{machine.name}"] = "".join(
            f"{Path(path).name}\n" for path in order
        ).encode()
        for path in order:
            files[f"lib/{Path(path).name}"] = (tree / path).read_bytes()
    (folder / "initrd.img").write_bytes(initial_ramdisk(files))


def _write_disk(disk: Path, tree: Path, added: Path, rootfs: Path, root: Privilege) -> None:
    """Write a file system of both trees; nothing is mounted for it."""
    mke2fs = shutil.which("mke2fs", path=SYSTEM_PATH) or "mke2fs"
    root.run(["cp", "-a", "--reflink=auto", rootfs, tree])
    root.run(["chown", "-R", "0:0", added])
    root.run(["cp", "-a", f"{added}/.", tree])
    # No journal: a machine that ended is never started from its disk again.
    features = ["-O", "^has_journal,^metadata_csum", "-E", "lazy_itable_init=1,nodiscard"]
    root.run([mke2fs, "-q", "-t", "ext4", *features, "-m", "0", "-d", tree, disk, _DISK_SIZE])
    root.run(["chown", f"{os.getuid()}:{os.getgid()}", disk])
    disk.chmod(0o444)
