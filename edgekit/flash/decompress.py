"""Archives by their content: which kind one is, and its bytes unpacked piece by piece.

Whatever an archive can say about itself is checked: its checksums, that it does not end too
early, and that nothing but padding stands behind its end.
"""

import bz2
import lzma
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal, Protocol

from edgekit.core.errors import FlashError

Kind = Literal["raw", "xz", "gz", "bz2", "zst", "zip", "tar"]

PIECE_BYTES: Final = 1 << 20
HEAD_BYTES: Final = 512  # enough to recognise every kind

_XZ_MEMORY_BYTES: Final = 1 << 30  # xz -9 takes 65 MiB; a forged header may ask for any amount
_ZSTD_WINDOW_LOG: Final = 31  # zstd --long=31, the largest there is
_TAR_MAGIC_AT: Final = 257
_MAGIC: Final[tuple[tuple[bytes, Kind], ...]] = (
    (b"\xfd7zXZ\0", "xz"),
    (b"\x1f\x8b\x08", "gz"),
    (b"BZh", "bz2"),
    (b"\x28\xb5\x2f\xfd", "zst"),
    (b"PK\x03\x04", "zip"),
)
_SUFFIXES: Final[dict[str, Kind]] = {
    ".xz": "xz",
    ".gz": "gz",
    ".bz2": "bz2",
    ".zst": "zst",
    ".zip": "zip",
}
_HINT: Final = "fetch the image again, and give its --sha256 so that this is seen at once"


class Engine(Protocol):
    """A decompressor of one stream, as the standard library's are."""

    @property
    def eof(self) -> bool:
        """Whether the stream's end was reached, and its checksums hold."""

    @property
    def needs_input(self) -> bool:
        """Whether nothing more comes out without more going in."""

    @property
    def unused_data(self) -> bytes:
        """What stood behind the stream's end."""

    def decompress(self, data: bytes, max_length: int = -1) -> bytes:
        """Unpack ``data``; return at most ``max_length`` bytes."""


class _Gzip:
    """zlib's gzip with the interface of the other decompressors."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._full = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._full and not self._inner.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self._full = len(out) == max_length
        return out


def _zstd() -> Engine:
    if sys.version_info >= (3, 14):
        from compression import zstd
    else:
        from backports import zstd
    options = {int(zstd.DecompressionParameter.window_log_max): _ZSTD_WINDOW_LOG}
    decompressor: Engine = zstd.ZstdDecompressor(options=options)
    return decompressor


def _xz() -> Engine:
    return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_XZ_MEMORY_BYTES)


_ENGINES: Final[dict[str, Callable[[], Engine]]] = {
    "xz": _xz,
    "gz": _Gzip,  # type: ignore[dict-item]  # its decompress is always given a length
    "bz2": bz2.BZ2Decompressor,
    "zst": _zstd,
}


def recognise(head: bytes) -> Kind:
    """Tell by its first bytes what a file is."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    return "tar" if head[_TAR_MAGIC_AT:].startswith(b"ustar") else "raw"


def recognise_named(head: bytes, name: str) -> Kind:
    """Tell what a file is, where its name must not promise something else.

    Raises:
        FlashError: it is no image, or an archive by its name and none by its content.
    """
    kind = recognise(head)
    if kind == "tar":
        hint = "unpack it and give the image that is in it"
        raise FlashError(f"{name} is a tar archive, not a disk image", hint=hint)
    said = _SUFFIXES.get(Path(name).suffix.lower())
    if kind == "raw" and said is not None:
        message = f"{name} is no .{said} archive: its first bytes are not those of one"
        raise FlashError(message, hint=_HINT)
    return kind


class Unpacker:
    """Unpacks one archive that arrives in pieces; several streams may follow one another."""

    def __init__(self, kind: Kind, subject: str) -> None:
        self._make = _ENGINES[kind]
        self._kind = kind
        self._subject = subject
        self._engine: Engine | None = self._make()
        self._ended = False  # a whole stream was read: what comes now is the next, or garbage
        self._padding_bytes = 0

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take more of the archive; yield what comes out, a piece at a time.

        Raises:
            FlashError: the archive is corrupt, or something else stands behind its end.
        """
        while True:
            if self._engine is None:
                data = self._skip_padding(data)
                if not data:
                    return
                self._engine = self._make()
            try:
                out = self._engine.decompress(data, PIECE_BYTES)
            except (lzma.LZMAError, zlib.error, OSError, ValueError, self._zstd_error()) as error:
                raise self._corrupt(str(error)) from error
            if out:
                self._ended = False
                yield out
            data = b""
            if self._engine.eof:
                data = self._engine.unused_data
                self._engine, self._ended, self._padding_bytes = None, True, 0
            elif self._engine.needs_input:
                return

    def finish(self) -> None:
        """Tell that the archive has no more bytes.

        Raises:
            FlashError: it should have.
        """
        if self._engine is not None:
            raise self._corrupt("it ends too early")
        if self._kind == "xz" and self._padding_bytes % 4:
            raise self._corrupt("there is something else behind its end")

    def _skip_padding(self, data: bytes) -> bytes:
        # Zeros may stand behind an xz stream (in fours) and behind gzip's (tapes' blocks).
        if self._kind not in {"xz", "gz"}:
            return data
        rest = data.lstrip(b"\0")
        self._padding_bytes += len(data) - len(rest)
        return rest

    def _corrupt(self, why: str) -> FlashError:
        if self._ended:
            why = f"there is something else behind its end ({why})"
        return FlashError(f"{self._subject} is a corrupt .{self._kind} archive: {why}", hint=_HINT)

    def _zstd_error(self) -> type[Exception]:
        if self._kind != "zst":
            return EOFError
        if sys.version_info >= (3, 14):
            from compression import zstd
        else:
            from backports import zstd
        error: type[Exception] = zstd.ZstdError
        return error


class ZippedImage:
    """The one image in a zip file. A context manager."""

    def __init__(self, path: Path, subject: str) -> None:
        self._subject = subject
        try:
            self._archive = zipfile.ZipFile(path)
            self._member = self._find(path)
        except zipfile.BadZipFile as error:
            raise self._corrupt(error) from error
        self.size_bytes = self._member.file_size

    @property
    def name(self) -> str:
        """The image's name in the archive."""
        return self._member.filename

    def pieces(self) -> Iterator[bytes]:
        """Yield the image piece by piece.

        Raises:
            FlashError: the archive is corrupt, or packed in a way that is not known.
        """
        count = 0
        try:
            with self._archive.open(self._member) as member:
                while piece := member.read(PIECE_BYTES):
                    count += len(piece)
                    yield piece
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, OSError) as error:
            raise self._corrupt(error) from error
        except (NotImplementedError, RuntimeError) as error:  # an unknown method; a password
            message = f"{self._subject} cannot be unpacked: {error}"
            raise FlashError(message, hint="unpack it by other means first") from error
        if count != self.size_bytes:
            raise self._corrupt(f"{self.name} has {count} bytes, {self.size_bytes} were promised")

    def close(self) -> None:
        """Close the archive."""
        self._archive.close()

    def _find(self, path: Path) -> zipfile.ZipInfo:
        end = self._archive.start_dir
        comment = len(self._archive.comment)
        # zipfile itself looks for the directory from the end and takes what stands behind it.
        with path.open("rb") as file:
            file.seek(end)
            tail = file.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or at + 22 + comment != len(tail):
            raise self._corrupt("there is something else behind its end")
        files = [each for each in self._archive.infolist() if not each.is_dir()]
        images = [each for each in files if Path(each.filename).suffix.lower() in _IMAGE_SUFFIXES]
        found = images or files
        if len(found) != 1:
            names = ", ".join(each.filename for each in found) or "nothing"
            message = f"{self._subject} should hold one image; it holds {names}"
            raise FlashError(message, hint="unpack it and give the image that you mean")
        return found[0]

    def _corrupt(self, why: object) -> FlashError:
        return FlashError(f"{self._subject} is a corrupt .zip archive: {why}", hint=_HINT)


_IMAGE_SUFFIXES: Final = frozenset([".img", ".raw", ".wic", ".iso", ".sdcard", ".sdimg", ".bin"])
