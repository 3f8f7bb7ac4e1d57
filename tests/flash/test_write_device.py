"""Writing to a real block device of the kernel: a loop device on a file."""

import os
import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from flash_disks import MIB, block_map, boots, file_disk, holds

from edgekit.core.flash import Disk
from edgekit.flash.source import open_image
from edgekit.flash.write import write_image
from edgekit.flash.write_disk import DiskFile


@pytest.fixture
def device(tmp_path):
    """A block device, and the file behind it, which held something else before."""
    losetup = shutil.which("losetup", path=f"{os.environ.get('PATH', '')}:/sbin:/usr/sbin")
    if losetup is None or os.geteuid() != 0:
        pytest.skip("a loop device needs losetup and root")
    backing = file_disk(tmp_path / "backing", 16 * MIB)
    made = subprocess.run(
        [losetup, "--find", "--show", str(backing.path)],
        check=False,
        capture_output=True,
        text=True,
    )
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr.strip()}")
    yield Disk(Path(made.stdout.strip()), backing.size_bytes), backing
    subprocess.run([losetup, "--detach", made.stdout.strip()], check=True)


def write(image, disk, **options):
    with open_image(str(image), cache=image.parent) as source:
        (written,) = write_image(source, [disk], **options)
    return written


@pytest.mark.parametrize("punches", [True, False])
def test_block_device_gets_the_image(device, image, image_bytes, punches):
    class Plain(DiskFile):
        def __init__(self, disk):
            super().__init__(disk)
            self._punches = punches
            assert self._direct is not None

        def discard(self, length):
            if punches:
                super().discard(length)

    disk, backing = device
    written = write(image, disk, opener=Plain)
    assert written.error is None
    assert holds(disk, image_bytes)
    assert holds(backing, image_bytes)


def test_block_device_gets_what_a_block_map_names(device, image, image_bytes):
    disk, _backing = device
    image.with_suffix(".bmap").write_bytes(block_map(image_bytes))
    written = write(image, disk)
    assert written.error is None
    assert holds(disk, image_bytes[: MIB + 4096])


def test_device_that_somebody_holds_is_left_alone(device, image):
    disk, backing = device
    before = backing.path.read_bytes()
    holder = os.open(disk.path, os.O_RDWR | os.O_EXCL)  # as a mount does
    try:
        written = write(image, disk)
    finally:
        os.close(holder)
    assert "is in use" in written.error
    assert backing.path.read_bytes() == before


def test_device_of_another_size_than_was_found_is_left_alone(device, image):
    disk, backing = device
    before = backing.path.read_bytes()
    written = write(image, replace(disk, size_bytes=disk.size_bytes - MIB))
    assert "when it was found it had" in written.error
    assert backing.path.read_bytes() == before


def test_sectors_that_the_kernel_cannot_read_are_told(device, image):
    disk, backing = device

    class Shrinking(DiskFile):
        def flush(self):
            super().flush()
            # Behind its file's end a loop device answers reads with an error.
            if backing.path.stat().st_size > 5 * MIB and self.flushed:
                os.truncate(backing.path, 5 * MIB)
            self.flushed = True

        flushed = False

    written = write(image, disk, opener=Shrinking)
    first, last = re.search(
        r"cannot be read, somewhere in sectors (\d+) to (\d+): Input/output error", written.error
    ).groups()
    assert int(first) < 9 * MIB // 512
    assert int(last) >= 5 * MIB // 512
    assert not boots(disk)
