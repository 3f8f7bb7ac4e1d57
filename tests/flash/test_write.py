"""Writing images to disks: what stands there afterwards, and that no failure goes unseen."""

import errno
import gzip
import hashlib
import os
import random
import threading
from pathlib import Path

import pytest
from flash_disks import MIB, block_map, boots, failing, file_disk, flip, holds, refusal

from edgekit.core.errors import FlashError
from edgekit.core.events import StepFinished, StepProgress
from edgekit.core.flash import Disk
from edgekit.flash.source import open_image
from edgekit.flash.write import write_image
from edgekit.flash.write_disk import DiskFile


def write(image, *disks, cache=None, **options):
    with open_image(str(image), cache=cache or image.parent / "cache") as source:
        return write_image(source, disks, **options)


def test_image_replaces_what_was_there_and_nothing_behind_it(image, image_bytes, disk):
    behind = disk.path.read_bytes()[len(image_bytes) :]
    events = []
    (written,) = write(image, disk, emit=events.append)
    assert written.error is None
    assert disk.path.read_bytes() == image_bytes + behind
    assert written.sha256 == ""
    assert written.size_bytes == len(image_bytes)
    assert written.written_bytes < len(image_bytes)
    assert {event.step for event in events if isinstance(event, StepFinished)} == {
        f"write:{disk.path}",
        f"verify:{disk.path}",
    }


def test_zeros_are_written_where_no_hole_can_be_made(image, image_bytes, disk):
    class NoHoles(DiskFile):
        def __init__(self, disk):
            super().__init__(disk)
            self._punches = False

    (written,) = write(image, disk, opener=NoHoles)
    assert written.error is None
    assert holds(disk, image_bytes)


def test_file_system_without_direct_access_serves_too(image, image_bytes, disk):
    class Cached(DiskFile):
        def __init__(self, disk):
            super().__init__(disk)
            self._direct = None

    (written,) = write(image, disk, opener=Cached)
    assert written.error is None
    assert holds(disk, image_bytes)


def test_all_that_is_aligned_goes_past_the_page_cache(image, disk):
    through = []

    class Watched(DiskFile):
        def close(self):
            through.append(self._direct is None)
            super().close()

    with DiskFile(disk) as opened:
        if opened._direct is None:
            pytest.skip("this file system has no direct access")
    (written,) = write(image, disk, opener=Watched)
    assert written.error is None
    assert through == [False]


def test_sparse_image_clears_what_its_holes_cover(tmp_path, disk):
    image = tmp_path / "sparse.img"
    with image.open("wb") as file:
        file.write(b"boot" * 128)
        file.seek(9 * MIB)
        file.write(b"root" * 128)
        file.truncate(12 * MIB)
    (written,) = write(image, disk)
    assert written.error is None
    assert holds(disk, image.read_bytes())


def test_checksum_of_a_sparse_image_covers_its_holes(tmp_path, disk):
    image = tmp_path / "sparse.img"
    with image.open("wb") as file:
        file.seek(9 * MIB)
        file.write(b"root" * 128)
        file.truncate(12 * MIB)
    promised = hashlib.sha256(image.read_bytes()).hexdigest()
    with open_image(str(image), sha256=promised, cache=tmp_path) as source:
        (written,) = write_image(source, [disk])
    assert written.error is None
    assert written.sha256 == promised


def test_unused_blocks_of_a_block_map_are_left_alone(image, image_bytes, disk):
    image.with_suffix(".bmap").write_bytes(block_map(image_bytes))
    before = disk.path.read_bytes()
    (written,) = write(image, disk)
    after = disk.path.read_bytes()
    assert written.error is None
    gap = slice(MIB + 4096, 4 * MIB)
    assert after[gap] == before[gap] != image_bytes[gap]
    for used in (slice(0, MIB + 4096), slice(4 * MIB, 4 * MIB + MIB // 2)):
        assert after[used] == image_bytes[used]


def test_four_disks_get_one_image(image, image_bytes, tmp_path):
    disks = [file_disk(tmp_path / f"disk{n}", 16 * MIB) for n in range(4)]
    written = write(image, *disks)
    assert [each.disk for each in written] == disks
    assert [each.error for each in written] == [None] * 4
    assert all(holds(disk, image_bytes) for disk in disks)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ({"write_at": 5 * MIB}, "at sector 10240"),
        ({"write_at": 0}, "at sector 0"),
        ({"read_at": 5 * MIB}, "at sector 10240"),
        ({"gone_at": 5 * MIB}, "is gone"),
        ({"flip_at": 6 * MIB}, "does not hold what was written"),
        ({"flip_at": 3 * MIB}, "does not hold what was written"),
    ],
)
def test_fault_is_told_and_the_disk_does_not_boot_nor_stop_the_other(
    image, image_bytes, disk, tmp_path, fault, said
):
    good = file_disk(tmp_path / "good", 16 * MIB)
    bad = failing(**fault)
    failed, written = write(
        image, disk, good, opener=lambda each: (bad if each == disk else DiskFile)(each)
    )
    assert said in failed.error
    assert fault.get("write_at") == 0 or not boots(disk)
    assert written.error is None
    assert holds(good, image_bytes)


def test_bit_that_turns_in_the_head_takes_the_head_away_again(image, disk):
    (written,) = write(image, disk, opener=failing(flip_at=300))
    assert "sectors 0 to" in written.error
    # The fault strikes once more when the cleared head is flushed: one bit, no boot sector.
    assert disk.path.read_bytes()[:MIB].count(0) >= MIB - 1


@pytest.mark.parametrize("head", [True, False])
def test_memory_that_a_driver_spoils_is_found(image, disk, head):
    class Spoiling(DiskFile):
        def write(self, offset, view):
            if (offset == 0) == head and any(view[:512]):
                view[300] ^= 1
            super().write(offset, view)

    (written,) = write(image, disk, opener=Spoiling)
    assert "does not hold what was written" in written.error
    assert not boots(disk)


@pytest.mark.parametrize(
    ("fault", "why"), [(errno.EIO, "Input/output error"), (errno.EREMOTEIO, "the disk refuses")]
)
def test_flush_that_fails_is_told_without_a_place(image, disk, monkeypatch, fault, why):
    def fail(descriptor):
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr("edgekit.flash.write_disk.os.fsync", fail)
    (written,) = write(image, disk)
    assert f"{disk.path} cannot be written: {why};" in written.error


def test_file_whose_disk_is_full_is_not_called_a_failing_disk():
    with (
        DiskFile(Disk(Path("/dev/full"), 0, is_file=True)) as full,
        pytest.raises(FlashError, match="No space left on device") as told,
    ):
        full.write(0, memoryview(bytes(4096)))
    assert told.value.hint == "make room where /dev/full lies"


def test_disk_that_hangs_is_given_up(image, image_bytes, disk, tmp_path):
    good = file_disk(tmp_path / "good", 16 * MIB)
    freed = threading.Event()
    hanging = failing(hangs=freed)
    failed, written = write(
        image,
        disk,
        good,
        opener=lambda each: (hanging if each == disk else DiskFile)(each),
        stall_s=0.5,
    )
    freed.set()
    assert "has not answered" in failed.error
    assert written.error is None
    assert holds(good, image_bytes)
    assert not boots(disk)


def test_disk_that_is_one_sector_too_small_is_left_as_it_was(image, image_bytes, tmp_path):
    small = file_disk(tmp_path / "small", len(image_bytes) - 512)
    before = small.path.read_bytes()
    (written,) = write(image, small)
    assert "too small" in written.error
    assert "1 sectors" in written.error
    assert small.path.read_bytes() == before


def test_image_that_proves_too_large_on_the_way_does_not_boot(image, image_bytes, tmp_path):
    packed = tmp_path / "system.img.gz"
    packed.write_bytes(gzip.compress(image_bytes, 1))
    small = file_disk(tmp_path / "small", len(image_bytes) - 512)
    (written,) = write(packed, small)
    assert "too small" in written.error
    assert not boots(small)


def test_image_that_is_not_the_promised_one_does_not_boot(image, disk):
    with (
        open_image(str(image), sha256="0" * 64, cache=image.parent) as source,
        pytest.raises(FlashError, match="not what was promised"),
    ):
        write_image(source, [disk])
    assert not boots(disk)


def test_interrupt_leaves_no_disk_that_boots(image, disk):
    class Interrupted:
        def __init__(self, source):
            self._source = source

        def __getattr__(self, name):
            return getattr(self._source, name)

        def extents(self):
            yield next(self._source.extents())
            raise KeyboardInterrupt

    with open_image(str(image), cache=image.parent) as source, pytest.raises(KeyboardInterrupt):
        write_image(Interrupted(source), [disk])
    assert not boots(disk)


def test_former_backup_of_the_partition_table_is_removed(image, disk):
    with disk.path.open("r+b") as file:
        file.seek(-512, 2)
        file.write(b"EFI PART")
    (written,) = write(image, disk)
    assert written.error is None
    assert disk.path.read_bytes()[-33 * 512 :] == bytes(33 * 512)


def test_disk_named_twice_is_refused(image, disk):
    assert "twice" in refusal(lambda: write(image, disk, disk))


def test_file_that_is_being_written_is_left_to_whoever_writes_it(image, image_bytes, disk):
    before = disk.path.read_bytes()
    with DiskFile(disk), open_image(str(image), cache=image.parent) as source:
        (written,) = write_image(source, [disk])
    assert "another edgekit writes to it" in written.error
    assert disk.path.read_bytes() == before
    with open_image(str(image), cache=image.parent) as source:
        assert write_image(source, [disk])[0].error is None
    assert holds(disk, image_bytes)


def test_disk_that_is_not_there_is_an_error_of_its_own(image, disk, tmp_path):
    disk.path.unlink()
    (written,) = write(image, disk)
    assert "is gone" in written.error


def test_progress_tells_rate_and_time_left(image, disk, monkeypatch):
    monkeypatch.setattr("edgekit.flash.write_progress._EVERY_S", 0)
    monkeypatch.setattr("edgekit.flash.write_progress._SETTLED_S", 0)
    events = []
    write(image, disk, emit=events.append)
    moves = [event for event in events if isinstance(event, StepProgress)]
    assert all(event.unit == "B" and event.rate_per_s > 0 for event in moves)
    verified = [event for event in moves if event.step.startswith("verify")]
    assert verified[-1].done == verified[-1].total
    assert verified[-1].left_s == 0


def test_writing_without_verify_still_writes_the_head_last(image, image_bytes, disk):
    order = []

    class Told(DiskFile):
        def write(self, offset, view):
            order.append((offset, bytes(view[:4])))
            super().write(offset, view)

    (written,) = write(image, disk, opener=Told, verify=False)
    assert written.error is None
    assert holds(disk, image_bytes)
    assert order[0] == (0, bytes(4))
    assert order[-1] == (0, image_bytes[:4])


def test_random_images_arrive(tmp_path, disk):
    noise = random.Random(66)
    for _attempt in range(8):
        content = b"".join(
            noise.choice([bytes, noise.randbytes])(noise.randrange(1, 3 * MIB))
            for _part in range(noise.randrange(1, 5))
        )
        content = (content + b"end").ljust(-(-len(content) // 512) * 512 + 512, b"\0")
        image = tmp_path / "random.img"
        image.write_bytes(content)
        (written,) = write(image, disk)
        assert written.error is None
        assert holds(disk, content)
        flip(disk, len(content) - 1)
