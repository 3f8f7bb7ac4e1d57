"""How large an xz archive will be, read from the indexes at its streams' ends.

Source: The .xz File Format 1.2.1, sections 2.1.2 and 4.
"""

import zlib
from collections.abc import Callable
from typing import Final

_FOOTER_BYTES: Final = 12
_HEADER_BYTES: Final = 12
_MOST_BYTES: Final = 16 << 20  # of one index: a million blocks

Read = Callable[[int, int], bytes]  # how many bytes, from where


def unpacked_bytes(read: Read, size_bytes: int) -> int | None:
    """Return the size of what is packed; ``None`` where the archive is not whole.

    Unpacking tells whether it is right.
    """
    total, end = 0, size_bytes
    while end > 0:
        if read(4, end - 4) == bytes(4):  # padding behind a stream
            end -= 4
            continue
        stream = _stream(read, end)
        if stream is None:
            return None
        packed, unpacked = stream
        total, end = total + unpacked, end - packed
    return total if end == 0 and size_bytes else None


def _stream(read: Read, end: int) -> tuple[int, int] | None:
    """Return how long the stream that ends here is, packed and unpacked."""
    footer = read(_FOOTER_BYTES, max(end - _FOOTER_BYTES, 0))
    if len(footer) != _FOOTER_BYTES or footer[10:] != b"YZ":
        return None
    index_bytes = (int.from_bytes(footer[4:8], "little") + 1) * 4
    at = end - _FOOTER_BYTES - index_bytes
    if zlib.crc32(footer[4:10]) != int.from_bytes(footer[:4], "little"):
        return None
    if at < 0 or index_bytes > _MOST_BYTES:
        return None
    index = read(index_bytes, at)
    if zlib.crc32(index[:-4]) != int.from_bytes(index[-4:], "little") or index[0]:
        return None
    count, place = _number(index, 1)
    packed = unpacked = 0
    for _block in range(count):
        size, place = _number(index, place)
        packed += -(-size // 4) * 4
        size, place = _number(index, place)
        unpacked += size
    return _HEADER_BYTES + packed + index_bytes + _FOOTER_BYTES, unpacked


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of seven bits a byte; return it and the place behind it."""
    value = shift = 0
    while at < len(data):
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if not byte & 0x80:
            break
    return value, at
