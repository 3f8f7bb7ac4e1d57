"""The partition table of a disk image, read back as firmware does."""

import struct
import uuid
import zlib

from edgekit.board.gpt import EFI_SYSTEM, LINUX_DATA, Extent, write_gpt

MIB = 1 << 20


def read_table(disk, sector):
    raw = disk[sector * 512 : sector * 512 + 512]
    signature, revision, size, checksum = struct.unpack("<8sIII", raw[:20])
    assert (signature, revision, size) == (b"EFI PART", 0x10000, 92)
    assert zlib.crc32(raw[:16] + bytes(4) + raw[20:92]) == checksum
    here, other, first, last = struct.unpack("<QQQQ", raw[24:56])
    assert here == sector
    at, count, entry, crc = struct.unpack("<QIII", raw[72:92])
    entries = disk[at * 512 : at * 512 + count * entry]
    assert zlib.crc32(entries) == crc
    return other, (first, last), entries


def test_both_copies_are_whole_and_tell_the_same(tmp_path):
    image = tmp_path / "disk.img"
    image.write_bytes(bytes(8 * MIB))
    parts = [
        Extent(MIB, 2 * MIB, EFI_SYSTEM, "esp"),
        Extent(3 * MIB, 4 * MIB, LINUX_DATA, "data"),
    ]
    write_gpt(image, parts)
    disk = image.read_bytes()
    assert len(disk) == 8 * MIB
    backup, usable, entries = read_table(disk, 1)
    assert backup == 8 * MIB // 512 - 1
    assert read_table(disk, backup) == (1, usable, entries)
    for number, part in enumerate(parts):
        kind, own, first, last, _, name = struct.unpack_from("<16s16sQQQ72s", entries, number * 128)
        assert str(uuid.UUID(bytes_le=kind)) == part.kind
        assert own != bytes(16)
        assert (first * 512, (last + 1) * 512) == (
            part.start_bytes,
            part.start_bytes + part.size_bytes,
        )
        assert usable[0] <= first <= last <= usable[1]
        assert name.decode("utf-16-le").rstrip("\0") == part.name
    assert entries[256:] == bytes(126 * 128)
    # Programs that know DOS tables only see one partition that leaves no room.
    assert disk[510:512] == b"\x55\xaa"
    assert disk[450] == 0xEE
    assert struct.unpack("<II", disk[454:462]) == (1, backup)
