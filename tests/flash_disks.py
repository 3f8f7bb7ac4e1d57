"""Files that stand for disks, and disks that fail in one way or another."""

import errno
import hashlib
import os
import random
import re

import pytest

from edgekit.core.errors import FlashError
from edgekit.core.flash import Disk
from edgekit.flash.write_disk import DiskFile

MIB = 1 << 20


def file_disk(path, size):
    """Make a disk that is full of what it held before."""
    path.write_bytes(random.Random(size).randbytes(MIB) * (size // MIB) + b"o" * (size % MIB))
    return Disk(path, size, is_file=True)


def holds(disk, content):
    """Tell whether a disk begins with an image."""
    with disk.path.open("rb") as file:
        return file.read(len(content)) == content


def boots(disk):
    """Tell whether there is anything in the first sectors."""
    with disk.path.open("rb") as file:
        return file.read(MIB) != bytes(MIB)


def block_map(content, block=4096):
    """Write the block map of an image, as bmaptool does."""
    blocks = -(-len(content) // block)
    used = [n for n in range(blocks) if content[n * block : (n + 1) * block].strip(b"\0")]
    ranges = []
    for number in used:
        if ranges and ranges[-1][1] == number - 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    lines = []
    for first, last in ranges:
        digest = hashlib.sha256(content[first * block : (last + 1) * block]).hexdigest()
        name = f"{first}-{last}" if last > first else str(first)
        lines.append(f'<Range chksum="{digest}"> {name} </Range>')
    text = f"""<?xml version="1.0" ?>
<bmap version="2.0">
    <ImageSize> {len(content)} </ImageSize>
    <BlockSize> {block} </BlockSize>
    <BlocksCount> {blocks} </BlocksCount>
    <MappedBlocksCount> {len(used)} </MappedBlocksCount>
    <ChecksumType> sha256 </ChecksumType>
    <BmapFileChecksum> {"0" * 64} </BmapFileChecksum>
    <BlockMap>
        {"".join(lines)}
    </BlockMap>
</bmap>
"""
    return signed(text)


def signed(text):
    """Put a block map's own checksum right."""
    place = re.search(r"<BmapFileChecksum> (\w+) <", text)[1]
    blank = text.replace(place, "0" * 64)
    return blank.replace("0" * 64, hashlib.sha256(blank.encode()).hexdigest()).encode()


def failing(**faults):
    """Make an opener of disks: ``write_at``, ``read_at`` give an I/O error there, ``gone_at``
    the error of a device that was pulled, ``flip_at`` turns a bit when all is flushed,
    ``hangs`` is an event that a write waits for.
    """

    class Failing(DiskFile):
        def write(self, offset, view):
            if "hangs" in faults and offset:
                faults["hangs"].wait(20)
            self._fail(faults.get("write_at"), offset, len(view), errno.EIO)
            self._fail(faults.get("gone_at"), offset, len(view), errno.ENODEV)
            super().write(offset, view)

        def read(self, offset, view):
            self._fail(faults.get("read_at"), offset, len(view), errno.EIO)
            super().read(offset, view)

        def flush(self):
            super().flush()
            if "flip_at" in faults:
                flip(self.disk, faults["flip_at"])

        def _fail(self, at, offset, length, fault):
            if at is not None and offset <= at < offset + length:
                with self._faults("used", at, 1):
                    raise OSError(fault, os.strerror(fault))

    return Failing


def flip(disk, at, bit=0):
    """Turn one bit of a disk."""
    with disk.path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1 << bit]))
        file.flush()
        os.fsync(file.fileno())


def refusal(call):
    """Return the error of something that must fail, and that says what to do."""
    with pytest.raises(FlashError) as caught:
        call()
    assert caught.value.hint
    return caught.value.message
