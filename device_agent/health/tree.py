"""Small files of the kernel: any may be absent, vanish, refuse, or hold nonsense."""

import errno
import os
import re

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional, Set, Tuple

_PIECE_BYTES = 4096  # what the kernel hands out of such a file at once
_MOST_BYTES = 1 << 16
_MOST_UNREAD = 16
_MOST = 1 << 63  # the kernel's own numbers are no longer than 64 bits


class Tree:
    """The kernel's trees below one root, with a memory for what does not change in a run.

    Attributes:
        unread: why a file that is there has no value, by its path below the root.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = root
        self.unread: "Dict[str, str]" = {}
        self._kept: "Dict[str, Any]" = {}
        self._seen: "Set[str]" = set()

    def text(self, path: str, whole: bool = False) -> "Optional[str]":
        """Return a file's text: its first 4 KiB, or the whole of it."""
        # Not open(): a sensor that is switched off answers EAGAIN, on which a text file raises
        # TypeError and an unbuffered one reads None; this also costs a third of the time.
        try:
            handle = os.open(os.path.join(self.root, path), os.O_RDONLY | os.O_CLOEXEC)
            try:
                data = piece = os.read(handle, _PIECE_BYTES)
                while whole and piece and len(data) < _MOST_BYTES:
                    piece = os.read(handle, _PIECE_BYTES)
                    data += piece
            finally:
                os.close(handle)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ESRCH):
                self.refuse(path, errno.errorcode.get(error.errno or 0, "unreadable"))
            elif path in self._seen:
                self.refuse(path, "gone")
            return None
        self._seen.add(path)
        return data.decode("ascii", "replace").strip()

    def whole_number(
        self, path: str, least: int = -_MOST, most: int = _MOST, base: int = 10
    ) -> "Optional[int]":
        """Return the number that a file holds, if it is one that can be true."""
        text = self.text(path)
        if text is None:
            return None
        try:
            value = int("" if "_" in text else text, base)
        except ValueError:
            self.refuse(path, "no number: " + repr(text[:20]))
            return None
        if not least <= value <= most:
            self.refuse(path, "out of range: " + text[:20])
            return None
        return value

    def refuse(self, path: str, why: str) -> None:
        """Note why a file gave no value."""
        if len(self.unread) < _MOST_UNREAD:
            self.unread[path] = why

    def once(self, key: str, make: "Callable[[], Any]") -> "Any":
        """Return what ``make`` returned the first time."""
        if key not in self._kept:
            self._kept[key] = make()
        return self._kept[key]

    def fixed(self, path: str) -> "Optional[str]":
        """Return a text that does not change while the device is up."""
        return self.once(path, lambda: self.text(path))  # type: ignore[no-any-return]

    def fixed_number(self, path: str, least: int = -_MOST, most: int = _MOST) -> "Optional[int]":
        """Return a number that does not change while the device is up."""
        return self.once(path, lambda: self.whole_number(path, least, most))  # type: ignore[no-any-return]

    def numbered(self, folder: str, prefix: str) -> "Tuple[Tuple[int, str], ...]":
        """Return number and path of every entry named ``<prefix><number>``, by number."""
        return self.once(  # type: ignore[no-any-return]
            folder + "/" + prefix, lambda: tuple(sorted(self._numbered(folder, prefix)))
        )

    def _numbered(self, folder: str, prefix: str) -> "Any":
        for name in self.names(folder):
            number = name[len(prefix) :]
            if name.startswith(prefix) and re.match("[0-9]{1,9}$", number):
                yield int(number), folder + "/" + name

    def names(self, folder: str) -> "Tuple[str, ...]":
        """Return what stands in a folder now."""
        try:
            return tuple(os.listdir(os.path.join(self.root, folder)))
        except OSError:
            return ()
