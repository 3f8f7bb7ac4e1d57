"""Files are read out of real filesystems, and broken ones say so."""

import os
import random
from pathlib import Path

import pytest
from disk_images import MIB, ext4, fat

from edgekit.flash.files import open_files, walk
from edgekit.flash.region import Region, UnreadableError
from edgekit.flash.superblocks import superblock_of

CONTENT = {
    "small": b"a few bytes\n",
    "empty": b"",
    "A longer name than eight and three.text": b"long",
    "folder/deeper/file.txt": b"deep" * 5000,
    "folder/big": bytes(random.Random(7).randbytes(700_001)),
    **{f"many/entry-{number:04}": f"{number}".encode() for number in range(400)},
}
KINDS = {
    "ext4": ext4,
    "ext4-1k": lambda place, files: ext4(place, files, options=("-b", "1024", "-O", "64bit")),
    "ext3": lambda place, files: ext4(place, files, kind="ext3", options=("-b", "1024")),
    "ext2": lambda place, files: ext4(place, files, kind="ext2", options=("-b", "1024")),
    "fat12": lambda place, files: fat(place, files, 2 * MIB, bits=12),
    "fat16": lambda place, files: fat(place, files, 8 * MIB),
    "fat32": lambda place, files: fat(place, files, 40 * MIB, bits=32),
}


class Opened:
    """A filesystem in a file."""

    def __init__(self, file: Path, content: bytes) -> None:
        file.write_bytes(content)
        self.descriptor = os.open(file, os.O_RDONLY)
        self.region = Region(self.descriptor, 0, len(content))

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.descriptor)


@pytest.mark.parametrize("kind", KINDS)
def test_every_file_is_read_as_it_was_written(kind, tmp_path):
    with Opened(tmp_path / "image", KINDS[kind](tmp_path, CONTENT)) as opened:
        block = superblock_of(opened.region)
        assert block.filesystem == ("vfat" if kind.startswith("fat") else kind.partition("-")[0])
        assert block.label == ("BOOTFS" if kind.startswith("fat") else "rootfs")
        assert block.uuid
        files = open_files(opened.region, block.filesystem)
        for name, content in CONTENT.items():
            assert files.read(f"/{name}") == content
            assert files.read(f"/{name}", 3) == content[:3]
        found = {path for path in walk(files, "/") if not path.startswith("/lost+found")}
        assert found == {f"/{name}" for name in CONTENT}
        assert files.read("/none") is None
        assert files.read("/folder") is None
        assert files.read("/small/below") is None
        assert files.list("/none") == ()
        assert files.list("/small") == ()


def test_fat_names_match_whatever_their_case(tmp_path):
    with Opened(tmp_path / "image", fat(tmp_path, {"EFI/Boot/bootaa64.efi": b"x"})) as opened:
        assert open_files(opened.region, "vfat").read("/efi/BOOT/BOOTAA64.EFI") == b"x"


def test_links_are_followed_inside_the_image_only(tmp_path):
    written = {
        "usr/bin/dash": b"program",
        "bin": "->usr/bin",
        "absolute": "->/bin/dash",
        "up": "->../../../../etc/passwd",
        "etc/passwd": b"the image's own",
        "circle": "->circle",
        "long": f"->{'usr/../' * 20}usr/bin/dash",
        "broken": "->/nowhere",
    }
    with Opened(tmp_path / "image", ext4(tmp_path, written)) as opened:
        files = open_files(opened.region, "ext4")
        assert files.read("/bin/dash") == b"program"
        assert files.read("/absolute") == b"program"
        assert files.read("/long") == b"program"
        assert files.read("/up") == b"the image's own"
        assert files.read("/circle") is None
        assert files.read("/broken") is None


def test_sparse_file_is_read_with_its_holes(tmp_path):
    whole = bytes(300_000) + b"end"
    with Opened(tmp_path / "image", ext4(tmp_path, {"sparse": whole})) as opened:
        assert open_files(opened.region, "ext4").read("/sparse") == whole


def test_unknown_filesystem_is_not_read():
    with pytest.raises(UnreadableError, match="squashfs"):
        open_files(Region(-1, 0, 0), "squashfs")


@pytest.mark.parametrize("kind", ["ext4", "ext2", "fat16"])
def test_damage_is_told_and_never_crashes(kind, tmp_path):
    files = {"folder/file": b"x" * 5000, "link": "->folder/file"}
    if kind == "fat16":
        del files["link"]
    good = KINDS[kind](tmp_path, files)
    random_places = random.Random(6)
    used = [at for at in range(0, len(good), 64) if any(good[at : at + 64])]
    for _ in range(150):
        bad = bytearray(good)
        for _ in range(8):
            bad[random_places.choice(used) + random_places.randrange(64)] = random_places.randrange(
                256
            )
        with Opened(tmp_path / "image", bytes(bad)) as opened:
            try:
                reader = open_files(opened.region, superblock_of(opened.region).filesystem)
                for path in walk(reader, "/"):
                    reader.read(path)
            except UnreadableError:
                pass
