"""For which architecture a program or a kernel was made, by its first bytes.

Source: elf(5); Linux Documentation/arch/arm64/booting.rst, arch/arm/boot/compressed/head.S,
Documentation/arch/x86/boot.rst; U-Boot include/image.h; PE/COFF specification.
"""

import struct
import zlib
from typing import Final

# As much of a file as must be read for an answer.
HEAD_BYTES: Final = 4096

_ELF_MACHINES: Final = {183: "aarch64", 40: "armhf", 62: "x86_64", 3: "i386", 243: "riscv64"}
_PE_MACHINES: Final = {
    0xAA64: "aarch64",
    0x1C2: "armhf",
    0x1C4: "armhf",
    0x8664: "x86_64",
    0x14C: "i386",
    0x5064: "riscv64",
}
_UIMAGE_MACHINES: Final = {2: "armhf", 22: "aarch64", 3: "i386", 24: "x86_64", 26: "riscv64"}
_ARM_SOFT_FLOAT: Final = 0x200
_GZIP: Final = b"\x1f\x8b"


def program_architecture(head: bytes) -> str:
    """Return the architecture of an ELF file, empty if it is none."""
    if head[:4] != b"\x7fELF" or len(head) < 52:  # noqa: PLR2004 - a 32-bit ELF header
        return ""
    order = "<" if head[5] == 1 else ">"
    (machine,) = struct.unpack_from(f"{order}H", head, 18)
    architecture = _ELF_MACHINES.get(machine, "")
    if architecture == "armhf" and struct.unpack_from(f"{order}I", head, 36)[0] & _ARM_SOFT_FLOAT:
        return "armel"
    return architecture


def kernel_architecture(head: bytes) -> str:
    """Return the architecture of a Linux kernel or an EFI program, empty if it is neither."""
    if head[:2] == _GZIP:
        try:
            head = zlib.decompressobj(wbits=31).decompress(head, HEAD_BYTES)
        except zlib.error:
            return ""
    if head[0x38:0x3C] == b"ARM\x64":
        return "aarch64"
    if head[0x24:0x28] == b"\x18\x28\x6f\x01":
        return "armhf"
    if head[:4] == b"\x27\x05\x19\x56":
        return _UIMAGE_MACHINES.get(head[29], "") if len(head) > 29 else ""  # noqa: PLR2004
    return _pe_architecture(head) or ("x86_64" if head[0x202:0x206] == b"HdrS" else "")


def _pe_architecture(head: bytes) -> str:
    if head[:2] != b"MZ" or len(head) < 0x40:  # noqa: PLR2004 - up to where the PE header is named
        return ""
    (at,) = struct.unpack_from("<I", head, 0x3C)
    if head[at : at + 4] != b"PE\0\0" or at + 6 > len(head):
        return ""
    (machine,) = struct.unpack_from("<H", head, at + 4)
    return _PE_MACHINES.get(machine, "")
