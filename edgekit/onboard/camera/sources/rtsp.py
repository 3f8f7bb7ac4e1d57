"""Network cameras, through OpenCV's FFmpeg."""

import contextlib
import os
from typing import Any, Iterator, Mapping, Optional

from edgekit.onboard.camera.frames import Captured, Source, SourceLostError
from edgekit.onboard.camera.passwords import without_passwords
from edgekit.onboard.camera.sources.files import Pool, check_wanted, opencv, read_wanted
from edgekit.onboard.camera.sources.video import FORMAT, told_fps
from edgekit.onboard.faults import RunFailedError
from edgekit.onboard.timing import clock_ns

_OPEN_S = 10.0
_SILENT_S = 5.0  # a stream that says nothing for so long has stalled
# FFmpeg would watch the stream for seconds to find its rate, and hand out what came meanwhile
# afterwards, as if it had just arrived.
_AT_ONCE = "rtsp_transport;tcp|fflags;nobuffer|fpsprobesize;0"
_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"  # the only way by which OpenCV takes such options


class RtspSource(Source):
    """A stream. Its frames are stamped on arrival: the sender's clock is not this one.

    The rate that it tells is only told: cameras are often wrong about it. OpenCV cannot be asked to
    wait shorter than until the stream counts as stalled, so ``read`` may take that long.
    """

    def __init__(
        self, table: Mapping[str, Any], open_s: float = _OPEN_S, silent_s: float = _SILENT_S
    ) -> None:
        super().__init__()
        self._wanted = read_wanted(table)
        self._limits_s = (open_s, silent_s)
        self._pool = Pool()
        self._stream: Any = None
        self._was_open = False
        self._shown = without_passwords(self._wanted.name)

    def open(self) -> None:
        """Begin to capture: see :class:`Source`."""
        if "://" not in self._wanted.name:
            raise RunFailedError("%s is no URL such as rtsp://camera/stream" % self._shown)
        cv2 = opencv("stream %s" % self._shown)
        limits = [
            *(cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, int(1000 * self._limits_s[0])),
            *(cv2.CAP_PROP_READ_TIMEOUT_MSEC, int(1000 * self._limits_s[1])),
        ]
        with _settings(_AT_ONCE):
            stream = cv2.VideoCapture(self._wanted.name, cv2.CAP_FFMPEG, limits)
        if not stream.isOpened():
            words = "stream %s does not answer as one" % self._shown
            raise SourceLostError(words) if self._was_open else RunFailedError(words)
        size = (
            int(stream.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(stream.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )
        try:
            check_wanted(self._wanted, "stream %s" % self._shown, FORMAT, size)
        except RunFailedError:
            stream.release()
            raise
        self._stream, self._was_open, self._size = stream, True, size
        self.facts = {
            "kind": "rtsp",
            "name": self._shown,
            "driver": "opencv ffmpeg",
            "card": "",
            "format": FORMAT,
            "width": size[0],
            "height": size[1],
            "fps": told_fps(stream.get(cv2.CAP_PROP_FPS)),
            "timestamps": "arrival",
            "offered": [],
        }

    def read(self, timeout_s: float) -> Optional[Captured]:  # noqa: ARG002 - FFmpeg has its own
        """Return the next frame: see :class:`Source`."""
        if self._stream is None or not self._stream.grab():
            raise SourceLostError(
                "stream %s has ended, or gave nothing for %.3g s" % (self._shown, self._limits_s[1])
            )
        captured_ns = clock_ns()
        place = self._pool.take((self._size[1], self._size[0], 3))
        good, image = self._stream.retrieve(place)
        corrupt = not good or image is None
        data = place if corrupt else image
        return Captured(
            *(data, FORMAT, data.shape[1], data.shape[0], 0),
            # Now it is made of the decoder's planes: that took time which is the source's.
            *(captured_ns, clock_ns(), -1, corrupt),
            self._pool.giver(data),
        )

    def close(self) -> None:
        """Stop capturing: see :class:`Source`."""
        stream, self._stream = self._stream, None
        if stream is not None:
            stream.release()


@contextlib.contextmanager
def _settings(options: str) -> Iterator[None]:
    """Let FFmpeg have these options; those that the user has set hold instead."""
    if _VARIABLE in os.environ:
        yield
        return
    os.environ[_VARIABLE] = options
    try:
        yield
    finally:
        os.environ.pop(_VARIABLE, None)
