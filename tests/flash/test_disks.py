"""What is seen of disks, and which of them are refused, on machines made of files."""

import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from block_devices import Machine
from capabilities import without_capabilities
from disk_images import ext4, need, say

from edgekit.core.errors import FlashError
from edgekit.core.flash import Disk
from edgekit.flash.block_tree import BlockTree
from edgekit.flash.disks import disk_at, find_disks, refuse, refuse_claimed, refuse_twins

CARD = Disk(Path("/dev/sdb"), 1_000_448, model="SanDisk Ultra", removable=True)
MMC = "platform/fe320000.mmc/mmc_host/mmc1/mmc1:aaaa"


@pytest.fixture
def machine(tmp_path):
    return Machine(tmp_path)


def only(machine):
    (disk,) = find_disks(machine.root)
    return disk


def refused(disk, image_bytes=1_000_448, *, allow_system=False):
    with pytest.raises(FlashError) as caught:
        refuse(disk, image_bytes, allow_system=allow_system)
    assert caught.value.hint
    assert str(disk.path) in caught.value.message
    return caught.value


def test_usb_stick_is_described_with_its_port(machine):
    machine.add(
        "sdb", 1954, device__vendor="SanDisk ", device__model="Ultra   ", removable=1,
        queue__logical_block_size=4096,
    )  # fmt: skip
    assert only(machine) == Disk(
        path=Path("/dev/sdb"),
        size_bytes=1_000_448,
        model="SanDisk Ultra",
        serial="4C530001",
        port="usb 1-1.2",
        removable=True,
        logical_block_bytes=4096,
    )


def test_disk_on_usb_that_calls_itself_fixed_is_removable(machine):
    machine.add("sdb", removable=0)
    assert only(machine).removable


@pytest.mark.parametrize(("kind", "removable"), [("SD", True), ("MMC", False)])
def test_sd_card_is_removable_and_emmc_is_not(machine, kind, removable):
    machine.add("mmcblk1", bus=MMC, device__type=kind, device__name="SC32G", device__serial="0xab")
    disk = only(machine)
    assert (disk.removable, disk.model, disk.serial) == (removable, f"{kind} SC32G", "0xab")
    assert disk.port == "mmc1"


def test_nvme_disk_is_built_in(machine):
    machine.add(
        "nvme0n1",
        bus="pci0000:00/0000:01:00.0/nvme/nvme0",
        device__model="SAMSUNG 980",
        device__serial="S64",
    )
    disk = only(machine)
    assert not disk.removable
    assert (disk.model, disk.serial, disk.port) == ("SAMSUNG 980", "S64", "nvme0")
    assert "--allow-system-disk" in refused(disk).hint
    refuse(disk, 1024, allow_system=True)


def test_list_holds_whole_disks_with_something_in_them_only(machine):
    machine.add("sda")
    machine.part("sda", "sda1")
    machine.add("sdc", 0, removable=1)  # a card reader without a card
    machine.add("mmcblk0", bus=MMC, device__type="MMC")
    machine.add("mmcblk0boot0", 8192, bus=MMC)
    for name in ("loop0", "zram0", "dm-0", "md127", "sr0", "ram3"):
        machine.add(name, bus="virtual")
    assert [str(disk.path) for disk in find_disks(machine.root)] == ["/dev/mmcblk0", "/dev/sda"]


def test_machine_without_sysfs_has_no_disks(tmp_path):
    assert find_disks(tmp_path) == []


def test_root_on_a_partition_makes_a_system_disk(machine):
    machine.add("sda")
    machine.mount(machine.part("sda", "sda2", 2), "/")
    assert only(machine).mounts == ("/",)
    assert "own system" in refused(only(machine)).message
    assert "own system" in refused(only(machine), allow_system=True).message


@pytest.mark.parametrize("point", ["/boot", "/boot/efi", "/usr", "/home", "/var/lib/docker"])
def test_parts_of_the_system_make_a_system_disk(machine, point):
    machine.add("sda")
    machine.mount(machine.part("sda", "sda1"), point)
    assert only(machine).system


def test_root_in_lvm_in_luks_makes_a_system_disk(machine):
    machine.add("sda")
    machine.part("sda", "sda3", 3)
    machine.made_of("dm-0", "sda3", "sda3_crypt")
    machine.mount(machine.made_of("dm-1", "dm-0", "vg0-root"), "/", source="/dev/mapper/vg0-root")
    assert only(machine).system
    assert only(machine).mounts == ("/",)


def test_raid_member_is_a_system_disk_where_the_raid_is(machine):
    for disk in ("sda", "sdb"):
        machine.add(disk)
        machine.part(disk, f"{disk}1")
    machine.made_of("md0", "sda1")
    holders = (machine.root / "sys/class/block/sdb1").resolve() / "holders"
    holders.mkdir()
    (holders / "md0").symlink_to((machine.root / "sys/class/block/md0").resolve())
    machine.mount(machine.part("md0", "md0p1"), "/usr")
    assert [disk.system for disk in find_disks(machine.root)] == [True, True]


def test_btrfs_root_is_found_by_its_source(machine):
    machine.add("sda")
    machine.part("sda", "sda2", 2)
    machine.mount("sda2", "/", number="0:31")
    assert only(machine).system


def test_every_disk_of_a_btrfs_root_is_a_system_disk(machine):
    for disk in ("sda", "sdb", "sdc"):
        machine.add(disk)
    for member in ("sda", "sdb"):
        link = machine.root / "sys/fs/btrfs/6f0c/devices" / member
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(machine.root / "sys/class/block" / member)
    (machine.root / "sys/fs/btrfs/features").mkdir()
    machine.mount("sda", "/", number="0:31")
    assert [disk.system for disk in find_disks(machine.root)] == [True, True, False]


@pytest.mark.parametrize("through_mapper", [False, True])
def test_swap_makes_a_system_disk(machine, through_mapper):
    machine.add("sda")
    machine.part("sda", "sda5", 5)
    if through_mapper:
        machine.made_of("dm-2", "sda5", "vg0-swap")
    machine.swap("/dev/mapper/vg0-swap" if through_mapper else "/dev/sda5")
    assert only(machine).system
    assert "[swap]" in refused(only(machine)).message


def test_card_that_the_desktop_mounted_is_in_use_but_no_system(machine):
    machine.add("sdb", removable=1)
    machine.mount(machine.part("sdb", "sdb1"), r"/media/pi/my\040card")
    disk = only(machine)
    assert (disk.system, disk.mounts) == (False, ("/media/pi/my card",))
    error = refused(disk, allow_system=True)
    assert "mounted at /media/pi/my card" in error.message
    assert "umount" in error.hint


def test_volume_that_is_open_but_not_mounted_is_in_use(machine):
    machine.add("sdb", removable=1)
    machine.made_of("dm-3", machine.part("sdb", "sdb1"), "backup")
    assert "[held by backup]" in refused(only(machine)).message


def test_neighbour_of_the_system_disk_is_free(machine):
    machine.add("sda")
    machine.mount(machine.part("sda", "sda1"), "/")
    machine.add("sdb", removable=1)
    machine.part("sdb", "sdb1")
    refuse(find_disks(machine.root)[1], 1024, allow_system=False)


def test_read_only_card_is_refused(machine):
    machine.add("sdb", removable=1, ro=1)
    assert "read-only" in refused(only(machine)).message


def test_disk_one_sector_too_small_is_refused():
    refuse(CARD, 1_000_448, allow_system=False)
    error = refused(CARD, 1_000_448 + 512)
    assert "too small" in error.message
    assert "512 more" in error.message


def test_disk_without_a_byte_is_refused_before_the_image_is_known():
    assert "0 bytes" in refused(replace(CARD, size_bytes=0), None).message


def test_disk_is_found_by_its_node_and_by_a_link(machine, tmp_path):
    machine.add("sdb", removable=1)
    link = tmp_path / "by-id"
    link.symlink_to(machine.node("sdb"))
    for path in (machine.node("sdb"), link):
        assert disk_at(path, machine.tree()).path == machine.node("sdb")


@pytest.mark.parametrize(
    ("name", "words", "hint"),
    [("sdb1", "is a partition", "/dev/sdb"), ("mmcblk0boot0", "boot area", "--list")],
)
def test_parts_of_a_disk_are_refused(machine, name, words, hint):
    machine.add("sdb")
    machine.part("sdb", "sdb1")
    machine.add("mmcblk0boot0", bus=MMC)
    with pytest.raises(FlashError, match=words) as caught:
        disk_at(machine.node(name), machine.tree())
    assert hint in caught.value.hint


def test_directory_missing_path_and_terminal_are_no_disks(tmp_path):
    for path, words in [
        (tmp_path, "is a directory"),
        (tmp_path / "none.img", "no disk at"),
        (Path("/dev/null"), "neither a block device nor"),
        (tmp_path / ("x" * 300), "cannot look at"),
    ]:
        with pytest.raises(FlashError, match=words) as caught:
            disk_at(path)
        assert caught.value.hint


def test_device_that_vanished_is_said_to_be_pulled(machine, tmp_path):
    with pytest.raises(FlashError, match="does not know") as caught:
        disk_at(tmp_path, BlockTree(machine.root, lambda _: "9:99"))
    assert "pulled" in caught.value.hint


def test_plain_file_is_a_disk(tmp_path):
    file = tmp_path / "disk.img"
    file.write_bytes(bytes(4096))
    disk = disk_at(file)
    assert (disk.size_bytes, disk.is_file, disk.removable) == (4096, True, True)
    refuse(disk, 4096, allow_system=False)
    refuse_claimed(disk)
    assert f"truncate -s 4097 {file}" in refused(disk, 4097).hint


def test_file_behind_a_mounted_loop_device_is_in_use(machine, tmp_path):
    file = tmp_path / "disk.img"
    file.write_bytes(bytes(4096))
    machine.add("loop0", bus="virtual", loop__backing_file=file.resolve())
    machine.mount(machine.part("loop0", "loop0p1"), "/mnt")
    disk = disk_at(file, BlockTree(machine.root))
    assert disk.mounts == ("/mnt",)
    assert "in use" in refused(disk).message


def test_file_behind_a_loop_device_is_in_use_though_not_mounted(machine, tmp_path):
    file = tmp_path / "disk.img"
    file.write_bytes(bytes(4096))
    machine.add("loop0", bus="virtual", loop__backing_file=file.resolve())
    error = refused(disk_at(file, BlockTree(machine.root)))
    assert "[held by loop0]" in error.message
    assert "losetup -d" in error.hint


@pytest.fixture
def loop(tmp_path):
    """A loop device of this machine's kernel on a small ext4, and the file behind it."""
    need("losetup", "mke2fs", "mount", "umount")
    if os.geteuid() != 0:
        pytest.skip("a loop device needs root")
    file = tmp_path / "disk.img"
    file.write_bytes(ext4(tmp_path, {"file": "x"}))
    made = subprocess.run(
        ["losetup", "--find", "--show", str(file)], check=False, capture_output=True, text=True
    )
    if made.returncode:
        pytest.skip(f"no loop device: {made.stderr.strip()}")
    yield Path(made.stdout.strip()), file
    say("losetup", "--detach", made.stdout.strip())


def test_device_of_this_kernel_is_described_and_refused_while_it_is_used(loop, tmp_path):
    path, file = loop
    disk = disk_at(path)
    assert (disk.path, disk.size_bytes) == (path, file.stat().st_size)
    assert (disk.is_file, disk.removable, disk.mounts) == (False, False, ())
    assert "built in" in refused(disk).message
    refuse(disk, disk.size_bytes, allow_system=True)
    refuse_claimed(disk)
    holder = os.open(path, os.O_RDONLY | os.O_EXCL)
    with pytest.raises(FlashError, match="cannot be opened for writing"):
        refuse_claimed(disk)
    os.close(holder)
    folder = tmp_path / "a mount"
    folder.mkdir()
    done = subprocess.run(["mount", str(path), str(folder)], check=False, capture_output=True)
    if done.returncode:
        pytest.skip(f"cannot mount here: {done.stderr.decode().strip()}")
    try:
        for used in (disk_at(path), disk_at(file)):
            assert used.mounts == (str(folder),)
            assert "in use" in refused(used, allow_system=True).message
        with pytest.raises(FlashError, match="cannot be opened for writing"):
            refuse_claimed(disk)
    finally:
        say("umount", folder)


def test_same_disk_by_two_names_is_refused(tmp_path):
    file, other = tmp_path / "disk.img", tmp_path / "other.img"
    file.write_bytes(bytes(512))
    other.write_bytes(bytes(512))
    (tmp_path / "hard.img").hardlink_to(file)
    refuse_twins([disk_at(file), disk_at(other)])
    with pytest.raises(FlashError, match="the same disk"):
        refuse_twins([disk_at(file), disk_at(other), disk_at(tmp_path / "hard.img")])


def test_file_closed_to_this_user_is_refused(tmp_path):
    file = tmp_path / "disk.img"
    file.write_bytes(bytes(512))
    file.chmod(0o400)

    def look():
        assert disk_at(file).read_only
        with pytest.raises(FlashError, match=f"{file} is read-only"):
            refuse(disk_at(file), 512, allow_system=False)
        with pytest.raises(FlashError, match="cannot be opened"):
            refuse_claimed(disk_at(file))

    without_capabilities(look)


def test_disk_that_cannot_be_opened_is_refused(tmp_path):
    with pytest.raises(FlashError, match="cannot be opened") as caught:
        refuse_claimed(replace(CARD, path=tmp_path / "gone"))
    assert "plugged in" in caught.value.hint


def test_disk_of_this_very_system_is_refused():
    """Whatever machine this is: its root must not be writable by edgekit."""
    disks = [disk for disk in find_disks() if "/" in disk.mounts]
    if not disks:
        pytest.skip("the root of this machine stands on no disk that sysfs shows (a container?)")
    for disk in disks:
        assert disk.system
        with pytest.raises(FlashError, match="own system"):
            refuse(disk, 512, allow_system=True)
