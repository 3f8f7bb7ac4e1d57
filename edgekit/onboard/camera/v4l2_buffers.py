"""Buffers that a camera captures into, by mmap.

Source: the kernel's "Video for Linux API", Input/Output, Streaming I/O (memory mapping).
"""

import contextlib
import ctypes
import os
import threading
from collections import namedtuple
from typing import Any, Callable, Dict, Optional, Set

from edgekit.onboard.camera import v4l2_layouts as v4l2

_READ_WRITE = 3  # PROT_READ | PROT_WRITE; to read alone some drivers do not allow
_SHARED = 1  # MAP_SHARED


class Arrived(namedtuple("Arrived", "index data flags stamp_ns sequence")):
    """A buffer that the driver has filled.

    Attributes:
        index: of the buffer, to be given back.
        data: its memory, as far as it was filled.
        flags: the driver's.
        stamp_ns: the driver's stamp.
        sequence: the driver's count of frames, those that it lost included.
    """

    __slots__ = ()

    @property
    def is_corrupt(self) -> bool:
        """Whether the driver says that the content is not to be trusted."""
        return bool(self.flags & v4l2.FLAG_ERROR) or not len(self.data)


class Buffers:
    """The mapped buffers of a device that captures.

    They outlive the device: a frame on its way holds one, and the memory of it must not go.
    Python's own mmap would keep the device open as long, so that it stayed busy.

    Args:
        call: does an ioctl on the device.
        of_type: V4L2's type of the buffers.
    """

    def __init__(self, call: Callable[[int, Any], None], of_type: int) -> None:
        self._call = call
        self._type = of_type
        self._planes = of_type == v4l2.CAPTURE_PLANES
        self._mapped: Dict[int, Any] = {}
        self._held: Set[int] = set()
        self._queued = 0
        self._closed = False
        self._change = threading.Condition()

    def __len__(self) -> int:
        return len(self._mapped)

    def map_all(self, fd: int, count: int) -> int:
        """Map the buffers that the device was asked for, and hand them to the driver.

        Returns:
            The driver's flags of them.
        """
        flags = 0
        for index in range(count):
            buffer, plane = self._buffer(index)
            self._call(v4l2.QUERYBUF, buffer)
            lies = plane if self._planes else buffer
            self._mapped[index] = _map(fd, lies.length, lies.where.offset)
            flags = buffer.flags
            self._queue(index)
        return flags

    def _buffer(self, index: int) -> Any:
        """A buffer's structure, and its plane, which must live as long."""
        buffer = v4l2.Buffer(index=index, type=self._type, memory=v4l2.MEMORY_MMAP)
        plane = (v4l2.Plane * v4l2.MOST_PLANES)()
        if self._planes:
            buffer.length = v4l2.MOST_PLANES
            buffer.where.pointer = ctypes.addressof(plane)
        return buffer, plane[0]

    def _queue(self, index: int) -> None:
        buffer, _plane = self._buffer(index)
        self._call(v4l2.QBUF, buffer)
        self._queued += 1

    def wait_for_one(self, timeout_s: float) -> bool:
        """Wait until the driver has one to fill; it has none while readers hold them all."""
        with self._change:
            return self._change.wait_for(lambda: self._queued > 0, timeout_s)

    def take(self) -> Optional[Arrived]:
        """Take a filled one, if there is any.

        Raises:
            OSError: the device is gone, or has failed.
        """
        buffer, plane = self._buffer(0)
        with self._change:
            try:
                self._call(v4l2.DQBUF, buffer)
            except BlockingIOError:
                return None
            index = int(buffer.index)
            self._queued -= 1
            self._held.add(index)
        memory = self._mapped[index]
        first, used = (plane.first, plane.used) if self._planes else (0, buffer.used)
        stamp_ns = buffer.seconds * 1000000000 + buffer.microseconds * 1000
        data = memoryview(memory).cast("B")[first : max(first, used)]
        return Arrived(index, data, buffer.flags, stamp_ns, int(buffer.sequence))

    def giver(self, index: int) -> Callable[[], None]:
        """Return what gives one back: for any thread, once, also after :meth:`close`."""

        def give() -> None:
            with self._change:
                if index not in self._held:
                    return
                self._held.discard(index)
                if self._closed:
                    _unmap(self._mapped.pop(index))
                    return
                try:
                    self._queue(index)
                except OSError:
                    return  # the device is gone; whoever reads from it is told
                self._change.notify_all()

        return give

    def close(self) -> None:
        """Stop, so that others can use the device even while frames are held."""
        with self._change:
            self._closed = True
            _quietly(self._call, v4l2.STREAMOFF, ctypes.c_int32(self._type))
            for index in set(self._mapped) - self._held:
                _unmap(self._mapped.pop(index))
            # Kernels before 5.0 refuse it while frames are held, and stay busy until they are not.
            nothing = v4l2.BufferRequest(count=0, type=self._type, memory=v4l2.MEMORY_MMAP)
            _quietly(self._call, v4l2.REQBUFS, nothing)


def _quietly(call: Callable[[int, Any], None], request: int, value: Any) -> None:
    # A device that is gone cannot be stopped, and need not be.
    with contextlib.suppress(OSError):
        call(request, value)


_libc = ctypes.CDLL(None, use_errno=True)
# glibc's mmap takes a 32-bit offset on 32-bit systems; others have only one, of 64 bits.
_mmap = getattr(_libc, "mmap64", None) or _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_int64]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


def _map(fd: int, length: int, offset: int) -> Any:
    """A device's memory, as an array of bytes."""
    address = _mmap(None, length, _READ_WRITE, _SHARED, fd, offset)
    if address is None or address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return (ctypes.c_uint8 * length).from_address(address)


def _unmap(memory: Any) -> None:
    _libc.munmap(ctypes.addressof(memory), ctypes.sizeof(memory))
