"""An initial RAM disk, written as the kernel reads it: a ``newc`` archive, uncompressed.

Source: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst.
"""

from collections.abc import Iterator, Mapping
from typing import Final

_MAGIC: Final = b"070701"
_FOLDER: Final = 0o040755
_PROGRAM: Final = 0o100755
_CONSOLE: Final = (0o020600, 5, 1)  # a character device and its number
_TRAILER: Final = "TRAILER!!!"
_ALIGNMENT: Final = 4


def initial_ramdisk(files: Mapping[str, bytes]) -> bytes:
    """Return an archive of files (all may be executed), their folders and a console.

    Args:
        files: content by path, without a slash at the front.
    """
    folders = dict.fromkeys(
        folder for path in ("dev/x", "proc/x", "root/x", *files) for folder in _above(path)
    )
    entries = [_entry(number, name, _FOLDER) for number, name in enumerate(folders, 1)]
    first = len(entries) + 1
    for number, (name, content) in enumerate(sorted(files.items()), first):
        entries.append(_entry(number, name, _PROGRAM, content))
    mode, major, minor = _CONSOLE
    # Without it the first program has nowhere to write to.
    entries.append(_entry(len(entries) + 1, "dev/console", mode, device=(major, minor)))
    entries.append(_entry(0, _TRAILER, 0))
    return b"".join(entries)


def _above(path: str) -> Iterator[str]:
    parts = path.split("/")
    for length in range(1, len(parts)):
        yield "/".join(parts[:length])


def _entry(
    number: int, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)
) -> bytes:
    written = name.encode() + b"\0"
    # Inode, mode, owner, group, links, time, size, device (major, minor), device that it is
    # (major, minor), length of the name, checksum (of another format).
    fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(written), 0)
    head = _MAGIC + b"".join(f"{field:08x}".encode() for field in fields)
    return _padded(head + written) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % _ALIGNMENT)
