"""A GUID partition table, written as the UEFI specification has it (2.10, chapter 5)."""

import struct
import uuid
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SECTOR_BYTES: Final = 512
EFI_SYSTEM: Final = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
LINUX_ROOT_ARM64: Final = "b921b045-1df0-41c3-af44-4c6f280d3fae"
LINUX_DATA: Final = "0fc63daf-8483-4772-8e79-3d69d8477de4"
_ENTRIES: Final = 128
_ENTRY: Final = struct.Struct("<16s16sQQQ72s")
_HEADER: Final = struct.Struct("<8sIIIIQQQQ16sQIII")
_TABLE_SECTORS: Final = _ENTRIES * _ENTRY.size // SECTOR_BYTES
_REVISION: Final = 0x00010000


@dataclass(frozen=True)
class Extent:
    """A partition to be: where it lies, what it is for, and its name in the table."""

    start_bytes: int
    size_bytes: int
    kind: str
    name: str


def write_gpt(disk: Path, partitions: Sequence[Extent]) -> None:
    """Write both copies of the table, and what keeps older programs away from the disk.

    Identifiers are random: two disks of one image must not be taken for each other on one host,
    but two images are no less different for it.
    """
    sectors = disk.stat().st_size // SECTOR_BYTES
    table = b"".join(_entry(each) for each in partitions).ljust(
        _TABLE_SECTORS * SECTOR_BYTES, b"\0"
    )
    identity = uuid.uuid4().bytes_le
    last = sectors - 1
    with disk.open("r+b") as file:
        file.write(_protective(sectors))
        file.write(_header(1, last, 2, identity, table).ljust(SECTOR_BYTES, b"\0"))
        file.write(table)
        file.seek((last - _TABLE_SECTORS) * SECTOR_BYTES)
        file.write(table)
        copy = _header(last, 1, last - _TABLE_SECTORS, identity, table)
        file.write(copy.ljust(SECTOR_BYTES, b"\0"))


def _entry(partition: Extent) -> bytes:
    first = partition.start_bytes // SECTOR_BYTES
    last = first + partition.size_bytes // SECTOR_BYTES - 1
    kind = uuid.UUID(partition.kind).bytes_le
    name = partition.name.encode("utf-16-le")
    return _ENTRY.pack(kind, uuid.uuid4().bytes_le, first, last, 0, name)


def _header(here: int, other: int, table_at: int, identity: bytes, table: bytes) -> bytes:
    last = max(here, other)
    usable = (2 + _TABLE_SECTORS, last - _TABLE_SECTORS - 1)
    # Its checksum is taken with zero in the place where it then stands.
    without = _HEADER.pack(
        *(b"EFI PART", _REVISION, _HEADER.size, 0, 0, here, other, *usable),
        *(identity, table_at, _ENTRIES, _ENTRY.size, zlib.crc32(table)),
    )
    checksum = zlib.crc32(without)
    return without[:16] + struct.pack("<I", checksum) + without[20:]


def _protective(sectors: int) -> bytes:
    """Return a DOS table with one partition of all the disk, of the type that stands for GPT."""
    entry = struct.pack(
        "<B3sB3sII", 0, b"\0\x02\0", 0xEE, b"\xff\xff\xff", 1, min(sectors - 1, 0xFFFFFFFF)
    )
    return bytes(446) + entry + bytes(48) + b"\x55\xaa"
