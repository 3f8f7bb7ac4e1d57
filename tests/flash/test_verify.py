"""Whatever changes on a disk after it was written is found."""

import random

import pytest
from flash_disks import MIB, block_map, failing, flip, refusal

from edgekit.flash.source import open_image
from edgekit.flash.verify import Piece, verify
from edgekit.flash.write import write_image
from edgekit.flash.write_disk import DiskFile


@pytest.fixture
def written(image, disk):
    """A disk that holds the image, and what it must hold."""

    pieces = []

    def keep(disk, body, progress=None):
        pieces.extend(body)
        verify(disk, body)

    with pytest.MonkeyPatch.context() as patch, open_image(str(image), cache=image) as source:
        patch.setattr("edgekit.flash.write_lane.verify", keep)
        (done,) = write_image(source, [disk])
    assert done.error is None
    assert sum(piece.length for piece in pieces) == image.stat().st_size
    return disk, pieces


def test_one_flipped_bit_is_found_at_100_of_100_random_places(written, image_bytes):
    disk, pieces = written
    chance = random.Random(100)
    found = 0
    with DiskFile(disk) as opened:
        for _time in range(100):
            at, bit = chance.randrange(len(image_bytes)), chance.randrange(8)
            flip(disk, at, bit)
            told = refusal(lambda: verify(opened, pieces))
            first, last = map(int, told.rpartition("sectors ")[2].split(" to "))
            found += first <= at // 512 <= last
            flip(disk, at, bit)
        verify(opened, pieces)
    assert found == 100


def test_disk_that_is_right_is_read_whole(written):
    disk, pieces = written
    moved = []
    with DiskFile(disk) as opened:
        verify(opened, pieces, moved.append)
    assert sum(moved) == sum(piece.length for piece in pieces)


def test_disk_that_ends_early_is_an_error(disk):
    with DiskFile(disk) as opened:
        told = refusal(lambda: verify(opened, [Piece(15 * MIB, 2 * MIB, 1)]))
    assert "the disk ends here" in told


def test_read_error_is_told_with_its_sector(written):
    disk, pieces = written
    with failing(read_at=6 * MIB)(disk) as opened:
        assert "sector 12288" in refusal(lambda: verify(opened, pieces))


def test_bit_outside_the_used_blocks_does_not_matter(image, image_bytes, disk):
    image.with_suffix(".bmap").write_bytes(block_map(image_bytes))
    for at, good in ((2 * MIB, True), (6 * MIB, False)):
        with open_image(str(image), cache=image.parent) as source:
            (done,) = write_image(source, [disk], opener=failing(flip_at=at))
        assert (done.error is None) is good
