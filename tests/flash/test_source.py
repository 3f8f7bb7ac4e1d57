"""Reading images: every packing, and whatever can be wrong with it."""

import bz2
import gzip
import hashlib
import io
import lzma
import random
import sys
import zipfile

import pytest
from flash_disks import MIB, block_map, boots, holds, refusal, signed

from edgekit.core.errors import FlashError, UsageError
from edgekit.flash.source import open_image
from edgekit.flash.write import write_image

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


def zipped(content, name="system.img", **more):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr(name, content)
        for other, text in more.items():
            archive.writestr(other, text)
    return file.getvalue()


def zstandard(content):
    return zstd.compress(content, options={zstd.CompressionParameter.checksum_flag: 1})


PACKERS = {
    "xz": lambda content: lzma.compress(content, preset=0),
    "gz": lambda content: gzip.compress(content, 1, mtime=0),
    "bz2": lambda content: bz2.compress(content, 1),
    "zst": zstandard,
    "zip": zipped,
}


def read(path, **options):
    """Put an image together from its extents."""
    with open_image(str(path), cache=path.parent / "cache", **options) as source:
        parts = [(offset, bytes(view)) for offset, view in source.extents()]
        whole = bytearray(source.size_bytes)
    for offset, part in parts:
        whole[offset : offset + len(part)] = part
    return bytes(whole), source


@pytest.fixture(scope="module")
def small():
    """What packs and unpacks fast: half noise, half zeros."""
    noise = random.Random(20)
    return noise.randbytes(150_000) + bytes(300_000) + noise.randbytes(62_000)


@pytest.fixture(params=list(PACKERS))
def packed(request, tmp_path, small):
    """The same in each packing."""
    path = tmp_path / f"system.img.{request.param}"
    path.write_bytes(PACKERS[request.param](small))
    return path


def test_packed_image_is_unpacked_whatever_its_name(packed, small):
    for name in (packed.name, "image"):
        path = packed.rename(packed.with_name(name))
        packed = path
        content, source = read(path)
        assert content == small
        assert source.sha256 == hashlib.sha256(small).hexdigest()
        assert source.fraction == 1


def test_both_checksums_are_taken(packed, small):
    for content in (packed.read_bytes(), small):
        assert read(packed, sha256=hashlib.sha256(content).hexdigest())[0] == small
    told = refusal(lambda: read(packed, sha256=hashlib.sha256(b"").hexdigest()))
    assert "not what was promised" in told


def test_checksum_of_nothing_is_no_plain_images(image, disk):
    nothing = hashlib.sha256(b"").hexdigest()
    with (
        open_image(str(image), sha256=nothing, cache=image) as source,
        pytest.raises(FlashError, match="not what was promised"),
    ):
        write_image(source, [disk])
    assert not boots(disk)


def test_zeros_are_skipped(image, image_bytes):
    with open_image(str(image), cache=image.parent) as source:
        yielded = sum(len(view) for _offset, view in source.extents())
    assert yielded < len(image_bytes) - 3 * MIB


def test_corrupt_archive_is_found_at_20_places(packed, small, disk):
    content = packed.read_bytes()
    for place in range(20):
        # The first bytes of gzip and zip hold a date and the like, which no checksum covers.
        at = 64 + place * (len(content) - 128) // 20
        broken = bytearray(content)
        broken[at] ^= 0x10
        packed.write_bytes(broken)
        with open_image(str(packed), cache=packed.parent) as source, pytest.raises(FlashError):
            write_image(source, [disk])
        assert not boots(disk)


def test_archive_cut_short_is_found_at_20_places(packed):
    content = packed.read_bytes()
    for place in range(20):
        packed.write_bytes(content[: len(content) * place // 20])
        assert refusal(lambda: read(packed))
    packed.write_bytes(content[:-1])
    assert refusal(lambda: read(packed))


@pytest.mark.parametrize("padding", [b"", bytes(12)])
def test_size_of_an_xz_archive_is_known_before_it_is_unpacked(tmp_path, small, padding):
    path = tmp_path / "system.img.xz"
    path.write_bytes(lzma.compress(small) + padding + lzma.compress(small[:5000]) + padding)
    with open_image(str(path), cache=tmp_path) as source:
        assert source.size_bytes == len(small) + 5000
    assert len(read(path)[0]) == len(small) + 5000
    path.write_bytes(lzma.compress(small)[:-4])
    with open_image(str(path), cache=tmp_path) as source:
        assert source.size_bytes is None


@pytest.mark.parametrize("garbage", [b"x", b"\0\0\0x", b"garbage" * 1000])
def test_garbage_behind_an_archive_is_an_error(packed, garbage):
    with packed.open("ab") as file:
        file.write(garbage)
    assert "corrupt" in refusal(lambda: read(packed))


@pytest.mark.parametrize(
    ("kind", "padding"), [("xz", bytes(8)), ("gz", bytes(100)), ("bz2", b""), ("zst", b"")]
)
def test_streams_that_follow_one_another_are_one_image(tmp_path, small, kind, padding):
    path = tmp_path / "system.img"
    content = PACKERS[kind](small)
    path.write_bytes(content + content + padding)
    assert read(path)[0] == small + small


def test_archive_that_lost_its_first_byte_is_not_taken_for_an_image(packed):
    packed.write_bytes(b"\0" + packed.read_bytes()[1:])
    assert "its first bytes" in refusal(lambda: read(packed))


def test_checksum_that_is_none_is_refused(image):
    with pytest.raises(UsageError):
        read(image, sha256="abc")


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("empty.img", b"", "is empty"),
        ("tree.tar", b"a" * 257 + b"ustar" + bytes(250), "tar archive"),
        ("twice.img.gz", gzip.compress(lzma.compress(b"a"), mtime=0), ".xz archive"),
        ("two.zip", zipped(b"a", other=b"b", **{"b.img": b"b"}), "one image"),
        ("none.zip", zipped(b"a", "a.txt", **{"b.txt": b"b"}), "one image"),
    ],
)
def test_what_is_no_image_is_refused(tmp_path, name, content, said):
    path = tmp_path / name
    path.write_bytes(content)
    assert said in refusal(lambda: read(path))


def test_file_that_is_not_there_is_told(tmp_path):
    assert "cannot be read" in refusal(lambda: read(tmp_path / "absent.img"))


def test_zip_with_a_text_beside_the_image_is_taken(tmp_path, small):
    path = tmp_path / "system.zip"
    path.write_bytes(zipped(small, **{"readme.txt": b"read me"}))
    assert read(path)[0] == small


@pytest.mark.parametrize("name", ["system.img.xz.bmap", "system.img.bmap", "system.bmap"])
def test_block_map_beside_a_packed_image_is_used(tmp_path, disk, small, name):
    image = tmp_path / "system.img.xz"
    image.write_bytes(lzma.compress(small, preset=0))
    (tmp_path / name).write_bytes(block_map(small))
    told = []
    with open_image(str(image), cache=tmp_path, emit=told.append) as source:
        (written,) = write_image(source, [disk])
    assert written.error is None
    assert holds(disk, small[:150_000])
    assert "42% of" in told[0].text


def test_image_that_is_not_its_block_maps_is_found(tmp_path, small, disk):
    image = tmp_path / "system.img"
    image.with_suffix(".bmap").write_bytes(block_map(small))
    for at in (0, 100_000, 140_000, 460_000, len(small) - 1):
        broken = bytearray(small)
        broken[at] ^= 1
        image.write_bytes(broken)
        with open_image(str(image), cache=tmp_path) as source:
            told = refusal(lambda opened=source: write_image(opened, [disk]))
        assert "not the image of its block map" in told
        assert not boots(disk)


def test_block_map_of_an_image_of_another_size_is_refused(tmp_path, small):
    image = tmp_path / "system.img"
    image.write_bytes(small)
    image.with_suffix(".bmap").write_bytes(block_map(small + bytes(4096)))
    assert "its block map is of an image of" in refusal(lambda: read(image))
    packed = tmp_path / "system.img.gz"
    packed.write_bytes(gzip.compress(small, mtime=0))
    assert "should have" in refusal(lambda: read(packed))


def test_block_map_that_was_given_must_be_there(image):
    assert "not there" in refusal(lambda: read(image, block_map=str(image.with_suffix(".none"))))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("2.0", "3.0"), "its format is 3.0"),
        (lambda text: text.replace("> sha256 <", "> sha1 <"), "sha256 is understood"),
        (lambda text: text.replace("<BlockMap>", "<BlockMap><Range>900-901</Range>"), "order"),
        (lambda text: text.replace("<ImageSize> 5", "<ImageSize> 1"), "behind the image's end"),
        (lambda text: text.replace("<BlockSize> 4096", "<BlockSize> many"), "no number"),
        (lambda text: text.replace("<MappedBlocksCount> 5", "<MappedBlocksCount> 6"), "as many"),
        (lambda text: text.replace("BlockSize", "BlockSice"), "has no BlockSize"),
        (lambda text: text.replace("</bmap>", ""), "no element"),
        (lambda text: "<!DOCTYPE bmap>" + text, "bmaptool did not write it"),
    ],
)
def test_block_map_that_is_wrong_is_refused(tmp_path, small, change, said):
    image = tmp_path / "system.img"
    image.write_bytes(small)
    text = change(block_map(small).decode())
    image.with_suffix(".bmap").write_bytes(signed(text))
    assert said in refusal(lambda: read(image))


def test_block_map_that_was_changed_is_refused(tmp_path, small):
    image = tmp_path / "system.img"
    image.write_bytes(small)
    image.with_suffix(".bmap").write_bytes(block_map(small).replace(b"0-36", b"0-35"))
    assert "its own checksum" in refusal(lambda: read(image))
