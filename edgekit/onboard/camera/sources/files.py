"""What sources that read files have in common: a file waits, so no frame of it is ever lost."""

import time
from collections import deque, namedtuple
from typing import Any, Callable, Deque, Mapping, Optional, Sequence

import numpy as np

from edgekit.onboard.arrays import Array
from edgekit.onboard.camera.frames import Captured, Source
from edgekit.onboard.faults import RunFailedError
from edgekit.onboard.timing import clock_ns

_NS = 1000000000


class Wanted(namedtuple("Wanted", "name width height format fps")):
    """What a pipeline's table asks of a source."""

    __slots__ = ()


def read_wanted(table: Mapping[str, Any]) -> Wanted:
    """Read the table; what it lacks is empty or 0."""
    return Wanted(
        str(table.get("name") or ""),
        int(table.get("width") or 0),
        int(table.get("height") or 0),
        str(table.get("format") or ""),
        float(table.get("fps") or 0),
    )


def check_wanted(wanted: Wanted, what: str, format_name: str, size: Sequence[int]) -> None:
    """Refuse a format or a width and height that what there is does not have.

    Raises:
        RunFailedError: it says what there is.
    """
    for asked, there in ((wanted.width, size[0]), (wanted.height, size[1])):
        if asked and asked != there:
            raise RunFailedError(
                "%s has %dx%d pixels, not %sx%s: leave the size out, or ask for that one"
                % (what, size[0], size[1], wanted.width or "any", wanted.height or "any")
            )
    if wanted.format and wanted.format != format_name:
        raise RunFailedError(
            "%s gives frames of %s, not of %s: leave the format out"
            % (what, format_name, wanted.format)
        )


class Pool:
    """Memory of frames that were given back, for those to come: new memory costs page faults."""

    def __init__(self) -> None:
        self._free: Deque[Array] = deque(maxlen=8)

    def take(self, shape: Sequence[int]) -> Array:
        """Return ``uint8`` of a shape; what it holds is anybody's."""
        while True:
            try:
                array = self._free.pop()
            except IndexError:
                return np.empty(tuple(shape), np.uint8)
            if array.shape == tuple(shape):
                return array

    def giver(self, array: Array) -> Callable[[], None]:
        """Return what gives it back, once."""
        held = [array]

        def give() -> None:
            if held:
                self._free.append(held.pop())

        return give


class Picture(namedtuple("Picture", "data format width height")):
    """One picture of a file: its bytes without gaps, ``None`` where they cannot be read."""

    __slots__ = ()


class FileSource(Source):
    """Pictures one after another: as fast as they are read, or at the rate that is asked for.

    A frame is taken when it is read. One that is asked for late comes late, and so do all that
    follow: a file does not run away.
    """

    def __init__(self, table: Mapping[str, Any]) -> None:
        super().__init__()
        self._wanted = read_wanted(table)
        self._pool = Pool()
        self._count = 0
        self._due_ns = 0

    def _next(self) -> Picture:
        """The next picture; raises ``SourceEnded`` where there is none."""
        raise NotImplementedError

    def read(self, timeout_s: float) -> Optional[Captured]:
        """Return the next frame: see :class:`Source`."""
        if self._wanted.fps:
            wait_s = (self._due_ns - clock_ns()) / _NS
            if wait_s > 0:
                time.sleep(min(wait_s, timeout_s))
            if wait_s > timeout_s:
                return None
        captured_ns = clock_ns()
        picture = self._next()
        if self._wanted.fps:
            interval_ns = int(_NS / self._wanted.fps)
            late = captured_ns - self._due_ns > interval_ns
            self._due_ns = (captured_ns if late else self._due_ns) + interval_ns
        corrupt = picture.data is None
        data = np.empty(0, np.uint8) if corrupt else picture.data
        number, self._count = self._count, self._count + 1
        return Captured(
            *(data, picture.format, picture.width, picture.height, 0),
            *(captured_ns, clock_ns(), number, corrupt),
            self._pool.giver(data) if data.size else _nothing,
        )


def _nothing() -> None:
    """Give back a frame that has no memory."""


def opencv(what: str) -> Any:
    """Import OpenCV.

    Raises:
        RunFailedError: it is not here; the message names the package.
    """
    try:
        import cv2
    except ImportError as error:
        raise RunFailedError(
            "%s needs OpenCV on the board: pip install opencv-python-headless" % what
        ) from error
    return cv2
