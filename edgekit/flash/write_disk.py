"""A disk opened for writing: past the page cache where the file system lets one."""

import contextlib
import ctypes
import errno
import fcntl
import mmap
import os
import struct
from collections.abc import Iterator
from typing import Final, Protocol

from edgekit.core.closing import Closing
from edgekit.core.errors import FlashError
from edgekit.core.flash import Disk
from edgekit.flash.memory import buffer
from edgekit.flash.zeros import is_zero

SECTOR_BYTES: Final = 512

_MEMORY_ALIGNMENT: Final = 4096
_SYNC_BYTES: Final = 32 << 20  # unwritten in the page cache at most, where it cannot be avoided
_STEP_BYTES: Final = 4 << 20
_PUNCH_HOLE: Final = 0x02 | 0x01  # FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE
_BLKRRPART: Final = 0x125F  # read the partition table again
_BLKFLSBUF: Final = 0x1261  # drop the device's pages
_BLKDISCARD: Final = 0x1277
_UNSUPPORTED: Final = frozenset([errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS, errno.ENODEV])
# What the kernel's block layer means by errors whose own names tell something else.
# Source: blk_errors in the kernel's block/blk-core.c.
_MEANINGS: Final = {
    errno.ENODATA: "the medium is damaged",
    errno.EREMOTEIO: "the disk refuses",
    errno.ENOLINK: "the link to the disk fails",
}
_FULL: Final = frozenset([errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
_PULLED: Final = frozenset([errno.ENODEV, errno.ENXIO, errno.ENOMEDIUM, errno.ESHUTDOWN])

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class OpenDisk(Protocol):
    """What writing and verifying need of a disk. Every fault is a FlashError."""

    @property
    def disk(self) -> Disk:
        """The disk."""

    def write(self, offset: int, view: memoryview) -> None:
        """Write all of ``view``."""

    def zero(self, offset: int, length: int) -> int:
        """Make a place read as zeros; return how many bytes had to be written."""

    def discard(self, length: int) -> None:
        """Tell the disk that what its first bytes hold is no longer needed."""

    def read(self, offset: int, view: memoryview) -> None:
        """Fill ``view`` with what the disk itself holds."""

    def data_within(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield what of a place must be read to know that it is zeros."""

    def flush(self) -> None:
        """Return when all that was written is on the disk."""

    def close(self) -> None:
        """Close the disk."""


class DiskFile(Closing):
    """A block device, or a plain file that stands for one. A context manager.

    Raises:
        FlashError: it is not there, in use, or no longer the disk that was found.
    """

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._unsynced_bytes = 0
        self._punches = True
        # A mounted device cannot be opened so, whatever was looked up before.
        flags = os.O_RDWR | os.O_CLOEXEC | (0 if disk.is_file else os.O_EXCL)
        with self._faults("opened"):
            # For what is not aligned, and where O_DIRECT is refused.
            self._cached = os.open(disk.path, flags)
        self._direct: int | None = None
        with contextlib.suppress(OSError):
            self._direct = os.open(disk.path, flags & ~os.O_EXCL | os.O_DIRECT)
        try:
            self._claim_file()
            self._check_size()
        except BaseException:
            self.close()
            raise

    def write(self, offset: int, view: memoryview) -> None:
        """Write all of ``view``."""
        with self._faults("written", offset, len(view)):
            while view:
                size = self._write_some(offset, view)
                offset, view = offset + size, view[size:]

    def zero(self, offset: int, length: int) -> int:
        """Make a place read as zeros; return how many bytes had to be written.

        The kernel is asked to do it without transferring zeros. A disk that cannot is read, which
        is several times as fast as writing on most cards, and written where it is not zero.
        """
        if self._punch(offset, length):
            return 0
        written = 0
        for at, view in self._read_steps(offset, length):
            if not is_zero(view):
                view[:] = bytes(len(view))
                self.write(at, view)
                written += len(view)
        return written

    def discard(self, length: int) -> None:
        """Tell the disk that what its first bytes hold is no longer needed.

        What they read as afterwards is not defined; flash memory is faster to write then.
        """
        if not self.disk.is_file:
            length -= length % _MEMORY_ALIGNMENT
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._cached, _BLKDISCARD, struct.pack("QQ", 0, length))

    def read(self, offset: int, view: memoryview) -> None:
        """Fill ``view`` with what the disk itself holds."""
        with self._faults("read", offset, len(view)):
            while view:
                size = self._read_some(offset, view)
                if not size:
                    raise OSError(errno.EIO, "the disk ends here")
                offset, view = offset + size, view[size:]

    def data_within(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield what of a place must be read to know that it is zeros: not a file's holes."""
        if not self.disk.is_file:
            yield start, end
            return
        while start < end:
            try:
                first = os.lseek(self._cached, start, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:
                    return
                first = start
            if first >= end:
                return
            last = min(os.lseek(self._cached, first, os.SEEK_HOLE), end)
            yield first, last
            start = last

    def flush(self) -> None:
        """Return when all that was written is on the disk, its own cache included."""
        with self._faults("written"):
            os.fsync(self._cached)
        if not self.disk.is_file:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._cached, _BLKFLSBUF, 0)

    def close(self) -> None:
        """Close the disk; the kernel reads the partition table anew."""
        if not self.disk.is_file:
            with contextlib.suppress(OSError):
                fcntl.ioctl(self._cached, _BLKRRPART, 0)
        for descriptor in (self._direct, self._cached):
            if descriptor is not None:
                with contextlib.suppress(OSError):
                    os.close(descriptor)
        self._direct = None

    def _claim_file(self) -> None:
        """A device is opened by one alone; a file has to be locked for that."""
        if not self.disk.is_file:
            return
        # A file system without locks cannot tell.
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(self._cached, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise FlashError(
                    f"{self.disk.path} is in use: another edgekit writes to it",
                    hint="let that one end, and flash it anew",
                ) from error

    def _check_size(self) -> None:
        with self._faults("read"):
            size = os.lseek(self._cached, 0, os.SEEK_END)
            if self.disk.is_file and size < self.disk.size_bytes:
                os.ftruncate(self._cached, self.disk.size_bytes)
        if not self.disk.is_file and size != self.disk.size_bytes:
            message = (
                f"{self.disk.path} has {size} bytes now; when it was found it had "
                f"{self.disk.size_bytes}"
            )
            raise FlashError(message, hint="was it changed for another? Run it again")

    def _write_some(self, offset: int, view: memoryview) -> int:
        whole = len(view) - len(view) % self._alignment
        if self._direct is not None and whole and not offset % self._alignment:
            try:
                return os.pwrite(self._direct, view[:whole], offset)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                os.close(self._direct)
                self._direct = None
        size = os.pwrite(self._cached, view, offset)
        self._unsynced_bytes += size
        if self._unsynced_bytes >= _SYNC_BYTES:
            os.fdatasync(self._cached)
            self._unsynced_bytes = 0
        return size

    def _read_some(self, offset: int, view: memoryview) -> int:
        whole = len(view) - len(view) % self._alignment
        if self._direct is not None and whole and not offset % self._alignment:
            try:
                return os.preadv(self._direct, [view[:whole]], offset)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
        # Only whole pages can be dropped, and only clean ones: those are, after a flush.
        start = offset - offset % mmap.PAGESIZE
        length = -(-(offset + len(view) - start) // mmap.PAGESIZE) * mmap.PAGESIZE
        os.posix_fadvise(self._cached, start, length, os.POSIX_FADV_DONTNEED)
        return os.preadv(self._cached, [view], offset)

    @property
    def _alignment(self) -> int:
        return _MEMORY_ALIGNMENT if self.disk.is_file else self.disk.logical_block_bytes

    def _punch(self, offset: int, length: int) -> bool:
        aligned = not (offset % _MEMORY_ALIGNMENT or length % _MEMORY_ALIGNMENT)
        if not self._punches or not aligned:
            return False
        if not _libc.fallocate(self._cached, _PUNCH_HOLE, offset, length):
            return True
        fault = ctypes.get_errno()
        if fault not in _UNSUPPORTED:
            with self._faults("written", offset, length):
                raise OSError(fault, os.strerror(fault))
        self._punches = False
        return False

    def _read_steps(self, offset: int, length: int) -> Iterator[tuple[int, memoryview]]:
        memory = buffer(_STEP_BYTES)
        for at in range(offset, offset + length, _STEP_BYTES):
            view = memory[: min(_STEP_BYTES, offset + length - at)]
            self.read(at, view)
            yield at, view

    @contextlib.contextmanager
    def _faults(self, done: str, offset: int = 0, length: int = 0) -> Iterator[None]:
        """Turn a fault of the kernel into what it means; of no length: it may be anywhere."""
        try:
            yield
        except OSError as error:
            path = self.disk.path
            why = _MEANINGS.get(error.errno or 0) or error.strerror or str(error)
            if error.errno in _PULLED or not path.exists():
                message = f"{path} is gone: {why}"
                raise FlashError(message, hint="plug it in again and start over") from error
            if error.errno == errno.EBUSY:
                raise FlashError(f"{path} is in use", hint=f"umount what is on {path}") from error
            if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
                message = f"{path} must not be written: {why}"
                hint = "run it as root, and look at the card's write-protect switch"
                raise FlashError(message, hint=hint) from error
            message = f"{path} cannot be {done}{_sectors(offset, length)}: {why}"
            if self.disk.is_file and error.errno in _FULL:
                raise FlashError(message, hint=f"make room where {path} lies") from error
            raise FlashError(message, hint="use another disk: this one fails") from error


def _sectors(offset: int, length: int) -> str:
    """Tell where something failed, as far as that is known."""
    if not length:
        return ""
    first, last = offset // SECTOR_BYTES, (offset + length - 1) // SECTOR_BYTES
    return f" at sector {first}" if first == last else f", somewhere in sectors {first} to {last}"
