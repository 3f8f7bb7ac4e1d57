"""A capture device of Video4Linux, by ioctl: no library, and no NumPy.

Source: the kernel's "Video for Linux API", Input/Output, Streaming I/O (memory mapping).
"""

import ctypes
import errno
import fcntl
import os
from collections import namedtuple
from typing import Any, Callable, List, Optional

from edgekit.onboard.camera import v4l2_layouts as v4l2
from edgekit.onboard.camera.v4l2_buffers import Buffers

_MOST_LISTED = 512  # of anything that a driver counts up: a guard against one that never ends


class Picture(namedtuple("Picture", "format width height stride size")):
    """What frames look like: ``stride`` and ``size`` in bytes."""

    __slots__ = ()


class Device:
    """One open device.

    Args:
        path: of the device file.

    Attributes:
        driver, card: their names.
        identity: both, and where it is plugged in.
        can_stream: whether frames can be captured from it.
        buffers: that it captures into, once it was started.

    Raises:
        OSError: it cannot be opened, or is no V4L2 device.
    """

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            facts = v4l2.Capability()
            self._call(v4l2.QUERYCAP, facts)
        except BaseException:
            os.close(self._fd)
            raise
        self.driver = _text(facts.driver)
        self.card = _text(facts.card)
        self.identity = (self.driver, self.card, _text(facts.bus))
        per_node = facts.capabilities & v4l2.CAP_DEVICE_CAPS
        able = facts.device_caps if per_node else facts.capabilities
        one, planes = able & v4l2.CAP_CAPTURE, able & v4l2.CAP_CAPTURE_PLANES
        self.can_stream = bool((one or planes) and able & v4l2.CAP_STREAMING)
        self._planes = bool(planes and not one)
        self._type = v4l2.CAPTURE_PLANES if self._planes else v4l2.CAPTURE
        self.buffers = Buffers(self._call, self._type)

    def fileno(self) -> int:
        """The open file, for poll."""
        return self._fd

    def formats(self) -> List[str]:
        """The formats that are offered, in the driver's order."""
        return [
            v4l2.name_of(each.format)
            for each in self._listed(
                v4l2.ENUM_FMT, lambda index: v4l2.FormatDescription(index=index, type=self._type)
            )
        ]

    def sizes(self, name: str) -> List[v4l2.FrameSize]:
        """The sizes of a format; none where the driver does not tell."""
        code = v4l2.fourcc(name)
        return self._listed(
            v4l2.ENUM_FRAMESIZES, lambda index: v4l2.FrameSize(index=index, format=code)
        )

    def intervals(self, name: str, width: int, height: int) -> List[v4l2.FrameInterval]:
        """The times from frame to frame; none where the driver does not tell."""
        facts = {"format": v4l2.fourcc(name), "width": width, "height": height}
        return self._listed(
            v4l2.ENUM_FRAMEINTERVALS, lambda index: v4l2.FrameInterval(index=index, **facts)
        )

    def _listed(self, request: int, item: Callable[[int], Any]) -> List[Any]:
        found = []  # type: List[Any]
        for index in range(_MOST_LISTED):
            each = item(index)
            try:
                self._call(request, each)
            except OSError as error:
                if error.errno in (errno.EINVAL, errno.ENOTTY):  # the end, or never told
                    break
                raise
            found.append(each)
        return found

    def picture(self) -> Picture:
        """What frames look like now."""
        asked = v4l2.Format(type=self._type)
        self._call(v4l2.G_FMT, asked)
        return self._read_picture(asked)

    def set_picture(self, name: str, width: int, height: int) -> Picture:
        """Ask for a format and size; the driver answers with what it can do."""
        asked = v4l2.Format(type=self._type)
        part = asked.picture.planes if self._planes else asked.picture.one
        part.width, part.height = width, height
        part.format, part.field = v4l2.fourcc(name), v4l2.FIELD_ANY
        if self._planes:
            part.count = 1
        self._call(v4l2.S_FMT, asked)
        return self._read_picture(asked)

    def _read_picture(self, answer: v4l2.Format) -> Picture:
        part = answer.picture.planes if self._planes else answer.picture.one
        lies = part.planes[0] if self._planes else part
        name = v4l2.name_of(part.format)
        return Picture(name, part.width, part.height, lies.stride, lies.size)

    def set_rate(self, fps: float) -> float:
        """Ask for a rate, or for none with 0; return what the driver says it is, 0 if nothing."""
        asked = v4l2.Parameters(type=self._type)
        try:
            self._call(v4l2.G_PARM, asked)
            capture = asked.of.capture
            if fps and capture.capability & v4l2.CAP_TIME_PER_FRAME:
                capture.numerator, capture.denominator = 1000, round(1000 * fps)
                self._call(v4l2.S_PARM, asked)
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOTTY):
                return 0.0
            raise
        return float(capture.denominator / capture.numerator) if capture.numerator else 0.0

    def exposure_ns(self) -> Optional[int]:
        """How long the sensor gathers light, where the camera tells."""
        control = v4l2.Control(id=v4l2.EXPOSURE_ABSOLUTE)
        try:
            self._call(v4l2.G_CTRL, control)
        except OSError:
            return None
        return int(control.value) * 100000

    def start(self, count: int) -> int:
        """Begin to capture into buffers.

        Args:
            count: how many are wanted; the driver may take more or fewer.

        Returns:
            The driver's flags of its buffers: they say which clock stamps them.
        """
        asked = v4l2.BufferRequest(count=count, type=self._type, memory=v4l2.MEMORY_MMAP)
        self._call(v4l2.REQBUFS, asked)
        flags = self.buffers.map_all(self._fd, asked.count)
        self._call(v4l2.STREAMON, ctypes.c_int32(self._type))
        return flags

    def close(self) -> None:
        """Stop and let go of the device; buffers that are held stay readable until given back."""
        if self._fd < 0:
            return
        try:
            self.buffers.close()
        finally:
            fd, self._fd = self._fd, -1
            os.close(fd)

    def _call(self, request: int, value: Any) -> None:
        while True:
            try:
                fcntl.ioctl(self._fd, request, value, True)
            except InterruptedError:
                continue
            return


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace").strip()
