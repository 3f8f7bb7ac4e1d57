"""Small disk images, made by the tools that make real ones, and device trees made by hand."""

import shutil
import struct
import subprocess
import uuid
import zlib
from pathlib import Path

import pytest

MIB = 1 << 20
LINUX = "0fc63daf-8483-4772-8e79-3d69d8477de4"
EFI = "c12a7328-f81f-11d2-ba4b-00a0c93ec93b"
_MACHINES = {"aarch64": (2, 183), "armhf": (1, 40), "x86_64": (2, 62)}


def need(*tools: str) -> None:
    missing = [tool for tool in tools if not found(tool)]
    if missing:
        pytest.skip(f"{', '.join(missing)} missing: scripts/system-packages.sh flash")


def found(tool: str) -> str | None:
    return shutil.which(tool, path="/usr/sbin:/sbin:/usr/bin:/bin")


def say(*command: object) -> None:
    program, *rest = map(str, command)
    done = subprocess.run(
        [found(program) or program, *rest], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


def elf(architecture: str) -> bytes:
    """The header of a program, and nothing behind it."""
    bits, machine = _MACHINES[architecture]
    head = b"\x7fELF" + bytes([bits, 1, 1]) + bytes(9) + struct.pack("<HHI", 2, machine, 1)
    return head.ljust(64, b"\0")


def arm64_kernel() -> bytes:
    return bytes(0x38) + b"ARM\x64" + bytes(64)


def device_tree(compatible: tuple[str, ...], model: str = "A board", *, more: bytes = b"") -> bytes:
    """A flattened device tree whose root says this, with one child behind it."""
    strings = b"model\0compatible\0"
    structure = struct.pack(">I", 1) + bytes(4) + more
    for name_at, text in ((0, model), (6, "\0".join(compatible))):
        raw = text.encode() + b"\0"
        structure += struct.pack(">III", 3, len(raw), name_at) + raw.ljust(
            -(-len(raw) // 4) * 4, b"\0"
        )
    structure += struct.pack(">I8sIII", 1, b"chosen\0\0", 2, 2, 9)
    strings_at = 56 + len(structure)
    total = strings_at + len(strings)
    header = struct.pack(
        ">10I", 0xD00DFEED, total, 56, strings_at, 40, 17, 16, 0, len(strings), len(structure)
    )
    return header + bytes(16) + structure + strings


def lay_out(folder: Path, files: dict[str, bytes | str]) -> Path:
    """Write files below a folder; text that begins with ``->`` becomes a link."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str) and content.startswith("->"):
            file.symlink_to(content[2:])
        else:
            file.write_bytes(content.encode() if isinstance(content, str) else content)
    return folder


def ext4(
    place: Path, files: dict[str, bytes | str], size_bytes: int = 8 * MIB, *, kind: str = "ext4",
    options: tuple[str, ...] = (),
) -> bytes:  # fmt: skip
    """The bytes of an ext filesystem with these files."""
    need("mke2fs")
    folder = lay_out(place / f"{kind}-files", files)
    image = place / f"{kind}.img"
    with image.open("wb") as file:
        file.truncate(size_bytes)
    say("mke2fs", "-q", "-t", kind, "-L", "rootfs", *options, "-d", folder, image)
    content = image.read_bytes()
    shutil.rmtree(folder)
    image.unlink()
    return content


def fat(
    place: Path, files: dict[str, bytes | str], size_bytes: int = 4 * MIB, *, bits: int = 16
) -> bytes:
    """The bytes of a FAT filesystem with these files."""
    need("mkfs.vfat", "mcopy")
    folder = lay_out(place / "fat-files", files)
    image = place / "fat.img"
    with image.open("wb") as file:
        file.truncate(size_bytes)
    say("mkfs.vfat", "-F", bits, "-s", 1, "-n", "BOOTFS", image)
    say("mcopy", "-s", "-i", image, *sorted(folder.iterdir()), "::/")
    content = image.read_bytes()
    shutil.rmtree(folder)
    image.unlink()
    return content


def dos_image(*parts: tuple[int, bytes]) -> bytes:
    """A disk with a DOS table: each part is a type byte and its bytes."""
    table, body, at = b"", b"", 2048
    for kind, content in parts:
        sectors = len(content) // 512
        table += struct.pack("<B3sB3sII", 0, bytes(3), kind, bytes(3), at, sectors)
        body += content
        at += sectors
    sector = bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"
    return sector.ljust(2048 * 512, b"\0") + body


def gpt_image(*parts: tuple[str, str, bytes]) -> bytes:
    """A disk with a GPT, its copy at the end included: each part is a type, a name, its bytes."""
    body, entries, at = b"", b"", 2048
    for kind, name, content in parts:
        last = at + len(content) // 512 - 1
        entries += struct.pack(
            "<16s16sQQQ72s", uuid.UUID(kind).bytes_le, uuid.uuid4().bytes, at, last, 0,
            name.encode("utf-16-le"),
        )  # fmt: skip
        body += content
        at = last + 1
    entries = entries.ljust(128 * 128, b"\0")
    total = at + 33

    def header(own: int, other: int, entries_at: int) -> bytes:
        def packed(checksum: int) -> bytes:
            return struct.pack(
                "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, checksum, 0, own, other, 34,
                total - 34, bytes(16), entries_at, 128, 128, zlib.crc32(entries),
            )  # fmt: skip

        return packed(zlib.crc32(packed(0))).ljust(512, b"\0")

    protective = struct.pack("<B3sB3sII", 0, bytes(3), 0xEE, bytes(3), 1, total - 1)
    first = bytes(446) + protective.ljust(64, b"\0") + b"\x55\xaa"
    front = (first + header(1, total - 1, 2) + entries).ljust(2048 * 512, b"\0")
    return front + body + entries + header(total - 1, 1, total - 33)


OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'


def root_files(architecture: str = "aarch64") -> dict[str, bytes | str]:
    """A Debian root with merged /usr, as far as edgekit looks."""
    return {
        "usr/bin/dash": elf(architecture),
        "usr/bin/sh": "->dash",
        "bin": "->usr/bin",
        "lib": "->usr/lib",
        "usr/lib/os-release": OS_RELEASE,
        "etc/os-release": "->../usr/lib/os-release",
        "etc/passwd": "root:x:0:0::/root:/bin/sh\n",
    }


def raspios_image(place: Path, architecture: str = "aarch64") -> bytes:
    """As Raspberry Pi OS: a FAT with firmware, kernel and trees, and an ext4 root."""
    boot = fat(
        place,
        {
            "cmdline.txt": "console=serial0,115200 root=PARTUUID=1234-02 rootwait\n",
            "issue.txt": "Raspberry Pi reference 2024-11-19\n",
            "kernel8.img": zlib.compress(arm64_kernel(), wbits=31),
            "bcm2711-rpi-4-b.dtb": device_tree(("raspberrypi,4-model-b", "brcm,bcm2711")),
            "bcm2710-rpi-3-b.dtb": device_tree(("raspberrypi,3-model-b", "brcm,bcm2837")),
            "overlays/vc4.dtbo": device_tree(("brcm,bcm2835",)),
        },
    )
    root = ext4(place, {**root_files(architecture), "etc/rpi-issue": "Raspberry Pi reference\n"})
    return dos_image((0x0C, boot), (0x83, root))
