"""The kernel of system boards: Debian's own for arm64, as the archive serves it when it is made.

Nothing of it is installed: the packages are unpacked here, and what is needed of them is kept.
"""

import shutil
from pathlib import Path
from typing import Final

from edgekit.board.debian_packages import PackageArchive, Selection, said, unpack
from edgekit.board.machine_types import MACHINE_TYPES
from edgekit.core.errors import DeviceError
from edgekit.core.events import EventSink

_FORMAT: Final = 1
META: Final = "linux-image-arm64"
IMAGE: Final = "linux-image-"
# Programs that the root file system lacks: busybox for the initial one, i2cset for the sensors,
# dmsetup for disks that fail.
_TOOLS: Final = ("busybox-static", "i2c-tools", "libi2c0", "dmsetup", "libdevmapper1.02.1")
_MODULES: Final = (
    *(name for machine in MACHINE_TYPES for name in (*machine.boot_modules, *machine.modules)),
    *("vivid", "null_blk", "softdog", "sch_netem"),
    *("sd_mod", "crc-t10dif", "dm-flakey"),
)
_TREES: Final = tuple(each.device_tree for each in MACHINE_TYPES if each.device_tree)
# What Debian's configuration leaves out, and its headers, by place in the kernel's sources.
DRIVERS: Final = (
    "drivers/i2c/i2c-stub.c",
    "drivers/hwmon/ina2xx.c",
    "drivers/hwmon/ina3221.c",
    "drivers/power/supply/test_power.c",
    "drivers/scsi/scsi_debug.c",
    "drivers/scsi/scsi_logging.h",
    "drivers/scsi/sd.h",
)
_SELECTION: Final = Selection(
    "kernels",
    "the kernel of system boards",
    210,
    "arm64",
    (_FORMAT, META, _TOOLS, _MODULES, _TREES, DRIVERS),
)


def kernel_folder(suite: str, mirror: str | None, emit: EventSink) -> Path:
    """Return the folder with the kernel; fetch it if it is not in the cache.

    It holds ``release`` (the kernel's own name of its version), ``vmlinuz``, ``modules/`` (a
    ``lib/modules`` with what boards need), ``trees/`` (device trees), ``tools/`` (programs for the
    board), ``drivers/`` (sources) and ``headers/`` (packages).

    Raises:
        DeviceError: a package cannot be had.
        DiskFullError: the cache's disk has no room for it.
    """
    return _SELECTION.folder(suite, mirror, _fill, emit)


def kernel_path(suite: str, mirror: str | None) -> Path:
    """Return where the kernel's folder stands, or would stand."""
    return _SELECTION.path(suite, mirror)


def kernel_package(archive: PackageArchive) -> str:
    """Return the name of the package with the archive's newest kernel for arm64.

    Raises:
        DeviceError: the archive has none.
    """
    return _only(archive.dependencies(META), IMAGE, META)


def _fill(folder: Path, scratch: Path, archive: PackageArchive) -> str:
    image = kernel_package(archive)
    release = image.removeprefix(IMAGE)
    headers = f"linux-headers-{release}"
    needed = archive.dependencies(headers)
    common = _only(needed, "linux-headers-", headers)
    kbuild = _only(needed, "linux-kbuild-", headers)
    source = f"linux-source-{'.'.join(release.split('.')[:2])}"
    built_from = [headers, common, f"{kbuild}:{archive.host_architecture}"]
    (folder / "headers").mkdir()
    archive.download(built_from, folder / "headers")
    archive.download([image, source, *_TOOLS], scratch)
    for tool in _TOOLS:
        unpack(_file(scratch, tool), folder / "tools")
    unpack(_file(scratch, image), scratch / "image")
    shutil.copyfile(scratch / "image" / "boot" / f"vmlinuz-{release}", folder / "vmlinuz")
    choose_modules(scratch / "image", release, _MODULES, folder / "modules")
    for tree in _TREES:
        place = folder / "trees" / tree
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(scratch / "image" / "usr" / "lib" / image / tree, place)
    _take_drivers(_file(scratch, source), scratch, folder / "drivers")
    (folder / "release").write_text(release, encoding="ascii")
    return release


def _only(names: tuple[str, ...], start: str, package: str) -> str:
    found = [name for name in names if name.startswith(start)]
    if len(found) != 1:
        raise DeviceError(f"Debian's {package} needs {', '.join(names)}: one {start}* was expected")
    return found[0]


def _file(folder: Path, package: str) -> Path:
    return next(folder.glob(f"{package}_*.deb"))


def choose_modules(image: Path, release: str, names: tuple[str, ...], folder: Path) -> None:
    """Copy modules of an unpacked kernel, with all that these need, in the kernel's own layout.

    Raises:
        DeviceError: the kernel has no such module.
    """
    said(["depmod", "-b", image, release])
    tree = image / "lib" / "modules" / release
    chosen = folder / "lib" / "modules" / release
    for file in load_order(tree, names):
        (chosen / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(tree / file, chosen / file)
    # By these two depmod knows what is in the kernel itself.
    for name in ("modules.order", "modules.builtin", "modules.builtin.modinfo"):
        shutil.copyfile(tree / name, chosen / name)


def load_order(tree: Path, names: tuple[str, ...]) -> tuple[str, ...]:
    """Return the files of modules and of all that they need, those that are needed first.

    Args:
        tree: a folder of modules, after depmod.
        names: modules; one that is built into the kernel needs no file.

    Raises:
        DeviceError: the kernel has no such module.
    """
    needs: dict[str, list[str]] = {}
    by_name: dict[str, str] = {}
    for line in (tree / "modules.dep").read_text(encoding="ascii").splitlines():
        file, _, others = line.partition(":")
        needs[file] = others.split()
        by_name[_module_name(file)] = file
    inside = {
        _module_name(line)
        for line in (tree / "modules.builtin").read_text(encoding="ascii").splitlines()
    }
    files: dict[str, None] = {}
    for name in names:
        plain = name.replace("-", "_")
        if plain in by_name:
            # depmod writes down all that is needed, the last to be loaded first.
            for file in (*reversed(needs[by_name[plain]]), by_name[plain]):
                files[file] = None
        elif plain not in inside:
            raise DeviceError(f"the kernel {tree.name} has no module {name}")
    return tuple(files)


def _module_name(file: str) -> str:
    return Path(file).name.partition(".ko")[0].replace("-", "_")


def _take_drivers(package: Path, scratch: Path, folder: Path) -> None:
    """Take single files out of the package of the kernel's sources, an archive in an archive."""
    unpack(package, scratch / "source")
    (archive,) = (scratch / "source" / "usr" / "src").glob("linux-source-*.tar.xz")
    top = archive.name.removesuffix(".tar.xz")
    names = [f"{top}/{path}" for path in DRIVERS]
    folder.mkdir()
    said(["tar", "-xJf", archive, "-C", scratch, *names])
    for path in DRIVERS:
        shutil.copyfile(scratch / top / path, folder / Path(path).name)
