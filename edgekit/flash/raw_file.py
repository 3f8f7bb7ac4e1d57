"""Raw images as sparse files: unpacked from an archive, and copied without their holes."""

import contextlib
import errno
import fcntl
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.core.events import EventSink, ignore
from edgekit.flash.write_progress import Progress

if TYPE_CHECKING:
    from edgekit.flash.source import ImageSource

_FICLONE: Final = 0x40049409
_STEP_BYTES: Final = 16 << 20
_STEP: Final = "flash:unpack"


def unpack(source: "ImageSource", place: Path, *, emit: EventSink = ignore) -> None:
    """Write an image to a new file; what is zeros or not in use becomes a hole.

    Raises:
        FlashError: the image is corrupt, cut short, or not the one that was promised.
        OSError: the file cannot be written.
    """
    progress = Progress(_STEP, f"Unpack {source.name.rpartition('/')[2]}", emit)
    try:
        with place.open("xb") as file:
            for offset, view in source.extents():
                file.seek(offset)
                file.write(view)
                progress.move(offset + len(view), source.size_bytes, source.fraction)
            assert source.size_bytes is not None  # noqa: S101 - its end was seen
            file.truncate(source.size_bytes)
    except BaseException:
        progress.end("failed", ok=False)
        raise
    progress.end(f"{source.size_bytes / 1e6:.1f} MB")


def copy_sparse(source: Path, place: Path) -> None:
    """Copy a file; its holes stay holes, and where the file system can, nothing is copied at all.

    Raises:
        OSError: it cannot be read, or not be written.
    """
    with source.open("rb") as origin, place.open("xb") as copy:
        with contextlib.suppress(OSError):
            fcntl.ioctl(copy.fileno(), _FICLONE, origin.fileno())
            return
        size = os.fstat(origin.fileno()).st_size
        at = 0
        while at < size:
            start, end = _next_data(origin.fileno(), at, size)
            origin.seek(start)
            copy.seek(start)
            while start < end:
                content = origin.read(min(_STEP_BYTES, end - start))
                if not content:
                    raise OSError(errno.EIO, "it became shorter while it was copied", str(source))
                copy.write(content)
                start += len(content)
            at = end
        copy.truncate(size)


def _next_data(descriptor: int, at: int, size: int) -> tuple[int, int]:
    try:
        start = os.lseek(descriptor, at, os.SEEK_DATA)
        return start, os.lseek(descriptor, start, os.SEEK_HOLE)
    except OSError as error:
        # Nothing but a hole is left, or the file system does not tell of holes.
        return (size, size) if error.errno == errno.ENXIO else (at, size)
