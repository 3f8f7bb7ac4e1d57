import os
import struct

import pytest
from disk_images import EFI, LINUX, MIB, dos_image, found, gpt_image, need, say

from edgekit.flash.partitions import read_partitions
from edgekit.flash.region import Region, UnreadableError


@pytest.fixture
def read(tmp_path):
    """Read the partitions of these bytes."""

    def run(content):
        file = tmp_path / "image"
        file.write_bytes(content)
        descriptor = os.open(file, os.O_RDONLY)
        try:
            return read_partitions(Region(descriptor, 0, len(content)))
        finally:
            os.close(descriptor)

    return run


def spans(partitions):
    return [(each.number, each.start_bytes, each.size_bytes, each.kind) for each in partitions]


def test_gpt_is_read_with_names_and_types(read):
    table, found_ = read(gpt_image((EFI, "boot", bytes(MIB)), (LINUX, "root", bytes(2 * MIB))))
    assert table == "gpt"
    assert spans(found_) == [(1, MIB, MIB, EFI), (2, 2 * MIB, 2 * MIB, LINUX)]
    assert [each.label for each in found_] == ["boot", "root"]


def test_gpt_of_sgdisk_is_read(tmp_path, read):
    need("sgdisk")
    assert found("sgdisk")
    file = tmp_path / "disk"
    file.write_bytes(bytes(8 * MIB))
    say("sgdisk", "-n", "1:2048:+1M", "-t", "1:ef00", "-n", "3:0:+2M", "-c", "3:root", file)
    table, found_ = read(file.read_bytes())
    assert table == "gpt"
    assert spans(found_) == [(1, MIB, MIB, EFI), (3, 2 * MIB, 2 * MIB, LINUX)]


def test_damaged_gpt_is_read_from_its_copy_and_without_one_refused(read):
    image = bytearray(gpt_image((LINUX, "root", bytes(MIB))))
    image[512 + 40] ^= 1
    assert read(bytes(image))[0] == "gpt"
    image[-512 + 40] ^= 1
    with pytest.raises(UnreadableError, match="checksum of its header"):
        read(bytes(image))


def test_every_flipped_bit_of_a_gpt_header_and_entry_is_found(read):
    whole = gpt_image((LINUX, "root", bytes(MIB)))
    good = whole[: len(whole) - 33 * 512]  # without the copy that would take its place
    wanted = spans(read(whole)[1])
    assert spans(read(good)[1]) == wanted
    for byte in [*range(512, 604), *range(1024, 1152)]:
        bad = bytearray(good)
        bad[byte] ^= 0x10
        with pytest.raises(UnreadableError):
            read(bytes(bad))


def test_dos_table_is_read_with_its_logical_partitions(read):
    def table(*entries):
        packed = b"".join(
            struct.pack("<B3sB3sII", 0, bytes(3), kind, bytes(3), start, count)
            for kind, start, count in entries
        )
        return bytes(446) + packed.ljust(64, b"\0") + b"\x55\xaa"

    image = bytearray(8 * MIB)
    image[:512] = table((0x0C, 2048, 2048), (0x05, 4096, 8192))
    image[4096 * 512 : 4097 * 512] = table((0x83, 63, 1000), (0x05, 2000, 2000))
    image[6096 * 512 : 6097 * 512] = table((0x82, 63, 500))
    kind, found_ = read(bytes(image))
    assert kind == "dos"
    assert spans(found_) == [
        (1, MIB, MIB, "0x0c"),
        (5, 4159 * 512, 512_000, "0x83"),
        (6, 6159 * 512, 256_000, "0x82"),
    ]


def test_extended_chain_in_a_circle_is_refused(read):
    entry = struct.pack("<B3sB3sII", 0, bytes(3), 0x05, bytes(3), 1, 100)
    image = bytearray(MIB)
    image[446:462] = entry
    image[510:512] = b"\x55\xaa"
    circle = struct.pack("<B3sB3sII", 0, bytes(3), 0x05, bytes(3), 0, 100)
    image[512 + 462 : 512 + 478] = circle
    image[1022:1024] = b"\x55\xaa"
    with pytest.raises(UnreadableError, match="does not end"):
        read(bytes(image))


def test_protective_table_without_a_gpt_is_refused(read):
    image = bytearray(dos_image((0xEE, bytes(512))))
    with pytest.raises(UnreadableError, match="announces a GPT"):
        read(bytes(image))


@pytest.mark.parametrize("content", [b"", b"\0" * 512, b"\0" * MIB, b"\x55\xaa" * 4096])
def test_what_holds_no_table_has_no_partitions(read, content):
    assert read(content) == ("", ())
