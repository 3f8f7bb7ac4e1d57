"""What is made out of images, and which of them fit which board."""

import gzip
import os
import struct
from pathlib import Path

import pytest
from disk_images import (
    EFI,
    LINUX,
    MIB,
    arm64_kernel,
    device_tree,
    dos_image,
    elf,
    ext4,
    fat,
    gpt_image,
    raspios_image,
    root_files,
)

from edgekit.catalog.targets import load_target
from edgekit.core.errors import FlashError
from edgekit.core.flash import ImageFacts
from edgekit.flash.inspect import fits, inspect
from edgekit.flash.programs import kernel_architecture, program_architecture


@pytest.fixture
def inspected(tmp_path):
    """Inspect an image of these bytes."""

    def run(content):
        file = tmp_path / "some.img"
        file.write_bytes(content)
        return inspect(file)

    return run


def refused(facts, target):
    with pytest.raises(FlashError) as caught:
        fits(facts, load_target(target))
    assert caught.value.hint
    return caught.value


def test_raspberry_pi_os_is_recognised_and_fits_its_boards(inspected, tmp_path):
    facts = inspected(raspios_image(tmp_path))
    assert (facts.table, facts.system) == ("dos", "raspios")
    assert facts.architectures == ("aarch64",)
    assert facts.compatible == (
        "raspberrypi,3-model-b", "brcm,bcm2837", "raspberrypi,4-model-b", "brcm,bcm2711",
    )  # fmt: skip
    assert facts.init == ("firstrun", "ext4")
    assert [(each.filesystem, each.label) for each in facts.partitions] == [
        ("vfat", "BOOTFS"),
        ("ext4", "rootfs"),
    ]
    fits(facts, load_target("rpi3"))
    fits(facts, load_target("rpi4"))
    error = refused(facts, "rk3566")
    assert "does not fit rk3566" in error.message
    assert "rockchip,rk3566" in error.message
    assert "aarch64" in refused(facts, "rpi3-32").message


def test_userland_decides_beside_a_kernel_of_another_architecture(inspected, tmp_path):
    facts = inspected(raspios_image(tmp_path, "armhf"))
    assert facts.architectures == ("armhf",)
    fits(facts, load_target("rpi3-32"))
    error = refused(facts, "rpi4")
    assert "is for armhf, and rpi4 takes aarch64" in error.message
    assert "aarch64 image" in error.hint


def test_debian_with_trees_of_its_kernel_package_is_recognised(inspected, tmp_path):
    efi = fat(tmp_path, {"EFI/BOOT/BOOTAA64.EFI": arm64_kernel()})
    root = ext4(
        tmp_path,
        {
            **root_files(),
            "boot/vmlinuz-6.1.0-arm64": gzip.compress(arm64_kernel()),
            "usr/lib/linux-image-6.1.0-arm64/rockchip/a.dtb": device_tree(
                ("pine64,rockpro64", "rockchip,rk3399")
            ),
            "usr/bin/cloud-init": "#!/usr/bin/python3\n",
        },
    )
    facts = inspected(gpt_image((EFI, "efi", efi), (LINUX, "root", root)))
    assert (facts.table, facts.system, facts.init) == ("gpt", "debian", ("cloud-init", "ext4"))
    assert facts.compatible == ("pine64,rockpro64", "rockchip,rk3399")
    assert any("bookworm" in sign for sign in facts.signs)
    assert any("1 device tree" in sign for sign in facts.signs)
    fits(facts, load_target("rk3399"))


def test_armbian_is_recognised_through_a_link_to_its_trees(inspected, tmp_path):
    root = ext4(
        tmp_path,
        {
            **root_files(),
            "boot/dtb": "->dtb-6.6.1",
            "boot/dtb-6.6.1/rockchip/b.dtb": device_tree(("radxa,rock-5b", "rockchip,rk3588")),
            "etc/armbian-release": "BOARD=rock-5b\n",
            "root/.not_logged_in_yet": "",
        },
    )
    facts = inspected(dos_image((0x83, root)))
    assert (facts.system, facts.init) == ("armbian", ("armbian-first-login", "ext4"))
    assert facts.compatible == ("radxa,rock-5b", "rockchip,rk3588")
    fits(facts, load_target("rk3588"))


def test_kernel_tells_where_the_root_is_not_readable(inspected, tmp_path):
    boot = ext4(
        tmp_path,
        {"Image": arm64_kernel(), "dtb/board.dtb": device_tree(("rockchip,rk3566",))},
    )
    facts = inspected(dos_image((0x83, boot), (0x83, b"hsqs".ljust(MIB, b"\0"))))
    assert facts.architectures == ("aarch64",)
    assert [each.filesystem for each in facts.partitions] == ["ext4", "squashfs"]
    assert any("squashfs" in sign for sign in facts.signs)
    fits(facts, load_target("rk3566"))


def test_filesystem_without_a_table_is_inspected_too(inspected, tmp_path):
    facts = inspected(ext4(tmp_path, root_files("x86_64")))
    assert (facts.table, facts.architectures) == ("", ("x86_64",))
    assert "is for x86_64" in refused(facts, "rpi5").message


@pytest.mark.parametrize(
    "content",
    [bytes(MIB), b"PK\x03\x04" * 1000, os.urandom(MIB), b"", b"text\n"],
    ids=["zeros", "archive", "random", "empty", "text"],
)
def test_what_is_no_image_is_not_recognised(inspected, content):
    error = refused(inspected(content), "rpi4")
    assert "not recognised" in error.message
    assert "--no-inspect" in error.hint


def test_image_of_an_unread_filesystem_says_which(inspected):
    root = bytearray(MIB)
    root[65600:65608] = b"_BHRfS_M"
    error = refused(inspected(dos_image((0x83, bytes(root)))), "rpi4")
    assert "btrfs" in error.message
    assert "btrfs" in error.hint


def test_image_without_trees_is_refused_for_boards_that_are_told_by_theirs(inspected, tmp_path):
    facts = inspected(dos_image((0x83, ext4(tmp_path, root_files()))))
    error = refused(facts, "rpi4")
    assert "no device tree" in error.message
    assert "--no-inspect" in error.hint


def test_image_that_is_cut_off_is_refused(inspected, tmp_path):
    whole = raspios_image(tmp_path)
    with pytest.raises(FlashError, match="cut off: partition 2 ends") as caught:
        inspected(whole[:-512])
    assert "load it anew" in caught.value.hint


def test_image_with_a_broken_table_is_refused(inspected):
    image = bytearray(gpt_image((LINUX, "root", bytes(MIB))))
    image[520] ^= 1
    with pytest.raises(FlashError, match="GPT is broken"):
        inspected(bytes(image[: -33 * 512]))


def test_missing_image_is_refused():
    with pytest.raises(FlashError, match="cannot read the image"):
        inspect(Path("/none.img"))


def test_broken_tree_is_a_sign_and_the_others_count(inspected, tmp_path):
    boot = fat(
        tmp_path,
        {"kernel8.img": arm64_kernel(), "a.dtb": b"no tree", "b.dtb": device_tree(("x,y",))},
    )
    facts = inspected(dos_image((0x0C, boot)))
    assert facts.compatible == ("x,y",)
    assert any("/a.dtb was not read" in sign for sign in facts.signs)


@pytest.mark.parametrize("architecture", ["aarch64", "armhf", "x86_64"])
def test_program_tells_its_architecture(architecture):
    assert program_architecture(elf(architecture)) == architecture


def test_program_of_this_machine_is_for_this_machine():
    head = Path("/bin/sh").read_bytes()[:4096]
    machine = {"armv7l": "armhf"}.get(os.uname().machine, os.uname().machine)
    assert program_architecture(head) == machine


def pe(machine):
    head = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x80)
    return head.ljust(0x80, b"\0") + b"PE\0\0" + struct.pack("<H", machine) + bytes(64)


@pytest.mark.parametrize(
    ("head", "architecture"),
    [
        (arm64_kernel(), "aarch64"),
        (gzip.compress(arm64_kernel(), mtime=0), "aarch64"),
        (bytes(0x24) + b"\x18\x28\x6f\x01" + bytes(64), "armhf"),
        (b"\x27\x05\x19\x56" + bytes(25) + b"\x16" + bytes(34), "aarch64"),
        (pe(0xAA64), "aarch64"),
        (pe(0x8664), "x86_64"),
        (bytes(0x202) + b"HdrS", "x86_64"),
        (b"\x1f\x8bbroken", ""),
        (b"MZ", ""),
        (b"", ""),
        (b"\x7fELF", ""),
    ],
)
def test_kernel_tells_its_architecture(head, architecture):
    assert kernel_architecture(head) == architecture
    assert program_architecture(head) == ""


def test_target_without_trees_asks_for_the_architecture_only():
    target = load_target("local")
    own = {"armv7l": "armhf"}.get(target.architecture, target.architecture)
    fits(ImageFacts(1, "gpt", (), (own,), ()), target)
