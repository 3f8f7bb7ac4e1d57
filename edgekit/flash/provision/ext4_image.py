"""An ext4 file system inside an image file, read and edited in place by e2fsprogs.

``debugfs`` takes ``image?offset=BYTES`` for a file system that does not begin at the file's
start. It says little when an edit fails and exits with 0, so every edit is read back, and
``e2fsck -fn`` must find nothing afterwards. Source: debugfs(8), e2fsck(8), and
Documentation/filesystems/ext4/super.rst of Linux for the superblock.
"""

import hashlib
import re
import struct
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Final, Literal

from edgekit.core.errors import FlashError
from edgekit.flash.provision.tools import find_tool, run_tool

Kind = Literal["file", "folder", "link"]

_SUPERBLOCK_BYTES: Final = 1024
_MAGIC: Final = 0xEF53
_CLEANLY_UNMOUNTED: Final = 1
_NEEDS_RECOVERY: Final = 0x4
_TYPES: Final[dict[str, Kind]] = {"regular": "file", "directory": "folder", "symlink": "link"}
_TYPE_BITS: Final = {"file": 0o100000, "folder": 0o040000, "link": 0o120000}
_STAT: Final = re.compile(
    r"Type: (\w+) .*?Mode:\s+(\d+).*?User:\s*(\d+)\s+Group:\s*(\d+).*?Size: (\d+)", re.DOTALL
)
_FAST_LINK: Final = re.compile(r'Fast link dest: "(.*)"')
_LISTED: Final = re.compile(r"/\d+/(\d+)/\d+/\d+/([^/]*)/\d*/")


@dataclass(frozen=True)
class Entry:
    """One thing that is to stand in the file system, replacing what stood there.

    Attributes:
        path: absolute, without quotes and control characters.
        content: of a file: bytes, or a file of the host; of a link: what it leads to.
    """

    path: str
    kind: Kind = "file"
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    content: bytes | Path = b""


@dataclass(frozen=True)
class Found:
    """What stands in the file system at a path; ``link``: what a short link leads to."""

    kind: Kind | Literal["other"]
    mode: int
    uid: int
    gid: int
    size_bytes: int
    link: str | None = None


@dataclass(frozen=True)
class Room:
    """What the superblock says of the file system."""

    free_bytes: int
    free_inodes: int
    block_bytes: int


def is_ext4(image: Path, offset_bytes: int) -> bool:
    """Tell whether a file system of the ext family begins there."""
    with image.open("rb") as file:
        file.seek(offset_bytes + _SUPERBLOCK_BYTES)
        head = file.read(_SUPERBLOCK_BYTES)
    return len(head) == _SUPERBLOCK_BYTES and struct.unpack_from("<H", head, 0x38)[0] == _MAGIC


class Ext4Image:
    """One file system; nothing is kept open between calls."""

    def __init__(self, image: Path, offset_bytes: int) -> None:
        self.image = image
        self.offset_bytes = offset_bytes
        self._debugfs = find_tool("debugfs", "e2fsprogs")
        self._name = str(image) + (f"?offset={offset_bytes}" if offset_bytes else "")
        if "?" in str(image):
            raise FlashError(f"{image}: debugfs cannot open a path with '?'", hint="rename it")

    def check(self) -> None:
        """Raise unless the file system is whole and was cleanly unmounted.

        Raises:
            FlashError: its journal holds what is not yet written, or e2fsck finds faults.
        """
        head = self._superblock()
        (state,) = struct.unpack_from("<H", head, 0x3A)
        (needs,) = struct.unpack_from("<I", head, 0x60)
        if needs & _NEEDS_RECOVERY or not state & _CLEANLY_UNMOUNTED:
            raise FlashError(
                f"{self._where()} was not cleanly unmounted: its journal must be replayed first",
                hint="take the image as it was published, or boot it once and shut it down",
            )
        done = run_tool([find_tool("e2fsck", "e2fsprogs"), "-fn", self._name])
        if done.returncode:
            said = done.stdout.decode(errors="replace").strip().splitlines()
            raise FlashError(
                f"{self._where()} is damaged: {'; '.join(said[-4:-1]) or done.returncode}",
                hint="fetch the image anew and compare its checksum",
            )

    def room(self) -> Room:
        """Return what is free."""
        head = self._superblock()
        (low,) = struct.unpack_from("<I", head, 0x0C)
        (high,) = struct.unpack_from("<I", head, 0x158)
        (inodes,) = struct.unpack_from("<I", head, 0x10)
        (scale,) = struct.unpack_from("<I", head, 0x18)
        (wide,) = struct.unpack_from("<I", head, 0x60)
        blocks = low | (high << 32 if wide & 0x80 else 0)  # 64bit
        block_bytes = 1024 << scale
        return Room(blocks * block_bytes, inodes, block_bytes)

    def stat(self, *paths: str) -> tuple[Found | None, ...]:
        """Return what stands at each path, a link itself and not what it leads to."""
        said = self._ask([f"stat {_quoted(path)}" for path in paths])
        return tuple(map(_found, said))

    def exists(self, path: str) -> bool:
        """Tell whether anything stands at ``path``."""
        return self.stat(path)[0] is not None

    def read(self, path: str) -> bytes | None:
        """Return a file's content; ``None``: there is no file."""
        (found,) = self.stat(path)
        if found is None or found.kind != "file":
            return None
        with tempfile.TemporaryDirectory(prefix="edgekit-ext4-") as folder:
            out = Path(folder, "0")
            self._ask([f"dump {_quoted(path)} {_quoted(str(out))}"])
            content = out.read_bytes() if out.exists() else b""
        if len(content) != found.size_bytes:
            raise FlashError(f"{path} of {self._where()} cannot be read", hint="take another image")
        return content

    def text(self, path: str) -> str:
        """Return a file's text; empty where there is none."""
        content = self.read(path)
        return "" if content is None else content.decode("utf-8", "surrogateescape")

    def names(self, folder: str) -> tuple[str, ...]:
        """Return the names in a folder; empty where there is none."""
        (said,) = self._ask([f"ls -p {_quoted(folder)}"])
        found = (match[2] for match in map(_LISTED.match, said.splitlines()) if match)
        return tuple(sorted(name for name in found if name not in {"", ".", ".."}))

    def remove(self, *paths: str) -> None:
        """Take files and links away; what does not exist stays away.

        Raises:
            FlashError: one of them is still there.
        """
        there = [path for path, found in zip(paths, self.stat(*paths), strict=True) if found]
        if there:
            self._ask([f"rm {_quoted(path)}" for path in there], write=True)
        if still := [path for path in there if self.exists(path)]:
            raise FlashError(
                f"{', '.join(still)} cannot be removed from {self._where()}",
                hint="take another image",
            )

    def put(self, entries: Sequence[Entry]) -> None:
        """Make each entry stand there, and read every one of them back.

        Folders on the way are made as root's, 0755. A folder that exists keeps its content.

        Raises:
            FlashError: there is no room, or what is read back differs.
        """
        wanted = _with_parents(entries)
        there = dict(zip(wanted, self.stat(*wanted), strict=True))
        for path, found in there.items():
            if found and (found.kind == "folder") != (wanted[path].kind == "folder"):
                if found.kind == "link" and path not in {entry.path for entry in entries}:
                    continue
                raise FlashError(
                    f"{path} in {self._where()} is a {found.kind}, not a {wanted[path].kind}",
                    hint="take another image",
                )
        given = {entry.path for entry in entries}
        wanted = {path: entry for path, entry in wanted.items() if path in given or not there[path]}
        self._check_room(list(wanted.values()))
        with tempfile.TemporaryDirectory(prefix="edgekit-ext4-") as folder:
            said = self._write(wanted, there, Path(folder))
            self._compare(wanted, Path(folder), said)

    def _write(self, wanted: dict[str, Entry], there: dict[str, Found | None], folder: Path) -> str:
        commands = []
        for number, (path, entry) in enumerate(wanted.items()):
            if there[path] and entry.kind != "folder":
                commands.append(f"rm {_quoted(path)}")
            parent, name = str(PurePosixPath(path).parent), PurePosixPath(path).name
            if entry.kind == "folder":
                commands += [] if there[path] else [f"mkdir {_quoted(path)}"]
            elif entry.kind == "link":
                commands.append(f"symlink {_quoted(path)} {_quoted(_target(entry))}")
            else:
                source = folder / f"in-{number}"
                _stage(entry, source)
                commands += [
                    f"cd {_quoted(parent)}",
                    f"write {_quoted(str(source))} {_quoted(name)}",
                ]
            mode = 0o777 if entry.kind == "link" else entry.mode
            fields = {"mode": f"{_TYPE_BITS[entry.kind] | mode:#o}".replace("0o", "0")}
            fields |= {"uid": str(entry.uid), "gid": str(entry.gid)}
            if isinstance(entry.content, Path):
                # The host's time stays: compiled Python is believed by the time of its source.
                fields["mtime"] = f"@{int(entry.content.stat().st_mtime)}"
            commands += [f"sif {_quoted(path)} {key} {value}" for key, value in fields.items()]
        return self._run(commands, write=True)[1]

    def _compare(self, wanted: dict[str, Entry], folder: Path, said: str) -> None:
        outs = {path: folder / f"out-{number}" for number, path in enumerate(wanted)}
        self._ask(
            [
                f"dump {_quoted(path)} {_quoted(str(outs[path]))}"
                for path, entry in wanted.items()
                if entry.kind != "folder"
            ]
        )
        for (path, entry), found in zip(wanted.items(), self.stat(*wanted), strict=True):
            fault = _fault(entry, found, outs[path])
            if fault:
                raise FlashError(
                    f"{path} was not written to {self._where()} as it should be: {fault}"
                    + (f" ({said})" if said else ""),
                    hint="discard this copy of the image; is the host's disk full?",
                )

    def _check_room(self, entries: Sequence[Entry]) -> None:
        room = self.room()
        need = sum(_size(entry) + 2 * room.block_bytes for entry in entries)
        if need > room.free_bytes or len(entries) > room.free_inodes:
            raise FlashError(
                f"{self._where()} has no room: {need >> 10} KiB and {len(entries)} entries are "
                f"needed, {room.free_bytes >> 10} KiB and {room.free_inodes} are free",
                hint="take a larger image, or put less into it (without a first bundle)",
            )

    def _ask(self, commands: Sequence[str], *, write: bool = False) -> list[str]:
        return self._run(commands, write=write)[0]

    def _run(self, commands: Sequence[str], *, write: bool = False) -> tuple[list[str], str]:
        """Run debugfs commands; return what each printed, and what went wrong."""
        with tempfile.NamedTemporaryFile("w", prefix="edgekit-debugfs-", encoding="utf-8") as file:
            file.write("".join(f"{command}\n" for command in commands))
            file.flush()
            mode = ["-w"] if write else []
            done = run_tool([self._debugfs, *mode, "-f", file.name, self._name])
        errors = done.stderr.decode(errors="replace").strip().splitlines()[1:]
        printed = done.stdout.decode("utf-8", "surrogateescape")
        parts = re.split(r"(?m)^debugfs: .*\n?", printed)[1:]
        if done.returncode or len(parts) != len(commands):
            raise FlashError(
                f"{self._where()} cannot be opened: {'; '.join(errors[-2:]) or 'no ext4'}",
                hint="is it an image with an ext4 root file system?",
            )
        return parts, "; ".join(errors[:3])

    def _superblock(self) -> bytes:
        with self.image.open("rb") as file:
            file.seek(self.offset_bytes + _SUPERBLOCK_BYTES)
            head = file.read(_SUPERBLOCK_BYTES)
        if len(head) < _SUPERBLOCK_BYTES or struct.unpack_from("<H", head, 0x38)[0] != _MAGIC:
            raise FlashError(f"{self._where()} is no ext4 file system", hint="take another image")
        return head

    def _where(self) -> str:
        return f"the file system at byte {self.offset_bytes} of {self.image}"


def _with_parents(entries: Sequence[Entry]) -> dict[str, Entry]:
    wanted: dict[str, Entry] = {}
    for entry in entries:
        for parent in list(PurePosixPath(entry.path).parents)[:-1]:
            wanted.setdefault(str(parent), Entry(str(parent), "folder", 0o755))
        wanted[entry.path] = entry
    return dict(sorted(wanted.items(), key=lambda item: (item[0].count("/"), item[0])))


def _stage(entry: Entry, source: Path) -> None:
    """Put content where debugfs reads it: under a name that needs no quotes."""
    if isinstance(entry.content, Path):
        source.symlink_to(entry.content.resolve(strict=True))
    else:
        source.write_bytes(entry.content)


def _target(entry: Entry) -> str:
    return entry.content.decode() if isinstance(entry.content, bytes) else str(entry.content)


def _size(entry: Entry) -> int:
    if isinstance(entry.content, Path) and entry.kind == "file":
        return entry.content.stat().st_size
    return len(entry.content) if isinstance(entry.content, bytes) else 0


def _found(said: str) -> Found | None:
    match = _STAT.search(said)
    if match is None:
        return None
    link = _FAST_LINK.search(said)
    return Found(
        kind=_TYPES.get(match[1], "other"),
        mode=int(match[2], 8),
        uid=int(match[3]),
        gid=int(match[4]),
        size_bytes=int(match[5]),
        link=link[1] if link else None,
    )


def _fault(entry: Entry, found: Found | None, out: Path) -> str:
    """Return what differs from the entry; empty where nothing does."""
    if found is None:
        return "it is not there"
    mode = 0o777 if entry.kind == "link" else entry.mode
    wanted = (entry.kind, mode, entry.uid, entry.gid)
    if (found.kind, found.mode, found.uid, found.gid) != wanted:
        return f"kind, mode or owner is {found}"
    if entry.kind == "folder":
        return ""
    if entry.kind == "link":
        target = found.link if found.link is not None else out.read_text("utf-8")
        return "" if target == _target(entry) else f"it leads to {target!r}"
    return "" if _digest(out) == _digest(entry.content) else "its content differs"


def _digest(content: bytes | Path) -> bytes:
    if isinstance(content, bytes):
        return hashlib.sha256(content).digest()
    if not content.exists():
        return b""
    with content.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()


def _quoted(text: str) -> str:
    """Quote for debugfs' reader of commands, which doubles quotes and knows no other escape."""
    if not text.isprintable():
        raise FlashError(f"{text!r} cannot stand in an image", hint="rename it")
    return '"' + text.replace('"', '""') + '"'
