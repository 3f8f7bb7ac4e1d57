"""Reads files out of a FAT12, FAT16 or FAT32 filesystem.

Source: Microsoft Extensible Firmware Initiative FAT32 File System Specification 1.03.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edgekit.flash.files import Entry
from edgekit.flash.region import MOST_BYTES, Region, UnreadableError

_BOOT: Final = struct.Struct("<11xHBHBHH1xH8xII4xI")
_ENTRY_BYTES: Final = 32
_LONG_NAME: Final = 0x0F
_VOLUME: Final = 0x08
_FOLDER: Final = 0x10
_DELETED: Final = 0xE5
_LOWER_BASE, _LOWER_EXTENSION = 0x08, 0x10
# Fewer clusters than this make a FAT12, and a FAT16 (the specification's own definition).
_FAT16_CLUSTERS, _FAT32_CLUSTERS = 4085, 65525


@dataclass(frozen=True)
class _Node:
    name: str
    is_folder: bool
    cluster: int
    size_bytes: int


class Fat:
    """A FAT filesystem. Names match whatever their case, as on FAT they do."""

    def __init__(self, region: Region) -> None:
        fields = _BOOT.unpack_from(region.read(0, 512))
        sector, self._per_cluster, reserved, tables, roots, few, short, many, long, root = fields
        if sector not in {512, 1024, 2048, 4096} or not self._per_cluster or not tables:
            raise UnreadableError("its boot sector makes no sense")
        self._region = region
        table_bytes = (short or long) * sector
        self._root_at = reserved * sector + tables * table_bytes
        self._root_bytes = roots * _ENTRY_BYTES
        self._data_at = self._root_at + -(-self._root_bytes // sector) * sector
        self._cluster_bytes = self._per_cluster * sector
        self._clusters = ((few or many) * sector - self._data_at) // self._cluster_bytes
        if self._clusters < 1:
            raise UnreadableError("its boot sector leaves no room for files")
        self._bits = 32 if self._clusters >= _FAT32_CLUSTERS else 16
        if self._clusters < _FAT16_CLUSTERS:
            self._bits = 12
        self._table = region.read(reserved * sector, table_bytes)
        self._root = _Node("/", is_folder=True, cluster=root if not short else 0, size_bytes=0)

    def list(self, path: str) -> tuple[Entry, ...]:
        """Return what stands in a folder, empty where there is no such folder."""
        node = self._find(path)
        if node is None or not node.is_folder:
            return ()
        return tuple(
            Entry(each.name, "folder" if each.is_folder else "file", each.size_bytes)
            for each in self._nodes(node)
        )

    def read(self, path: str, most: int | None = None) -> bytes | None:
        """Return a file, or its first ``most`` bytes; ``None`` where there is no such file."""
        node = self._find(path)
        if node is None or node.is_folder:
            return None
        wanted = node.size_bytes if most is None else min(most, node.size_bytes)
        content = self._content(node.cluster, wanted)
        if len(content) < wanted:
            raise UnreadableError(f"{path} is shorter than its folder says")
        return content[:wanted]

    def _find(self, path: str) -> _Node | None:
        node = self._root
        for part in filter(None, path.split("/")):
            if not node.is_folder:
                return None
            named = (each for each in self._nodes(node) if each.name.lower() == part.lower())
            found = next(named, None)
            if found is None:
                return None
            node = found
        return node

    def _nodes(self, folder: _Node) -> Iterator[_Node]:
        if folder is self._root and not folder.cluster:
            raw = self._region.read(self._root_at, self._root_bytes)
        else:
            raw = self._content(folder.cluster, MOST_BYTES)
        long_name: dict[int, bytes] = {}
        for at in range(0, len(raw) - _ENTRY_BYTES + 1, _ENTRY_BYTES):
            entry = raw[at : at + _ENTRY_BYTES]
            if not entry[0]:
                return
            if entry[0] == _DELETED:
                long_name = {}
            elif entry[11] == _LONG_NAME:
                long_name[entry[0] & 0x3F] = entry[1:11] + entry[14:26] + entry[28:32]
            else:
                name = _joined(long_name) or _short_name(entry)
                long_name = {}
                if not entry[11] & _VOLUME and name not in {".", ".."}:
                    yield self._node(name, entry)

    def _node(self, name: str, entry: bytes) -> _Node:
        low, size = struct.unpack_from("<HI", entry, 26)
        high = int.from_bytes(entry[20:22], "little") if self._bits > 16 else 0  # noqa: PLR2004
        return _Node(name, bool(entry[11] & _FOLDER), high << 16 | low, size)

    def _content(self, cluster: int, most: int) -> bytes:
        """Return what a chain of clusters holds, up to a whole cluster beyond ``most``."""
        parts: list[bytes] = []
        seen = 0
        while 2 <= cluster < self._clusters + 2 and seen < most:  # noqa: PLR2004 - 0 and 1 are not clusters
            at = self._data_at + (cluster - 2) * self._cluster_bytes
            parts.append(self._region.read(at, self._cluster_bytes))
            seen += self._cluster_bytes
            if len(parts) > self._clusters:
                raise UnreadableError("a chain of its clusters runs in a circle")
            cluster = self._next(cluster)
        return b"".join(parts)

    def _next(self, cluster: int) -> int:
        at = cluster * self._bits // 8
        width = 4 if self._bits == 32 else 2  # noqa: PLR2004
        if at + width > len(self._table):
            raise UnreadableError("its table is too short for its clusters")
        value = int.from_bytes(self._table[at : at + width], "little")
        if self._bits == 12:  # noqa: PLR2004
            return value >> 4 if cluster & 1 else value & 0xFFF
        return value & 0x0FFFFFFF


def _joined(parts: dict[int, bytes]) -> str:
    raw = b"".join(parts[index] for index in sorted(parts))
    return raw.decode("utf-16-le", "replace").partition("\0")[0]


def _short_name(entry: bytes) -> str:
    base = entry[:8].decode("cp437").rstrip()
    extension = entry[8:11].decode("cp437").rstrip()
    base = base.lower() if entry[12] & _LOWER_BASE else base
    extension = extension.lower() if entry[12] & _LOWER_EXTENSION else extension
    return f"{base}.{extension}" if extension else base
