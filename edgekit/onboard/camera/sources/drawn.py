"""Frames that are drawn on the board, each with its number in the pixels.

By the number whoever has the frame in hand, however it was converted, knows which one it is: order
and loss can be checked exactly.
"""

import time
from collections import deque
from typing import Any, Deque, Mapping, Optional

import numpy as np

from edgekit.onboard.arrays import Array
from edgekit.onboard.camera.frames import Captured, Source
from edgekit.onboard.camera.pixels import FORMATS, packed_stride, to_rgb
from edgekit.onboard.camera.sources.files import Pool, opencv, read_wanted
from edgekit.onboard.faults import RunFailedError
from edgekit.onboard.timing import clock_ns

_NS = 1000000000
_SIZE = (640, 480)  # where none is asked for
_BUFFERS = 4  # frames that the camera keeps for a reader who is late
_COLUMNS, _ROWS = 8, 4  # of blocks: 24 bits of the number, then 8 that check them
_BITS = 24
_LARGEST_BLOCK, _LEAST_BLOCK = 16, 2  # pixels
_MOST_EDGE = 8192  # larger ones take the memory of a whole board
_MIDDLE = 127.5  # between black and white
_PLANAR = ("NV12", "NV21", "YU12")
_PAIRED = (*_PLANAR, "YUYV", "UYVY")
_JPEG = ("MJPG", "JPEG")


class DrawnSource(Source):
    """A camera without a camera.

    With a rate it takes frames whether they are read or not: ``captured_ns`` is when one was due,
    and of those that nobody read in time it loses what its buffers do not hold, which its sequence
    shows. Without one it waits for its reader and loses none.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        super().__init__()
        wanted = read_wanted(table)
        self._fps = wanted.fps
        self._format = wanted.format or "YUYV"
        self._width = wanted.width or _SIZE[0]
        self._height = wanted.height or _SIZE[1]
        self._pool = Pool()
        self._filled: Deque[int] = deque()
        self._next = 0
        self._start_ns = 0

    def open(self) -> None:
        """Begin to capture: see :class:`Source`."""
        self._picture = _Picture(self._format, self._width, self._height)
        self.facts = {
            "kind": "drawn",
            "name": "",
            "driver": "edgekit",
            "card": "drawn frames",
            "format": self._format,
            "width": self._width,
            "height": self._height,
            "fps": self._fps,
            "timestamps": "capture",
            "buffers": _BUFFERS if self._fps else 0,
            "offered": ["%s of any size and rate" % name for name in FORMATS],
        }
        self._filled.clear()
        self._next = 0
        self._start_ns = clock_ns()

    def read(self, timeout_s: float) -> Optional[Captured]:
        """Return the next frame: see :class:`Source`."""
        if not self._fps:
            number, self._next = self._next, self._next + 1
            return self._drawn(number, clock_ns())
        self._fill()
        if not self._filled:
            wait_s = (self._due_ns(self._next) - clock_ns()) / _NS
            time.sleep(max(0.0, min(wait_s, timeout_s)))
            self._fill()
        if not self._filled:
            return None
        number = self._filled.popleft()
        return self._drawn(number, self._due_ns(number))

    def _due_ns(self, number: int) -> int:
        return self._start_ns + int(number * _NS / self._fps)

    def _fill(self) -> None:
        """Put into the buffers what was due until now, as far as they hold it."""
        now_ns, number = clock_ns(), self._next
        while self._due_ns(number) <= now_ns:
            if len(self._filled) < _BUFFERS:
                self._filled.append(number)
            number += 1
        self._next = number

    def _drawn(self, number: int, captured_ns: int) -> Captured:
        frame = self._picture.draw(number, self._pool)
        data, release = frame, self._pool.giver(frame)
        if self._format in _JPEG:
            data = self._picture.as_jpeg(frame)
            release()
        stride = 0 if self._format in _JPEG else packed_stride(self._format, self._width)
        return Captured(
            *(data, self._format, self._width, self._height, stride),
            *(captured_ns, clock_ns(), number, False),
            release,
        )

    def close(self) -> None:
        """Stop capturing: see :class:`Source`."""
        self._filled.clear()


class _Picture:
    """A background in one format, and what is drawn over it.

    Raises:
        RunFailedError: there are no such frames.
    """

    def __init__(self, name: str, width: int, height: int) -> None:
        self._block = _block(width, height)
        if name not in FORMATS:
            raise RunFailedError(
                "frames of %s cannot be drawn; those of %s can" % (name, ", ".join(FORMATS))
            )
        why = _undrawable(name, width, height)
        if why:
            raise RunFailedError(
                "frames of %s with %dx%d pixels cannot be drawn: %s" % (name, width, height, why)
            )
        self._cv2: Any = opencv("drawing frames of %s" % name) if name in _JPEG else None
        self._name = "BGR3" if name in _JPEG else name
        self._width, self._height = width, height
        self._dark, self._bright = (16, 235) if name in _PAIRED else (0, 255)
        self._background = _background(self._name, width, height, self._block)

    def draw(self, number: int, pool: Pool) -> Array:
        frame = pool.take(self._background.shape)
        np.copyto(frame, self._background)
        levels = self._levels(frame)
        rows, columns = _ROWS * self._block, _COLUMNS * self._block
        bits = np.kron(_bits(number), np.ones((self._block, self._block), np.uint8))
        shades = np.where(bits, self._bright, self._dark)
        levels[:rows, :columns] = shades[:, :, None] if levels.ndim > shades.ndim else shades
        bar = 4 * number % self._width
        levels[rows:, bar : bar + 8] = self._bright
        return frame

    def as_jpeg(self, frame: Array) -> Array:
        shape = (self._height, self._width, 3)
        return np.asarray(self._cv2.imencode(".jpg", frame.reshape(shape))[1]).reshape(-1)

    def _levels(self, frame: Array) -> Array:
        """The brightness of each pixel, to be written to."""
        height, width = self._height, self._width
        if self._name in ("RGB3", "BGR3"):
            return frame.reshape(height, width, 3)
        if self._name in ("YUYV", "UYVY"):
            return frame.reshape(height, width, 2)[:, :, 0 if self._name == "YUYV" else 1]
        return frame[: height * width].reshape(height, width)


def _undrawable(name: str, width: int, height: int) -> str:
    if name in _PAIRED and width % 2:
        return "two pixels share their colour, so the width is an even number"
    if name in _PLANAR and height % 2:
        return "two lines share their colour, so the height is an even number"
    if max(width, height) > _MOST_EDGE:
        return "no edge is longer than %d" % _MOST_EDGE
    return "" if _block(width, height) else "they have no room for a number"


def _block(width: int, height: int) -> int:
    edge = min(width // _COLUMNS, height // _ROWS, _LARGEST_BLOCK)
    return edge if edge >= _LEAST_BLOCK else 0


def _background(name: str, width: int, height: int, block: int) -> Array:
    """A frame whose colours change slowly, grey where the number comes: all bytes in a row."""
    even = (height + height % 2, width + width % 2)
    y = np.empty(even, np.uint8)
    y[...] = np.linspace(50, 180, even[1]).astype(np.uint8)
    u, v = (np.empty((even[0] // 2, even[1] // 2), np.uint8) for _ in range(2))
    u[...] = np.linspace(90, 166, even[0] // 2).astype(np.uint8)[:, None]
    v[...] = np.linspace(166, 90, even[1] // 2).astype(np.uint8)
    for plane in (u, v):
        plane[: _ROWS * block // 2 + 1, : _COLUMNS * block // 2 + 1] = 128
    if name == "GREY":
        parts = [y[:height, :width]]
    elif name in ("RGB3", "BGR3"):
        planes = np.concatenate([y.reshape(-1), u.reshape(-1), v.reshape(-1)])
        rgb = to_rgb(Captured(planes, "YU12", even[1], even[0], 0, 0, 0, 0, False, None))
        parts = [rgb[:height, :width, :: 1 if name == "RGB3" else -1]]
    elif name in _PLANAR:
        orders = {
            "NV12": np.stack([u, v], 2),
            "NV21": np.stack([v, u], 2),
            "YU12": np.stack([u, v]),
        }
        parts = [y, orders[name]]
    else:
        u, v = (np.repeat(plane, 2, axis=0)[:height] for plane in (u, v))
        pairs = y[:height].reshape(height, -1, 2)
        order = [pairs[:, :, 0], u, pairs[:, :, 1], v]
        if name == "UYVY":
            order = [u, pairs[:, :, 0], v, pairs[:, :, 1]]
        parts = [np.stack(order, 2)]
    return np.concatenate([np.ascontiguousarray(part).reshape(-1) for part in parts])


def _bits(number: int) -> Array:
    """Number and check as ``uint8[4, 8]`` of 0 and 1, the highest bit first."""
    number &= (1 << _BITS) - 1
    word = np.array([number << 8 | _check(number)], ">u4")
    return np.unpackbits(word.view(np.uint8)).reshape(_ROWS, _COLUMNS)


def _check(number: int) -> int:
    """Eight bits that all others take part in; those of black and of white frames fail."""
    return (number * 0x9E3779B1 >> 16 ^ 0xA5) & 0xFF


def number_of(rgb: Array) -> int:
    """Read the number that was drawn into a frame.

    Args:
        rgb: ``uint8[H, W, 3]``, of the size that was drawn.

    Returns:
        The number (of 24 bits); -1 where there is none to be read.
    """
    block = _block(rgb.shape[1], rgb.shape[0])
    if not block:
        return -1
    part = rgb[: _ROWS * block, : _COLUMNS * block].astype(np.float32).mean(axis=2)
    means = part.reshape(_ROWS, block, _COLUMNS, block).mean(axis=(1, 3))
    word = int.from_bytes(np.packbits(means > _MIDDLE).tobytes(), "big")
    number = word >> 8
    return number if word & 0xFF == _check(number) else -1
