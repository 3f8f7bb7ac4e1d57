"""The disk image of Debian; that it boots is shown in tests/app/test_flash_and_update.py."""

import subprocess

import pytest
from board_shell import skip_without_boards

from edgekit.board.disk_image import copy_image, disk_image, slot_bytes
from edgekit.board.requirements import disk_requirements
from edgekit.core.errors import DeviceError

pytestmark = [pytest.mark.board, pytest.mark.machine, pytest.mark.slow, pytest.mark.network]


@pytest.fixture(scope="module")
def image():
    skip_without_boards(disk_requirements())
    return disk_image()


def checked(path):
    return subprocess.run(
        ["/sbin/e2fsck", "-fn", path], capture_output=True, text=True, check=False
    )


def test_image_is_read_only_whole_and_fits_its_slot(image):
    assert not image.disk.stat().st_mode & 0o222
    assert image.root.stat().st_size <= slot_bytes("root-b")[1]
    assert checked(image.root).returncode == 0


def test_files_are_put_into_a_copy_and_replace_what_stands_there(image, tmp_path):
    own = tmp_path / "hostname"
    own.write_text("other\n", encoding="ascii")
    copy = tmp_path / "root.img"
    copy_image(image.root, copy, {"/etc/hostname": own, "/opt/of/its/own": own})
    for path in ("/etc/hostname", "/opt/of/its/own"):
        told = subprocess.run(
            ["/sbin/debugfs", "-R", f"cat {path}", copy], capture_output=True, check=True
        )
        assert told.stdout == b"other\n"
    assert checked(copy).returncode == 0
    with pytest.raises(DeviceError, match="could not be put"):
        copy_image(image.root, copy, {"/etc/other": tmp_path / "absent"})
