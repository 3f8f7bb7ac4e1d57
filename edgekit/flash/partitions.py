"""Partition tables: GPT with its checksums, and DOS tables with their extended chains.

Source: UEFI specification 2.10, chapter 5; the tables' layout as in Linux block/partitions.
"""

import struct
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from edgekit.core.flash import Partition
from edgekit.flash.region import Region, UnreadableError
from edgekit.flash.superblocks import superblock_of

_SECTOR_BYTES: Final = 512
_GPT_SIGNATURE: Final = b"EFI PART"
_GPT_HEADER: Final = struct.Struct("<8sIIIIQQQQ16sQIII")
_GPT_ENTRY: Final = struct.Struct("<16s16sQQQ72s")
_MOST_ENTRIES: Final = 1024
_DOS_ENTRY: Final = struct.Struct("<B3sB3sII")
_DOS_TABLE_AT: Final = 446
_PROTECTIVE: Final = 0xEE
_EXTENDED: Final = (0x05, 0x0F, 0x85)
_FIRST_LOGICAL: Final = 5
_MOST_LOGICAL: Final = 256


def read_partitions(region: Region) -> tuple[str, tuple[Partition, ...]]:
    """Return the kind of table (``gpt``, ``dos`` or empty) and its partitions.

    An image without a table that is itself one filesystem comes back as a partition numbered 0.

    Raises:
        UnreadableError: a table is there and is broken.
    """
    if region.size_bytes < 2 * _SECTOR_BYTES:
        return "", ()
    # What is no table may be a filesystem's first sector, which ends with the same two bytes.
    table, found = _read_gpt(region)
    if not table and not superblock_of(region).filesystem:
        table, found = _read_dos(region)
    if not table:
        found = (Partition(0, 0, region.size_bytes, ""),)
    named = tuple(_with_filesystem(region, each) for each in found)
    return table, named if table else tuple(each for each in named if each.filesystem)


def _with_filesystem(region: Region, partition: Partition) -> Partition:
    block = superblock_of(region.part(partition.start_bytes, partition.size_bytes))
    return replace(
        partition,
        filesystem=block.filesystem,
        label=block.label or partition.label,
        uuid=block.uuid,
    )


def _read_gpt(region: Region) -> tuple[str, tuple[Partition, ...]]:
    faults = []
    for sector in (_SECTOR_BYTES, 4096):
        for at in (sector, region.size_bytes - sector):
            if at < sector or at + sector > region.size_bytes:
                continue
            header = region.read(at, sector)
            if not header.startswith(_GPT_SIGNATURE):
                continue
            try:
                return "gpt", _gpt_entries(region, header, at // sector, sector)
            except UnreadableError as error:
                faults.append(str(error))
    if faults:
        raise UnreadableError(f"its GPT is broken: {faults[0]}")
    return "", ()


def _gpt_entries(region: Region, header: bytes, own: int, sector: int) -> tuple[Partition, ...]:
    fields = _GPT_HEADER.unpack_from(header)
    _, _, size, checksum, _, my_lba = fields[:6]
    entries_lba, count, entry_bytes, entries_checksum = fields[10:14]
    if not _GPT_HEADER.size <= size <= sector:
        raise UnreadableError(f"its header claims {size} bytes")
    blanked = header[:16] + bytes(4) + header[20:size]
    if zlib.crc32(blanked) != checksum:
        raise UnreadableError("the checksum of its header is wrong")
    if my_lba != own and own == 1:
        raise UnreadableError(f"its header says that it stands in sector {my_lba}")
    if count > _MOST_ENTRIES or not _GPT_ENTRY.size <= entry_bytes <= sector:
        raise UnreadableError(f"it claims {count} entries of {entry_bytes} bytes")
    table = region.read(entries_lba * sector, count * entry_bytes)
    if zlib.crc32(table) != entries_checksum:
        raise UnreadableError("the checksum of its entries is wrong")
    found = []
    for index in range(count):
        kind, _, first, last, _, name = _GPT_ENTRY.unpack_from(table, index * entry_bytes)
        if kind == bytes(16):
            continue
        if last < first:
            raise UnreadableError(f"partition {index + 1} ends before it begins")
        label = name.decode("utf-16-le", "replace").partition("\0")[0]
        guid = str(uuid.UUID(bytes_le=kind))
        size_bytes = (last - first + 1) * sector
        found.append(Partition(index + 1, first * sector, size_bytes, guid, label=label))
    return tuple(found)


def _read_dos(region: Region) -> tuple[str, tuple[Partition, ...]]:
    entries = _dos_entries(region, 0)
    if entries is None or not any(kind for _, kind, _, _ in entries):
        return "", ()
    if any(status not in {0, 0x80} for status, _, _, _ in entries):
        return "", ()  # some boot sector or other, not a table
    if any(kind == _PROTECTIVE for _, kind, _, _ in entries):
        raise UnreadableError("its DOS table announces a GPT, and there is none")
    found = [
        _dos_partition(number, kind, start, count)
        for number, (_, kind, start, count) in enumerate(entries, start=1)
        if kind and kind not in _EXTENDED
    ]
    for _, kind, start, _ in entries:
        if kind in _EXTENDED:
            found += _logical(region, start)
    return "dos", tuple(found)


def _dos_entries(region: Region, sector: int) -> list[tuple[int, int, int, int]] | None:
    block = region.read(sector * _SECTOR_BYTES, _SECTOR_BYTES)
    if block[510:] != b"\x55\xaa":
        return None
    entries = (
        _DOS_ENTRY.unpack_from(block, _DOS_TABLE_AT + index * _DOS_ENTRY.size) for index in range(4)
    )
    return [(status, kind, start, count) for status, _, kind, _, start, count in entries]


def _logical(region: Region, base: int) -> Iterator[Partition]:
    """Follow the chain of an extended partition: each link names one partition and the next."""
    link = base
    for number in range(_FIRST_LOGICAL, _FIRST_LOGICAL + _MOST_LOGICAL):
        entries = _dos_entries(region, link)
        if entries is None:
            raise UnreadableError(f"the extended partition is broken at sector {link}")
        _, kind, start, count = entries[0]
        if kind:
            yield _dos_partition(number, kind, link + start, count)
        if entries[1][1] not in _EXTENDED:
            return
        link = base + entries[1][2]
    raise UnreadableError("the extended partition's chain does not end")


def _dos_partition(number: int, kind: int, start: int, count: int) -> Partition:
    return Partition(number, start * _SECTOR_BYTES, count * _SECTOR_BYTES, f"{kind:#04x}")
