"""Reads files out of an ext2, ext3 or ext4 filesystem.

Source: Linux Documentation/filesystems/ext4. The journal is not replayed: an image was unmounted.
"""

import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edgekit.flash.files import Entry, EntryKind
from edgekit.flash.region import MOST_BYTES, Region, UnreadableError

_ROOT: Final = 2
_BIT_64: Final = 0x80
# Compressed, a journal's device, meta block groups, inline data, encrypted names.
_NOT_READ: Final = {0x1: "compression", 0x8: "a journal device", 0x10: "meta_bg"}
_EXTENTS: Final = 0x80000
_INLINE: Final = 0x10000000
_EXTENT_MAGIC: Final = 0xF30A
_UNWRITTEN: Final = 32768
_DEEPEST: Final = 5
_MOST_LINKS: Final = 16
_DIRECT: Final = 12


@dataclass(frozen=True)
class _Inode:
    mode: int
    size_bytes: int
    flags: int
    block: bytes

    @property
    def kind(self) -> EntryKind:
        if stat.S_ISREG(self.mode):
            return "file"
        if stat.S_ISDIR(self.mode):
            return "folder"
        return "link" if stat.S_ISLNK(self.mode) else "other"


class Ext4:
    """An ext2, ext3 or ext4 filesystem."""

    def __init__(self, region: Region) -> None:
        block = region.read(1024, 1024)
        (exponent,) = struct.unpack_from("<I", block, 0x18)
        (first,) = struct.unpack_from("<I", block, 0x14)
        self._inodes_count, _ = struct.unpack_from("<II", block, 0)
        self._per_group, _ = struct.unpack_from("<II", block, 0x28)
        revision = int.from_bytes(block[0x4C:0x50], "little")
        incompatible = int.from_bytes(block[0x60:0x64], "little")
        self._inode_bytes = int.from_bytes(block[0x58:0x5A], "little") if revision else 128
        for flag, name in _NOT_READ.items():
            if incompatible & flag:
                raise UnreadableError(f"edgekit reads no ext4 with {name}")
        wide = incompatible & _BIT_64
        self._descriptor_bytes = int.from_bytes(block[0xFE:0x100], "little") if wide else 32
        if exponent > 6 or not self._per_group or self._inode_bytes < 128:  # noqa: PLR2004
            raise UnreadableError("its superblock makes no sense")
        if self._descriptor_bytes < (64 if wide else 32):
            raise UnreadableError("its superblock makes no sense")
        self._wide = bool(wide)
        self._region = region
        self._block_bytes = 1024 << exponent
        self._descriptors_at = (first + 1) * self._block_bytes

    def list(self, path: str) -> tuple[Entry, ...]:
        """Return what stands in a folder, empty where there is no such folder."""
        inode = self._find(path)
        if inode is None or inode.kind != "folder":
            return ()
        found = []
        for name, number in self._names(inode):
            if name not in {".", ".."}:
                each = self._inode(number)
                found.append(Entry(name, each.kind, each.size_bytes))
        return tuple(found)

    def read(self, path: str, most: int | None = None) -> bytes | None:
        """Return a file, or its first ``most`` bytes; ``None`` where there is no such file."""
        inode = self._find(path)
        if inode is None or inode.kind != "file":
            return None
        return self._content(inode, inode.size_bytes if most is None else most)

    def _find(self, path: str) -> _Inode | None:
        """Return the inode at a path, through links; they may lead out of no root but this."""
        trail = [self._inode(_ROOT)]
        waiting = [part for part in reversed(path.split("/")) if part]
        links = 0
        while waiting:
            part = waiting.pop()
            if part == "..":
                trail = trail[:-1] or trail
            elif part != ".":
                number = self._number(trail[-1], part)
                if number is None:
                    return None
                inode = self._inode(number)
                if inode.kind == "link":
                    links += 1
                    if links > _MOST_LINKS:
                        return None
                    leads_to = self._link(inode)
                    trail = trail[:1] if leads_to.startswith("/") else trail
                    waiting += [each for each in reversed(leads_to.split("/")) if each]
                else:
                    trail.append(inode)
        return trail[-1]

    def _number(self, folder: _Inode, name: str) -> int | None:
        if folder.kind != "folder":
            return None
        return next((number for each, number in self._names(folder) if each == name), None)

    def _link(self, inode: _Inode) -> str:
        if inode.size_bytes < len(inode.block) and not inode.flags & _EXTENTS:
            raw = inode.block[: inode.size_bytes]
        else:
            raw = self._content(inode, inode.size_bytes)
        return raw.decode("utf-8", "surrogateescape")

    def _names(self, folder: _Inode) -> Iterator[tuple[str, int]]:
        # The nodes of an index look like blocks with nothing in them: reading on past them works.
        content = self._content(folder, folder.size_bytes)
        at = 0
        while at + 8 <= len(content):
            number, length, name_length = struct.unpack_from("<IHB", content, at)
            if length < 8 or length % 4:  # noqa: PLR2004 - the length of an entry without a name
                raise UnreadableError("a folder is broken")
            if number and name_length:
                name = content[at + 8 : at + 8 + name_length]
                yield name.decode("utf-8", "surrogateescape"), number
            at += length

    def _inode(self, number: int) -> _Inode:
        if not 1 <= number <= self._inodes_count:
            raise UnreadableError(f"it has no inode {number}")
        group, index = divmod(number - 1, self._per_group)
        descriptor = self._region.read(
            self._descriptors_at + group * self._descriptor_bytes, self._descriptor_bytes
        )
        table = int.from_bytes(descriptor[8:12], "little")
        if self._wide:
            table |= int.from_bytes(descriptor[0x28:0x2C], "little") << 32
        raw = self._region.read(table * self._block_bytes + index * self._inode_bytes, 128)
        mode, _, low = struct.unpack_from("<HHI", raw)
        (flags,) = struct.unpack_from("<I", raw, 0x20)
        (high,) = struct.unpack_from("<I", raw, 0x6C)
        size = low | high << 32 if stat.S_ISREG(mode) else low
        return _Inode(mode, size, flags, raw[0x28:0x64])

    def _content(self, inode: _Inode, most: int) -> bytes:
        if inode.flags & _INLINE:
            raise UnreadableError("edgekit reads no ext4 with inline data")
        wanted = min(most, inode.size_bytes)
        if wanted > MOST_BYTES:
            raise UnreadableError(f"a file claims {wanted} bytes")
        content = bytearray(wanted)
        runs = self._extents(inode.block) if inode.flags & _EXTENTS else self._mapped(inode, wanted)
        for logical, physical, count in runs:
            start = logical * self._block_bytes
            length = min(count * self._block_bytes, wanted - start)
            if length > 0:
                content[start : start + length] = self._region.read(
                    physical * self._block_bytes, length
                )
        return bytes(content)

    def _extents(self, node: bytes, depth: int = _DEEPEST) -> Iterator[tuple[int, int, int]]:
        """Yield (first block of the file, first on the disk, how many), holes left out."""
        magic, count, _, level = struct.unpack_from("<HHHH", node)
        if magic != _EXTENT_MAGIC or 12 + count * 12 > len(node) or level > depth or depth < 0:
            raise UnreadableError("the map of a file's blocks is broken")
        for at in range(12, 12 + count * 12, 12):
            if level:
                low, high = struct.unpack_from("<IH", node, at + 4)
                block = self._region.read((high << 32 | low) * self._block_bytes, self._block_bytes)
                yield from self._extents(block, level - 1)
            else:
                logical, length, high, low = struct.unpack_from("<IHHI", node, at)
                if length <= _UNWRITTEN:
                    yield logical, high << 32 | low, length

    def _mapped(self, inode: _Inode, wanted: int) -> Iterator[tuple[int, int, int]]:
        """As :meth:`_extents` for the maps of ext2 and ext3: direct blocks, then indirect ones."""
        pointers = struct.unpack("<15I", inode.block)
        blocks = -(-wanted // self._block_bytes)
        for logical, physical in enumerate(pointers[:_DIRECT]):
            if physical and logical < blocks:
                yield logical, physical, 1
        logical = _DIRECT
        for level, pointer in enumerate(pointers[_DIRECT:], start=1):
            yield from self._indirect(pointer, level, logical, blocks)
            logical += (self._block_bytes // 4) ** level

    def _indirect(
        self, block: int, level: int, logical: int, blocks: int
    ) -> Iterator[tuple[int, int, int]]:
        if not block or logical >= blocks:
            return
        if not level:
            yield logical, block, 1
            return
        step = (self._block_bytes // 4) ** (level - 1)
        raw = self._region.read(block * self._block_bytes, self._block_bytes)
        for index, (pointer,) in enumerate(struct.iter_unpack("<I", raw)):
            yield from self._indirect(pointer, level - 1, logical + index * step, blocks)
