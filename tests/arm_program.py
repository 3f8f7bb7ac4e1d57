"""Programs for ARM boards written out in machine words: no compiler is needed, nothing is hidden.

Source: Arm ARM, chapter C6 and C7; ELF for the Arm 64-bit architecture.
"""

from collections.abc import Sequence

_BASE = 0x400000
_HEADERS = 120  # of the file, and of its one segment


def static_program(words: Sequence[int]) -> bytes:
    """A whole program in one ELF segment, which begins with the first word."""
    code = b"".join(word.to_bytes(4, "little") for word in words)
    size = _HEADERS + len(code)
    return (
        b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
        + b"\x02\0\xb7\0\x01\0\0\0"
        + (_BASE + _HEADERS).to_bytes(8, "little")
        + (64).to_bytes(8, "little")
        + bytes(8 + 4)
        + b"\x40\0\x38\0\x01\0\0\0\0\0\0\0"
        + b"\x01\0\0\0\x05\0\0\0"
        + b"".join(n.to_bytes(8, "little") for n in (0, _BASE, _BASE, size, size, 0x1000))
        + code
    )


# sdot v0.4s, v1.16b, v2.16b; then exit(0).
SDOT = static_program((0x4E829420, 0xD2800BA8, 0xD2800000, 0xD4000001))

LOOP_ROUNDS = 1000
"""How often :data:`LOOP` goes round for each word of its command line."""

LOOP = static_program(
    (
        0xF94003E0,  # ldr x0, [sp]                     the number of words
        0xD2800001 | LOOP_ROUNDS << 5,  # mov x1, LOOP_ROUNDS
        0x9B017C00,  # mul x0, x0, x1
        0xF94003E2,  # again: ldr x2, [sp]
        0xF81F03E2,  # stur x2, [sp, -16]
        0x4E22CC20,  # fmla v0.4s, v1.4s, v2.4s
        0xF1000400,  # subs x0, x0, 1
        0x54FFFF81,  # b.ne again
        0xD2800BC8,  # mov x8, 94                       exit_group
        0xD2800000,  # mov x0, 0
        0xD4000001,  # svc 0
    )
)
