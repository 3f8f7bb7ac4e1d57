"""Block maps: which blocks of an image are in use, as bmaptool writes them.

Source: https://github.com/yoctoproject/bmaptool, format 2.0.
"""

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

from edgekit.core.errors import FlashError
from edgekit.flash.zeros import ZEROS

MOST_BYTES: Final = 16 << 20  # of a map's own file

_HINT: Final = "fetch the block map again, or remove it: the image can be written without one"


@dataclass(frozen=True)
class MappedRange:
    """Bytes that are in use, from ``start`` to before ``end``; ``digest``: their checksum."""

    start: int
    end: int
    digest: str = ""


@dataclass(frozen=True)
class BlockMap:
    """The blocks of an image that are in use, in their order.

    Attributes:
        algorithm: of the ranges' checksums, as hashlib names it; empty: they have none.
    """

    size_bytes: int
    ranges: tuple[MappedRange, ...]
    algorithm: str = ""

    def within(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield what is in use between two places."""
        first = max(bisect_right(self.ranges, start, key=lambda each: each.start) - 1, 0)
        for each in self.ranges[first:]:
            if each.start >= end:
                return
            if each.end > start:
                yield max(each.start, start), min(each.end, end)


def read_block_map(content: bytes, name: str) -> BlockMap:
    """Read a ``.bmap`` file.

    Raises:
        FlashError: it is none, of another format, or not as it was written.
    """
    root = _parse(content, name)
    version = root.get("version", "")
    if not re.fullmatch(r"2\.\d+", version):
        raise _wrong(name, f"its format is {version or 'not told'}, and 2.0 is understood")
    algorithm = _text(root, "ChecksumType", name)
    if algorithm not in {"sha256", "sha384", "sha512"}:
        raise _wrong(name, f"its checksums are {algorithm}, and sha256 is understood")
    _check_itself(content, _text(root, "BmapFileChecksum", name), algorithm, name)
    size_bytes, block_bytes = _whole(root, "ImageSize", name), _whole(root, "BlockSize", name)
    if not block_bytes:
        raise _wrong(name, "its blocks have no size")
    ranges: list[MappedRange] = []
    for element in root.iterfind("BlockMap/Range"):
        match = re.fullmatch(r"\s*(\d+)\s*(?:-\s*(\d+)\s*)?", element.text or "")
        if match is None:
            raise _wrong(name, f"{element.text!r} is no range of blocks")
        first, last = int(match[1]), int(match[2] or match[1])
        end = min((last + 1) * block_bytes, size_bytes)
        start = first * block_bytes
        if not (ranges[-1].end if ranges else 0) <= start < end:
            raise _wrong(name, f"the range {match[0].strip()} is out of order")
        if last * block_bytes >= size_bytes:
            raise _wrong(name, f"the range {match[0].strip()} lies behind the image's end")
        ranges.append(MappedRange(start, end, element.get("chksum", "").lower()))
    mapped = sum(-(-(each.end - each.start) // block_bytes) for each in ranges)
    if mapped != _whole(root, "MappedBlocksCount", name):
        raise _wrong(name, "it does not hold as many blocks as it says")
    return BlockMap(size_bytes, tuple(ranges), algorithm)


class RangeCheck:
    """Compares what is read with a block map's checksums, in the order of the image."""

    def __init__(self, block_map: BlockMap, subject: str) -> None:
        self._map = block_map
        self._subject = subject
        self._next = 0
        self._digest = hashlib.new(block_map.algorithm or "sha256")

    def update(self, offset: int, view: memoryview | None, size: int) -> None:
        """Take the next bytes of the image, ``None`` for zeros.

        Raises:
            FlashError: a range is over and is not what the map says.
        """
        while self._next < len(self._map.ranges):
            mapped = self._map.ranges[self._next]
            start, end = max(mapped.start, offset), min(mapped.end, offset + size)
            if start >= end:
                return
            if view is None:
                _update_zeros(self._digest, end - start)
            else:
                self._digest.update(view[start - offset : end - offset])
            if end < mapped.end:
                return
            if mapped.digest and self._digest.hexdigest() != mapped.digest:
                message = (
                    f"{self._subject} is not the image of its block map: "
                    f"bytes {mapped.start} to {mapped.end - 1} differ"
                )
                raise FlashError(message, hint="fetch the image and its block map again")
            self._digest = hashlib.new(self._map.algorithm or "sha256")
            self._next += 1


def _update_zeros(digest: "hashlib._Hash", size: int) -> None:
    for at in range(0, size, len(ZEROS)):
        digest.update(ZEROS[: min(len(ZEROS), size - at)])


def _parse(content: bytes, name: str) -> ET.Element:
    # No entities without a document type: nothing in such a file can grow when it is read.
    if len(content) > MOST_BYTES or b"<!DOCTYPE" in content:
        raise _wrong(name, "bmaptool did not write it")
    try:
        root = ET.fromstring(content)  # noqa: S314 - bounded and without entities, see above
    except ET.ParseError as error:
        raise _wrong(name, str(error)) from error
    if root.tag != "bmap":
        raise _wrong(name, "bmaptool did not write it")
    return root


def _check_itself(content: bytes, checksum: str, algorithm: str, name: str) -> None:
    # The checksum was made while zeros stood in its place.
    blanked = content.replace(checksum.encode(), b"0" * len(checksum), 1)
    if hashlib.new(algorithm, blanked).hexdigest() != checksum.lower():
        raise _wrong(name, "its own checksum does not hold")


def _text(root: ET.Element, tag: str, name: str) -> str:
    text = (root.findtext(tag) or "").strip()
    if not text:
        raise _wrong(name, f"it has no {tag}")
    return text


def _whole(root: ET.Element, tag: str, name: str) -> int:
    text = _text(root, tag, name)
    if not text.isascii() or not text.isdigit():
        raise _wrong(name, f"{tag} is {text!r}, which is no number")
    return int(text)


def _wrong(name: str, why: str) -> FlashError:
    return FlashError(f"{name} is not a block map that can be used: {why}", hint=_HINT)
