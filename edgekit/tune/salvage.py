"""Rows found in a database whose trees are broken: every page is looked at by itself.

SQLite finds rows from the first page downwards, so that one broken page can hide all others. Here
each leaf is parsed where it lies, and a row counts if its own digest says that it is whole.
Source: SQLite's Database File Format, https://www.sqlite.org/fileformat2.html, sections 1.6
(b-tree pages), 1.7 (overflow pages) and 2.1 (record format).
"""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from edgekit.tune.record import Record
from edgekit.tune.rows import (
    PAGE_BYTES,
    TRIAL_COLUMNS,
    WORKLOAD_COLUMNS,
    DamagedError,
    Row,
    Workload,
    trial_of_row,
    workload_of_row,
)

_TABLE_LEAF: Final = 0x0D
_FILE_HEADER_BYTES: Final = 100
_LEAF_HEADER_BYTES: Final = 8
# What of a payload stands on its leaf; the rest goes to overflow pages.
_MOST_LOCAL: Final = PAGE_BYTES - 35
_LEAST_LOCAL: Final = (PAGE_BYTES - 12) * 32 // 255 - 23
_INTEGER_BYTES: Final = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
_NULL, _FLOAT, _ZERO, _ONE, _BLOB = 0, 7, 8, 9, 12
_VARINT_BYTES: Final = 9
# A row's number stands first.
_TRIAL: Final = ("id", *TRIAL_COLUMNS.split(", "))
_TRIAL_WIDTH: Final = len(_TRIAL)
_WORKLOAD_WIDTH: Final = len(WORKLOAD_COLUMNS.split(", ")) + 1
# SQLite stores a whole REAL as an integer.
_REALS_OF_TRIAL: Final = (_TRIAL.index("flops"), _TRIAL.index("measured_at_s"))


def salvage(path: Path) -> Iterator[tuple[int, Record | Workload]]:
    """Yield whatever is whole in the database at ``path`` with its row's number.

    In the file's order, which is not that of the numbers.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        pages = -(-path.stat().st_size // PAGE_BYTES)
        for number in range(1, pages + 1):
            for row_number, row in _rows_of_page(stream, number, pages):
                found = _value_of(row)
                if found is not None:
                    yield row_number, found


def _value_of(row: Row) -> Record | Workload | None:
    try:
        if len(row) == _TRIAL_WIDTH:
            held = [float(v) if at in _REALS_OF_TRIAL else v for at, v in enumerate(row)]
            return trial_of_row(held[1:])
        if len(row) == _WORKLOAD_WIDTH:
            return workload_of_row(row[1:])
    except (DamagedError, ValueError, TypeError):
        pass
    return None


def _rows_of_page(stream: BinaryIO, number: int, pages: int) -> Iterator[tuple[int, Row]]:
    page = _page(stream, number)
    start = _FILE_HEADER_BYTES if number == 1 else 0
    if page[start] != _TABLE_LEAF:
        return
    count = int.from_bytes(page[start + 3 : start + 5])
    at = start + _LEAF_HEADER_BYTES
    for pointer in range(at, min(at + 2 * count, PAGE_BYTES - 1), 2):
        try:
            yield _row_at(stream, page, int.from_bytes(page[pointer : pointer + 2]), pages)
        except (IndexError, ValueError, struct.error):
            continue


def _page(stream: BinaryIO, number: int) -> bytes:
    stream.seek((number - 1) * PAGE_BYTES)
    return stream.read(PAGE_BYTES).ljust(PAGE_BYTES, b"\0")  # the last may have been cut off


def _row_at(stream: BinaryIO, page: bytes, at: int, pages: int) -> tuple[int, Row]:
    size, at = _varint(page, at)
    row_number, at = _varint(page, at)
    if size > pages * PAGE_BYTES:
        raise ValueError("no payload is larger than the file")
    local = _local_bytes(size)
    payload = bytearray(page[at : at + local])
    if local < size:
        follow = int.from_bytes(page[at + local : at + local + 4])
        while len(payload) < size:
            if not 1 <= follow <= pages:
                raise ValueError("the row goes on where the file does not")
            more = _page(stream, follow)
            follow = int.from_bytes(more[:4])
            payload += more[4:]
    return row_number, _decode(bytes(payload[:size]))


def _local_bytes(size: int) -> int:
    if size <= _MOST_LOCAL:
        return size
    fitting = _LEAST_LOCAL + (size - _LEAST_LOCAL) % (PAGE_BYTES - 4)
    return fitting if fitting <= _MOST_LOCAL else _LEAST_LOCAL


def _decode(payload: bytes) -> Row:
    head, at = _varint(payload, 0)
    kinds: list[int] = []
    while at < head:
        kind, at = _varint(payload, at)
        kinds.append(kind)
    if len(kinds) not in {_TRIAL_WIDTH, _WORKLOAD_WIDTH}:
        return ()
    row: list[object] = []
    for kind in kinds:
        value, at = _column(payload, at, kind)
        row.append(value)
    return row


def _column(payload: bytes, at: int, kind: int) -> tuple[object, int]:
    if kind == _NULL:
        return None, at
    if kind in {_ZERO, _ONE}:
        return kind - _ZERO, at
    if kind in _INTEGER_BYTES:
        end = at + _INTEGER_BYTES[kind]
        return int.from_bytes(payload[at:end], signed=True), end
    if kind == _FLOAT:
        return struct.unpack_from(">d", payload, at)[0], at + 8
    if kind < _BLOB:
        raise ValueError("a kind of value that SQLite does not write")
    end = at + (kind - _BLOB) // 2
    held = payload[at:end]
    return (held.decode() if kind % 2 else held), end


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """Read seven bits a byte, the ninth byte being whole."""
    value = 0
    for index in range(_VARINT_BYTES):
        byte = data[at + index]
        if index == _VARINT_BYTES - 1:
            return value << 8 | byte, at + _VARINT_BYTES
        value = value << 7 | byte & 0x7F
        if byte < 0x80:  # noqa: PLR2004 - the bit that says whether more follows
            return value, at + index + 1
    raise AssertionError("the ninth byte ends it")
