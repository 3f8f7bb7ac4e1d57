"""Images to write, and files that stand for disks."""

import random

import pytest
from flash_disks import MIB, file_disk


@pytest.fixture
def image_bytes():
    """9 MiB and a bit: data, a long gap, data with a short gap, an end that no page ends with."""
    noise = random.Random(6)
    return (
        noise.randbytes(MIB + 4096)
        + bytes(3 * MIB - 4096)
        + noise.randbytes(MIB // 2)
        + bytes(8192)
        + noise.randbytes(3 * MIB)
        + bytes(MIB)
        + noise.randbytes(512)
    )


@pytest.fixture
def image(tmp_path, image_bytes):
    """The same as a file."""
    path = tmp_path / "system.img"
    path.write_bytes(image_bytes)
    return path


@pytest.fixture
def disk(tmp_path):
    """A disk of 16 MiB that held something else before."""
    return file_disk(tmp_path / "disk", 16 * MIB)
