"""Which parts of virtual boards are asked for now, and which ones existing boards stand on.

A board's own files are changes to a part that it shares with others: a user-mode board's to a root
file system, a system board's to a disk image. Without that part they are worth nothing.
"""

import struct
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.board.boot_parts import boot_parts_path
from edgekit.board.disk_image import disk_image_path, disk_recipe
from edgekit.board.instances import board_folder, client_key
from edgekit.board.kernel import kernel_path
from edgekit.board.kernel_modules import module_path
from edgekit.board.machine import DISK
from edgekit.board.rootfs import boards_folder, recipe_for
from edgekit.board.system_image import Parts, image_path
from edgekit.catalog.settings import settings

# Of a qcow2 file: its mark, and where the name of the file stands that it has changes to.
# Source: QEMU, docs/interop/qcow2.txt, "Header".
_MARK: Final = b"QFI\xfb"
_NAME_AT: Final = struct.Struct(">QI")
_NAME_AT_OFFSET: Final = 8
_LONGEST_NAME: Final = 1023


@dataclass(frozen=True)
class Ground:
    """What a board stands on.

    Attributes:
        board: its name.
        parts: root file systems and disk images, by folder.
        known: whether these are all; where they are not, it may stand on any.
        boots: whether it is a machine, which takes a kernel to start.
    """

    board: str
    parts: frozenset[Path]
    known: bool
    boots: bool


def current_parts() -> frozenset[Path]:
    """Return where the parts stand, or would, of which this edgekit makes boards today."""
    recipes = (recipe_for("aarch64"), recipe_for("armv7l"), disk_recipe())
    rootfs, suite, mirror = recipes[0], recipes[0].suite, settings().debian_mirror
    kernel = kernel_path(suite, mirror)
    modules = module_path(kernel)
    parts = {boards_folder() / recipe.name for recipe in recipes}
    parts |= {kernel, modules, boot_parts_path(suite, mirror), disk_image_path()}
    # Without the key that logs in, there was no image yet that would fit it.
    with suppress(FileNotFoundError):
        made_of = Parts(boards_folder() / rootfs.name, kernel, modules, client_key())
        parts.add(image_path(made_of))
    return frozenset(parts)


def grounds() -> tuple[Ground, ...]:
    """Return what each board stands on that was ever up and not wiped, by name."""
    folders = board_folder("").glob("*")
    return tuple(_ground(folder) for folder in sorted(folders) if folder.is_dir())


def image_below(disk: Path) -> Path | None:
    """Return the folder of the image that a board's disk has changes to; ``None``: it is unknown.

    Raises:
        FileNotFoundError: there is no disk.
    """
    try:
        with disk.open("rb") as file:
            head = file.read(_NAME_AT_OFFSET + _NAME_AT.size)
            if not head.startswith(_MARK):
                return None
            place, length = _NAME_AT.unpack(head[_NAME_AT_OFFSET:])
            if not 0 < length <= _LONGEST_NAME:
                return None
            file.seek(place)
            name = file.read(length)
    except FileNotFoundError:
        raise
    except (OSError, struct.error):
        return None
    path = Path(name.decode("utf-8", errors="surrogateescape"))
    # By its own name: the cache may be reached by another path today.
    return boards_folder() / "images" / path.parent.name if len(name) == length else None


def _ground(folder: Path) -> Ground:
    parts: set[Path] = set()
    known = True
    # Both may be there: a board of one kind is made one of the other under the same name.
    if any((folder / name).exists() for name in ("upper", "copy", "rootfs-name")):
        try:
            named = (folder / "rootfs-name").read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError):
            named = ""
        known = bool(named)
        parts.add(boards_folder() / named)
    boots = (folder / DISK).exists()
    if boots:
        image = image_below(folder / DISK)
        known = known and image is not None
        if image is not None:
            parts.add(image)
    return Ground(folder.name, frozenset(parts), known, boots)
