"""A Rockchip board that is not there: rkdeveloptool itself, with ``rockusb_board.c`` for libusb."""

import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from usb_tree import plug

SOURCE = Path(__file__).parent / "flash/rockusb_board.c"
PORT = "1-1"


class RockusbBench:
    """One board, its port in sysfs, and the program in PATH that sees it."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, storage_bytes: int) -> None:
        program, compiler = shutil.which("rkdeveloptool"), shutil.which("cc")
        if not program or not compiler:
            pytest.skip("needs rkdeveloptool and a C compiler")
        self.board = folder / "board"
        self.root = folder / "root"
        self.board.mkdir()
        self.storage = self.board / "storage"
        with self.storage.open("wb") as file:
            file.truncate(storage_bytes)
        self.plug()
        library = folder / "lib"
        library.mkdir()
        made = str(library / "libusb-1.0.so.0")
        flags = ["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
        subprocess.run([compiler, *flags, "-o", made, str(SOURCE)], check=True)
        # The program writes a log beside itself: it is copied, so that it does so here.
        programs = folder / "bin"
        programs.mkdir()
        shutil.copy(program, programs / "rkdeveloptool")
        monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
        monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
        monkeypatch.setenv("ROCKUSB_BOARD", str(self.board))

    def plug(self, path: str = PORT, product: str = "350b", release: str = " 2.00") -> None:
        plug(self.root, path, f"2207:{product}", serial="c3d9b8674f4b94f6", release=release)

    def unplug(self, path: str = PORT) -> None:
        shutil.rmtree(self.root / "sys/bus/usb/devices" / path)

    def was(self, event: str) -> bool:
        return (self.board / event).exists()


def loader_file(file: Path, chip: bytes = b"8853") -> Path:
    """Write a loader as boot_merger does: two programs, which need not run, and a checksum."""
    programs = [b"memory" * 1000, b"usbplug" * 1300]
    head, entry = 102, 57
    start = head + entry * len(programs)
    content = struct.pack(
        "<4sHII7s4sBIBBIBBIBBB57s",
        *(b"BOOT", head, 0x0100, 0x01030000, bytes(7), chip),
        *(1, head, entry, 1, head + entry, entry, 0, 0, entry, 0, 1, b""),
    )
    for kind, program in enumerate(programs, 1):
        name = f"program{kind}".encode("utf-16-le")
        content += struct.pack("<BI40sIII", entry, kind, name, start, len(program), 1)
        start += len(program)
    content += b"".join(programs)
    file.write_bytes(content + struct.pack("<I", _checksum(content)))
    return file


def _checksum(content: bytes) -> int:
    table = []
    for value in range(256):
        remainder = value << 24
        for _ in range(8):
            carry = remainder >> 31
            remainder = (remainder << 1 & 0xFFFFFFFF) ^ (0x04C10DB7 if carry else 0)
        table.append(remainder)
    total = 0
    for byte in content:
        total = (total << 8 & 0xFFFFFFFF) ^ table[total >> 24 ^ byte]
    return total
