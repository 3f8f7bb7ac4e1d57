"""Finds out what an image holds before it is written, and whether it fits the board."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from edgekit.core.errors import FlashError
from edgekit.core.flash import ImageFacts, Partition
from edgekit.core.target import Target
from edgekit.flash.contents import Contents, look_into
from edgekit.flash.files import open_files
from edgekit.flash.partitions import read_partitions
from edgekit.flash.region import Region, UnreadableError

_USERLANDS: Final = {"aarch64": "aarch64", "armv7l": "armhf", "x86_64": "x86_64"}
_SHOWN: Final = 6
_BYPASS: Final = "--no-inspect writes it as it is"


def inspect(image: Path) -> ImageFacts:
    """Return what a raw image holds. It is only read.

    What cannot be made out is left empty; ``signs`` tells why.

    Raises:
        FlashError: it cannot be read, its partition table is broken, or it is cut off.
    """
    try:
        descriptor = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise FlashError(
            f"cannot read the image {image}: {error.strerror}", hint="is the path right?"
        ) from error
    try:
        return _facts(Region(descriptor, 0, os.lseek(descriptor, 0, os.SEEK_END)), image)
    except OSError as error:
        raise FlashError(
            f"cannot read the image {image}: {error.strerror}", hint="is the disk that it is on ok?"
        ) from error
    finally:
        os.close(descriptor)


def _facts(region: Region, image: Path) -> ImageFacts:
    try:
        table, partitions = read_partitions(region)
    except UnreadableError as error:
        raise FlashError(f"{image.name}: {error}", hint=f"load it anew; {_BYPASS}") from error
    _refuse_cut_off(partitions, region.size_bytes, image)
    found = Contents()
    for partition in partitions:
        _look(region, partition, found)
    return ImageFacts(
        size_bytes=region.size_bytes,
        table=table,
        partitions=partitions,
        architectures=tuple(found.programs or found.kernels),
        compatible=tuple(found.compatible),
        system=found.system,
        init=found.methods,
        signs=tuple(found.signs),
    )


def _look(region: Region, partition: Partition, found: Contents) -> None:
    place = f"partition {partition.number}" if partition.number else "the image"
    if not partition.filesystem:
        return
    try:
        part = region.part(partition.start_bytes, partition.size_bytes)
        look_into(open_files(part, partition.filesystem), place, found)
    except UnreadableError as error:
        found.signs[f"{place} ({partition.filesystem}) was not read: {error}"] = None


def _refuse_cut_off(partitions: Sequence[Partition], size_bytes: int, image: Path) -> None:
    for partition in partitions:
        end = partition.start_bytes + partition.size_bytes
        if end > size_bytes:
            raise FlashError(
                f"{image.name} is cut off: partition {partition.number} ends at byte {end}, "
                f"the image at {size_bytes}",
                hint=f"load it anew; {_BYPASS}",
            )


def fits(facts: ImageFacts, target: Target) -> None:
    """Refuse an image that is not for a kind of board.

    Raises:
        FlashError: it is for another architecture or other boards, or it does not tell.
    """
    wanted = _USERLANDS[target.architecture]
    if not facts.architectures:
        raise FlashError(
            f"this image is not recognised: {_what_it_is(facts)}, and no program or kernel that "
            "tells its architecture",
            hint=f"{'; '.join((*_unread(facts), _BYPASS))}",
        )
    if wanted not in facts.architectures:
        raise FlashError(
            f"this image is for {', '.join(facts.architectures)}, and {target.name} takes {wanted}",
            hint=f"load the {wanted} image of it, or name another --target: edgekit targets",
        )
    if target.compatible and not set(target.compatible) & set(facts.compatible):
        raise _no_tree(facts, target)


def _no_tree(facts: ImageFacts, target: Target) -> FlashError:
    if not facts.compatible:
        return FlashError(
            f"this image holds no device tree: whether it starts on a {target.name} is not to be "
            "told",
            hint=f"if the board's firmware has its own, {_BYPASS}",
        )
    boards = facts.compatible[:_SHOWN]
    more = len(facts.compatible) - len(boards)
    return FlashError(
        f"this image does not fit {target.name}: its device trees are for {', '.join(boards)}"
        f"{f' and {more} more' if more else ''}; none is for {' or '.join(target.compatible)}",
        hint="load the image for this board, or name another --target: edgekit targets",
    )


def _what_it_is(facts: ImageFacts) -> str:
    if not facts.partitions:
        return "no partition table, no filesystem"
    kinds = [each.filesystem or f"unknown ({each.kind})" for each in facts.partitions]
    return f"{facts.table or 'no'} partition table with {', '.join(kinds[:_SHOWN])}"


def _unread(facts: ImageFacts) -> list[str]:
    return [sign for sign in facts.signs if "was not read" in sign]
