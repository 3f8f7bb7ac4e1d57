"""A FAT file system inside an image file, read and written in place by mtools.

Source: mtools(1): ``-i image@@BYTES`` for a file system that does not begin at the file's
start; mtools.conf(5): ``MTOOLS_SKIP_CHECK`` for geometries that mtools finds odd.
"""

import hashlib
import re
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from edgekit.core.errors import FlashError
from edgekit.flash.provision.tools import find_tool, run_tool

_ENVIRONMENT: Final = {"MTOOLS_SKIP_CHECK": "1", "MTOOLSRC": "/dev/null"}
_FREE: Final = re.compile(r"([\d ]+) bytes free")
# What FAT may need besides the content: clusters that are not full, and folders.
_MARGIN_BYTES: Final = 1 << 20


class FatImage:
    """One file system; paths are absolute, of names that need no quotes."""

    def __init__(self, image: Path, offset_bytes: int) -> None:
        self.image = image
        self.offset_bytes = offset_bytes

    def read(self, path: str) -> bytes | None:
        """Return a file's content; ``None``: there is no file."""
        with tempfile.TemporaryDirectory(prefix="edgekit-fat-") as folder:
            out = Path(folder, "0")
            self._run("mcopy", "-n", f"::{path}", str(out))
            return out.read_bytes() if out.is_file() else None

    def put(self, files: Mapping[str, bytes | Path]) -> None:
        """Write files, folders on the way included, and read every one back.

        Raises:
            FlashError: there is no room, or what is read back differs.
        """
        self._check_room(files)
        with tempfile.TemporaryDirectory(prefix="edgekit-fat-") as folder:
            for number, (path, content) in enumerate(files.items()):
                for parent in list(PurePosixPath(path).parents)[-2::-1]:
                    # One that exists already is an error to mmd and none to us.
                    self._run("mmd", "-D", "s", f"::{parent}")
                source = content if isinstance(content, Path) else Path(folder, f"in-{number}")
                if isinstance(content, bytes):
                    source.write_bytes(content)
                said = self._run("mcopy", "-D", "o", str(source.resolve()), f"::{path}")
                out = Path(folder, f"out-{number}")
                self._run("mcopy", "-n", f"::{path}", str(out))
                if not out.is_file() or _digest(out) != _digest(source):
                    raise FlashError(
                        f"{path} was not written to {self._where()} as it should be: {said}",
                        hint="discard this copy of the image; is the host's disk full?",
                    )

    def _check_room(self, files: Mapping[str, bytes | Path]) -> None:
        said = self._run("mdir", "::/")
        match = _FREE.search(said)
        if match is None:
            raise FlashError(
                f"{self._where()} cannot be read: {said[:200]}", hint="take another image"
            )
        free = int(match[1].replace(" ", ""))
        need = sum(
            content.stat().st_size if isinstance(content, Path) else len(content)
            for content in files.values()
        )
        if need + _MARGIN_BYTES > free:
            raise FlashError(
                f"{self._where()} has no room: {need >> 10} KiB are needed, {free >> 10} are free",
                hint="put less into it, such as no first bundle: edgekit deploy brings it later",
            )

    def _run(self, tool: str, *arguments: str) -> str:
        command = [find_tool(tool, "mtools"), "-i", f"{self.image}@@{self.offset_bytes}"]
        done = run_tool([*command, *arguments], _ENVIRONMENT)
        return (done.stdout + done.stderr).decode(errors="replace").strip()

    def _where(self) -> str:
        return f"the boot partition at byte {self.offset_bytes} of {self.image}"


def _digest(path: Path) -> bytes:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
