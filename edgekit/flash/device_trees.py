"""Reads of a flattened device tree what board it is for.

Source: devicetree specification 0.4, chapter 5.
"""

import struct
from dataclasses import dataclass
from typing import Final

from edgekit.flash.region import UnreadableError

_MAGIC: Final = 0xD00DFEED
_HEADER: Final = struct.Struct(">10I")
_BEGIN_NODE, _END_NODE, _PROPERTY, _NOP, _END = 1, 2, 3, 4, 9
_OLDEST: Final = 16


@dataclass(frozen=True)
class DeviceTree:
    """What the root of a device tree says: the board's name, and what it is compatible with."""

    model: str
    compatible: tuple[str, ...]


def read_device_tree(blob: bytes) -> DeviceTree:
    """Return what the root node of a device tree says.

    Raises:
        UnreadableError: it is no device tree, or a broken one.
    """
    if len(blob) < _HEADER.size:
        raise UnreadableError("it is too short for a device tree")
    magic, total, structure_at, strings_at, _, version, _, _, strings, structure = (
        _HEADER.unpack_from(blob)
    )
    if magic != _MAGIC:
        raise UnreadableError("it is no device tree")
    if version < _OLDEST or total > len(blob):
        raise UnreadableError("it is cut off, or of a version that is not in use")
    if version == _OLDEST:  # which does not tell how long the structure is
        structure = total - structure_at
    if structure_at + structure > total or strings_at + strings > total:
        raise UnreadableError("its parts lie outside of it")
    block = blob[structure_at : structure_at + structure]
    found = _root(block, blob[strings_at : strings_at + strings])
    texts = _texts(found.get("compatible", b""))
    model = _texts(found.get("model", b""))
    return DeviceTree(model[0] if model else "", texts)


def _root(block: bytes, strings: bytes) -> dict[str, bytes]:
    """Return the properties of the root node, which stand before its children."""
    found: dict[str, bytes] = {}
    at, depth = 0, 0
    while at + 4 <= len(block):
        (token,) = struct.unpack_from(">I", block, at)
        at += 4
        if token == _BEGIN_NODE and not depth:
            depth = 1
            at = _aligned(block.find(b"\0", at) + 1)
        elif token == _PROPERTY and depth and at + 8 <= len(block):
            length, name_at = struct.unpack_from(">II", block, at)
            at += 8
            if at + length > len(block) or name_at >= len(strings):
                break
            name = strings[name_at:].partition(b"\0")[0].decode("ascii", "replace")
            found[name] = block[at : at + length]
            at = _aligned(at + length)
        elif token in {_BEGIN_NODE, _END_NODE, _END} and depth:
            return found
        elif token != _NOP:
            break
    raise UnreadableError("its structure is broken")


def _aligned(at: int) -> int:
    return (at + 3) & ~3


def _texts(raw: bytes) -> tuple[str, ...]:
    return tuple(part.decode("utf-8", "replace") for part in raw.split(b"\0") if part)
