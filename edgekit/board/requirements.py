"""What the host must have before it can be a virtual board's home."""

import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.board import privilege
from edgekit.board.apt_sources import DEBIAN_KEYRING
from edgekit.board.privilege import SYSTEM_PATH, Privilege
from edgekit.core.errors import DeviceError
from edgekit.core.events import EventSink, StepFinished, StepStarted, ignore

BINFMT: Final = Path("/proc/sys/fs/binfmt_misc")
EFI_FIRMWARE: Final = Path("/usr/share/qemu-efi-aarch64/QEMU_EFI.fd")
_HANDLERS: Final = ("qemu-aarch64", "qemu-arm")
# Debian package -> programs that must be there.
_PACKAGES: Final = {
    "mmdebstrap": ("mmdebstrap",),
    "arch-test": ("arch-test",),  # mmdebstrap asks it whether ARM programs run here
    "qemu-user-static": ("qemu-aarch64-static", "qemu-arm-static"),
    "openssh-client": ("ssh", "ssh-keygen"),
    "util-linux": ("unshare", "setsid", "setpriv"),
}
# What a board that is a machine of its own needs besides.
_SYSTEM_PACKAGES: Final = {
    "qemu-system-arm": ("qemu-system-aarch64",),
    "qemu-utils": ("qemu-img",),
    "device-tree-compiler": ("dtc",),
    "e2fsprogs": ("mke2fs",),
    "kmod": ("depmod",),
    "gcc-aarch64-linux-gnu": ("aarch64-linux-gnu-gcc", "aarch64-linux-gnu-strip"),
    "make": ("make",),
    "zstd": ("zstd",),
    "xz-utils": ("xz",),
    "openssh-client": ("ssh", "ssh-keygen"),
}

# What making a disk image that boots by itself needs besides, and what starts one.
_DISK_PACKAGES: Final = {
    "e2fsprogs": ("mke2fs", "resize2fs"),
    "kmod": ("depmod",),
    "mtools": ("mcopy", "mformat", "mmd"),
}


@dataclass(frozen=True)
class Requirement:
    """One thing the host must have, and the exact command that brings it."""

    name: str
    present: bool
    install_command: str


def requirements() -> tuple[Requirement, ...]:
    """Tell what a virtual board needs of the host, and what of it is there. Quick, no root."""
    handlers = [_handler_ready(name) for name in _HANDLERS]
    packages = [
        Requirement(package, present, f"apt-get install --no-install-recommends -y {package}")
        for package, present in _packages(all(handlers))
    ]
    mount = f"mount -t binfmt_misc binfmt_misc {BINFMT}"
    mounted = Requirement("binfmt_misc", (BINFMT / "register").exists(), mount)
    registered = [
        Requirement(f"binfmt {name}", ready, f"update-binfmts --enable {name}")
        for name, ready in zip(_HANDLERS, handlers, strict=True)
    ]
    return (*packages, mounted, *registered)


def counting_requirement() -> Requirement:
    """Tell whether the emulator is there that can count what a board's program executes.

    A board is up without it. Recommended packages must stay away: the handlers of ``qemu-user``
    cannot stand beside those of ``qemu-user-static``.
    """
    names = ("qemu-aarch64", "qemu-arm")
    present = all(shutil.which(name, path=SYSTEM_PATH) for name in names)
    return Requirement("qemu-user", present, "apt-get install --no-install-recommends -y qemu-user")


def system_requirements() -> tuple[Requirement, ...]:
    """Tell what a system board needs of the host, and what of it is there. Quick, no root.

    Its root file system is that of user-mode boards: to make that, it takes what those need.
    """
    return _told(_SYSTEM_PACKAGES)


def disk_requirements() -> tuple[Requirement, ...]:
    """Tell what a disk image needs of the host, and what of it is there. Quick, no root.

    Its root file system is made as that of user-mode boards: that takes what those need.
    """
    return _told(_DISK_PACKAGES)


def boot_requirements() -> tuple[Requirement, ...]:
    """Tell what booting a disk in an emulated machine needs of the host. Quick, no root."""
    firmware = Requirement(
        "qemu-efi-aarch64",
        EFI_FIRMWARE.is_file(),
        "apt-get install --no-install-recommends -y qemu-efi-aarch64",
    )
    return (*_told({"qemu-system-arm": ("qemu-system-aarch64",)}), firmware)


def _told(packages: Mapping[str, tuple[str, ...]]) -> tuple[Requirement, ...]:
    return tuple(
        Requirement(
            package,
            all(shutil.which(name, path=SYSTEM_PATH) for name in programs),
            f"apt-get install --no-install-recommends -y {package}",
        )
        for package, programs in packages.items()
    )


def _packages(handlers_ready: bool) -> Iterator[tuple[str, bool]]:
    for package, programs in _PACKAGES.items():
        yield package, all(shutil.which(name, path=SYSTEM_PATH) for name in programs)
    # Whoever else registered the handlers did binfmt-support's work.
    support = shutil.which("update-binfmts", path=SYSTEM_PATH) is not None
    yield "binfmt-support", support or handlers_ready
    yield "debian-archive-keyring", DEBIAN_KEYRING.exists()


def _handler_ready(name: str) -> bool:
    """Tell whether the kernel starts this emulator also from inside another root folder."""
    try:
        lines = (BINFMT / name).read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        return False
    flags = next((line.partition(":")[2] for line in lines if line.startswith("flags:")), "")
    # F: the kernel opened the emulator when it was registered, so a chroot needs no copy of it.
    return "enabled" in lines and "F" in flags


def install_requirements(*, emit: EventSink = ignore) -> None:
    """Bring what is missing: packages by apt, then the kernel's side of binfmt_misc.

    Raises:
        DeviceError: no root, no apt, or apt failed.
    """
    missing = [entry for entry in requirements() if not entry.present]
    if not missing:
        return
    step = "board:requirements"
    emit(StepStarted(step, f"Install {', '.join(entry.name for entry in missing)}"))
    try:
        _install(missing, privilege.obtain("installing packages"))
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    emit(StepFinished(step))


def _install(missing: list[Requirement], root: Privilege) -> None:
    packages = [entry.name for entry in missing if entry.install_command.startswith("apt-get ")]
    if packages and shutil.which("apt-get", path=SYSTEM_PATH) is None:
        raise DeviceError(
            f"this host has no apt-get to install {', '.join(packages)}",
            hint="virtual boards are made on Debian or a system derived from it",
        )
    # Mounted first: a package that finds binfmt_misc in place registers its handlers itself.
    mount_binfmt(root)
    if packages:
        apt = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-o", "DPkg::Lock::Timeout=300"]
        root.run([*apt, "-qq", "update"])
        root.run([*apt, "-qq", "install", "--no-install-recommends", "-y", *packages])
    enable_binfmt(root)


def mount_binfmt(root: Privilege) -> None:
    """Mount binfmt_misc unless it is."""
    if not (BINFMT / "register").exists():
        root.run(["mount", "-t", "binfmt_misc", "binfmt_misc", BINFMT])


def enable_binfmt(root: Privilege) -> None:
    """Make the kernel start ARM programs in the emulator; nothing to do on most days.

    A machine without systemd forgets mount and handlers on every start.

    Raises:
        DeviceError: the handlers cannot be registered.
    """
    if all(map(_handler_ready, _HANDLERS)):
        return
    mount_binfmt(root)
    for name in _HANDLERS:
        if not _handler_ready(name):
            root.run(["update-binfmts", "--enable", name])


def check_requirements() -> None:
    """Refuse to go on without the packages.

    Raises:
        DeviceError: something is missing; the hint holds the command that brings it.
    """
    _check(requirements(), "a virtual board")


def check_system_requirements() -> None:
    """Refuse to go on without the packages that a system board needs.

    Raises:
        DeviceError: something is missing; the hint holds the command that brings it.
    """
    _check(system_requirements(), "a system board")


def check_disk_requirements() -> None:
    """Refuse to go on without the packages that making a disk image needs.

    Raises:
        DeviceError: something is missing; the hint holds the command that brings it.
    """
    _check((*requirements(), *disk_requirements()), "a disk image")


def check_boot_requirements() -> None:
    """Refuse to go on without what boots a disk in an emulated machine.

    Raises:
        DeviceError: something is missing; the hint holds the command that brings it.
    """
    _check(boot_requirements(), "a machine that boots a disk")


def _check(wanted: tuple[Requirement, ...], what: str) -> None:
    missing = [
        entry
        for entry in wanted
        if not entry.present and entry.install_command.startswith("apt-get ")
    ]
    if missing:
        names = " ".join(entry.name for entry in missing)
        raise DeviceError(
            f"{what} needs on this host: {names}",
            hint=f"run `apt-get install --no-install-recommends -y {names}` as root",
        )
