"""The versions in an image that decide which wheels fit the device it makes."""

import os
import re
from pathlib import Path
from typing import Final

from edgekit.core.errors import FlashError
from edgekit.core.flash import ImageFacts, ImageSoftware
from edgekit.flash.files import open_files
from edgekit.flash.region import Region, UnreadableError

# Source: dpkg(1), FILES: a paragraph for each package. Debian, Ubuntu, Armbian and Raspberry Pi OS
# all have it.
_STATUS: Final = "/var/lib/dpkg/status"
_MOST_BYTES: Final = 32 << 20
_VERSION: Final = re.compile(r"(?:\d+:)?(\d+\.\d+)")


def software_of(image: Path, facts: ImageFacts) -> ImageSoftware:
    """Return what an image's package database says of Python and the C library.

    Args:
        image: raw.
        facts: of its inspection.

    Raises:
        FlashError: it has no such database, or one of the two is not installed.
    """
    found = _versions(image, facts)
    missing = [name for name in ("python3", "libc6") if name not in found]
    if missing:
        raise FlashError(
            f"{image.name} tells no version of {' and '.join(missing)}, so that no runtime can be "
            "chosen for it",
            hint="flash without --bundle, and edgekit deploy once the device runs",
        )
    return ImageSoftware(python=found["python3"], glibc=found["libc6"])


def _versions(image: Path, facts: ImageFacts) -> dict[str, str]:
    descriptor = os.open(image, os.O_RDONLY | os.O_CLOEXEC)
    try:
        whole = Region(descriptor, 0, facts.size_bytes)
        for partition in facts.partitions:
            try:
                part = whole.part(partition.start_bytes, partition.size_bytes)
                status = open_files(part, partition.filesystem).read(_STATUS, _MOST_BYTES)
            except UnreadableError:
                continue
            if status:
                return _installed(status.decode("utf-8", "replace"))
        return {}
    finally:
        os.close(descriptor)


def _installed(status: str) -> dict[str, str]:
    found = {}
    for paragraph in status.split("\n\n"):
        fields = {
            name: value.strip()
            for name, colon, value in (line.partition(":") for line in paragraph.splitlines())
            if colon and not name[:1].isspace()
        }
        version = _VERSION.match(fields.get("Version", ""))
        if version and fields.get("Status", "").endswith(" installed"):
            found[fields.get("Package", "")] = version[1]
    return found
