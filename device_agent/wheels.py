"""Wheels become importable folders. Nothing in an archive can be written outside its folder."""

import os
import stat
import zipfile

from device_agent import durable
from device_agent.protocol import VerbError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator, Optional

_CHUNK_BYTES = 256 << 10
_REPORT_BYTES = 4 << 20
_IMPORTABLE = ("purelib", "platlib")
_UNUSED = ("scripts", "headers")


def unpacked_bytes(wheel: str) -> int:
    """Return how much room a wheel's content takes."""
    with _open(wheel) as archive:
        return sum(member.file_size for member in archive.infolist())


def unpack(wheel: str, folder: str) -> "Iterator[int]":
    """Unpack a wheel into ``folder``; yield every few megabytes how many bytes were written.

    What stands under ``<name>.data/purelib`` and ``platlib`` is merged into the folder itself, as
    an installer does; scripts and headers are left out, since nothing here uses them.

    Raises:
        VerbError: the archive is damaged, or names a path outside the folder.
    """
    written_bytes = 0
    with _open(wheel) as archive:
        for member in archive.infolist():
            path = _path_in_folder(member)
            if path is None:
                continue
            written_bytes += _unpack_member(archive, member, os.path.join(folder, path))
            if written_bytes >= _REPORT_BYTES:
                yield written_bytes
                written_bytes = 0
    yield written_bytes


def _open(wheel: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(wheel)
    except FileNotFoundError as error:
        raise VerbError("not_found", f"no wheel {os.path.basename(wheel)} in the store") from error
    except zipfile.BadZipFile as error:
        raise VerbError("unsafe_archive", f"{os.path.basename(wheel)}: {error}") from error


def _path_in_folder(member: zipfile.ZipInfo) -> "Optional[str]":
    name = member.filename
    if name.endswith("/"):
        return None
    parts = name.split("/")
    is_link = stat.S_ISLNK(member.external_attr >> 16)
    if is_link or "\\" in name or any(part in ("", ".", "..") for part in parts):
        raise VerbError("unsafe_archive", f"an archive holds {name!r}, which may lead outside")
    if parts[0].endswith(".data") and len(parts) > 2:  # noqa: PLR2004 - <name>.data/<kind>/<path>
        if parts[1] in _UNUSED:
            return None
        if parts[1] in _IMPORTABLE:
            parts = parts[2:]
    return "/".join(parts)


def _unpack_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, path: str) -> int:
    os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
    # Shared libraries keep their right to be executed; nothing else of the mode is taken over.
    mode = 0o755 if (member.external_attr >> 16) & 0o111 else 0o644
    durable.checkpoint("write", path)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        with archive.open(member) as source, open(descriptor, "wb") as target:
            while True:
                block = source.read(_CHUNK_BYTES)
                if not block:
                    break
                target.write(block)
    except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError) as error:
        raise VerbError("unsafe_archive", f"{member.filename}: {error}") from error
    return member.file_size
