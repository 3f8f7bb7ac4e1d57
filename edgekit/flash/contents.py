"""What stands in an image's filesystems: programs, kernels, device trees, and whose system."""

import fnmatch
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from edgekit.flash.device_trees import read_device_tree
from edgekit.flash.files import Files, walk
from edgekit.flash.programs import HEAD_BYTES, kernel_architecture, program_architecture
from edgekit.flash.region import UnreadableError

_PROGRAMS: Final = (
    "/bin/sh",
    "/usr/bin/env",
    "/sbin/init",
    "/lib/systemd/systemd",
    "/bin/busybox",
)
_KERNELS: Final = ("vmlinuz*", "kernel*.img", "image", "image.gz", "image-*", "zimage*", "uimage*")
_KERNEL_FOLDERS: Final = ("/", "/boot", "/efi/boot", "/efi/linux")
_MOST_TREE_BYTES: Final = 4 << 20
_TREE_DEPTH: Final = 4


@dataclass
class Contents:
    """What was found so far, in the order in which it was found."""

    programs: dict[str, None] = field(default_factory=dict)
    kernels: dict[str, None] = field(default_factory=dict)
    compatible: dict[str, None] = field(default_factory=dict)
    system: str = ""
    init: dict[str, None] = field(default_factory=dict)
    signs: dict[str, None] = field(default_factory=dict)
    command_line: bool = False

    @property
    def methods(self) -> tuple[str, ...]:
        """First-boot methods; Raspberry Pi OS's asks for its kernel's command line too."""
        more = ("firstrun",) if self.system == "raspios" and self.command_line else ()
        return (*more, *self.init)


def look_into(files: Files, place: str, found: Contents) -> None:
    """Add what one filesystem holds; what is broken in it is left out.

    Raises:
        UnreadableError: it cannot be read at all.
    """
    files.list("/")
    _look_for_programs(files, place, found)
    _look_for_kernels(files, place, found)
    _look_for_trees(files, place, found)
    _look_for_system(files, place, found)
    _look_for_methods(files, place, found)


def _look_for_programs(files: Files, place: str, found: Contents) -> None:
    for path in _PROGRAMS:
        architecture = program_architecture(_head(files, path))
        if architecture:
            found.programs[architecture] = None
            found.signs[f"{place}: {path} is a program for {architecture}"] = None
            return


def _look_for_kernels(files: Files, place: str, found: Contents) -> None:
    for folder in _KERNEL_FOLDERS:
        for entry in files.list(folder):
            name = entry.name.lower()
            is_efi = name.startswith("boot") and name.endswith(".efi")
            if not is_efi and not any(fnmatch.fnmatch(name, each) for each in _KERNELS):
                continue
            path = f"{folder.rstrip('/')}/{entry.name}"
            architecture = kernel_architecture(_head(files, path))
            if architecture:
                found.kernels[architecture] = None
                found.signs[f"{place}: {path} is for {architecture}"] = None


def _look_for_trees(files: Files, place: str, found: Contents) -> None:
    count = 0
    for path in _tree_paths(files):
        try:
            blob = files.read(path, _MOST_TREE_BYTES)
            tree = read_device_tree(blob or b"")
        except UnreadableError as error:
            found.signs[f"{place}: {path} was not read: {error}"] = None
            continue
        count += 1
        found.compatible.update(dict.fromkeys(tree.compatible))
    if count:
        found.signs[f"{place}: {count} device tree{'s' if count > 1 else ''}"] = None


def _tree_paths(files: Files) -> Iterator[str]:
    for entry in files.list("/"):
        if entry.kind == "file" and entry.name.endswith(".dtb"):
            yield f"/{entry.name}"
    for folder in _tree_folders(files):
        for path in walk(files, folder, _TREE_DEPTH):
            if path.endswith(".dtb"):
                yield path


def _tree_folders(files: Files) -> Iterator[str]:
    yield "/boot"
    for parent, pattern in (
        ("/", "dtb*"),
        ("/usr/lib", "linux-image-*"),  # Debian's kernel packages
        ("/lib/firmware", "*-*"),  # Ubuntu's
    ):
        for entry in files.list(parent):
            if entry.kind == "folder" and fnmatch.fnmatch(entry.name, pattern):
                below = "/device-tree" if parent == "/lib/firmware" else ""
                yield f"{parent.rstrip('/')}/{entry.name}{below}"


def _look_for_system(files: Files, place: str, found: Contents) -> None:
    system, sign = _system(files)
    # A boot partition that only hints gives way to a root filesystem that says it.
    if system and (not found.system or files.list("/etc")):
        found.system = system
        found.signs[f"{place}: {sign}"] = None


def _system(files: Files) -> tuple[str, str]:
    release = _release(_text(files, "/etc/os-release") or _text(files, "/usr/lib/os-release"))
    name = release.get("PRETTY_NAME") or release.get("ID", "")
    if _there(files, "/etc/armbian-release"):
        return "armbian", f"/etc/armbian-release, {name}"
    if _there(files, "/etc/rpi-issue") or release.get("ID") == "raspbian":
        return "raspios", f"/etc/rpi-issue, {name}"
    if release.get("ID") == "debian" or "debian" in release.get("ID_LIKE", "").split():
        return "debian", f"/etc/os-release says {name}"
    if "Raspberry Pi reference" in _text(files, "/issue.txt"):
        return "raspios", "issue.txt of Raspberry Pi OS"
    return "", ""


def _look_for_methods(files: Files, place: str, found: Contents) -> None:
    if _there(files, "/cmdline.txt") and files.list("/overlays"):
        found.command_line = True
    for method, paths in (
        ("cloud-init", ("/usr/bin/cloud-init", "/user-data")),
        (
            "armbian-first-login",
            ("/root/.not_logged_in_yet", "/usr/lib/armbian/armbian-firstlogin"),
        ),
        ("ext4", ("/etc/passwd",)),
    ):
        path = next((path for path in paths if _there(files, path)), None)
        if path is not None and method not in found.init:
            found.init[method] = None
            found.signs[f"{place}: {path}, so {method}"] = None


def _release(text: str) -> dict[str, str]:
    pairs = (line.partition("=") for line in text.splitlines() if "=" in line)
    return {key.strip(): value.strip().strip("\"'") for key, _, value in pairs}


def _text(files: Files, path: str) -> str:
    return _head(files, path).decode("utf-8", "replace")


def _there(files: Files, path: str) -> bool:
    try:
        return files.read(path, 1) is not None
    except UnreadableError:
        return False


def _head(files: Files, path: str) -> bytes:
    try:
        return files.read(path, HEAD_BYTES) or b""
    except UnreadableError:
        return b""
