"""Frames as a video, boxes drawn in: a file, or whatever GStreamer makes of them."""

import contextlib
import os
from typing import Any, List, Mapping, Optional

from edgekit.onboard.camera.frames import Frame
from edgekit.onboard.camera.sinks import matroska, opencv
from edgekit.onboard.camera.sinks.boxes import with_boxes
from edgekit.onboard.camera.sinks.launch import Launched, read_launch
from edgekit.onboard.camera.sinks.pictures import Encoder, find_encoder
from edgekit.onboard.camera.sinks.sink import Sink, cannot_write, needed
from edgekit.onboard.camera.sinks.sized import SizedSink
from edgekit.onboard.faults import RunFailedError

_LAUNCH = "gst:"
_MATROSKA = ".mkv"


def make_video_sink(path: str) -> Sink:
    """A sink for ``gst:appsrc ! ...``, or for a file.

    Raises:
        RunFailedError: the path is neither.
    """
    needed("video", path, "of a file, or a launch string: gst:appsrc ! ...")
    if path.startswith(_LAUNCH):
        return LaunchSink(path)
    suffix = os.path.splitext(path)[1].lower()
    if suffix == _MATROSKA:
        return MatroskaSink(path)
    if suffix in opencv.CODECS:
        return opencv.OpenCvSink(path)
    raise RunFailedError(
        "cannot write a video to %s: its name must end in %s, or be a launch string: "
        "gst:appsrc ! ..." % (path, ", ".join(sorted([_MATROSKA, *opencv.CODECS])))
    )


class MatroskaSink(SizedSink):
    """Writes ``.mkv``: a JPEG for each frame, at the time of its capture.

    The file is whole after every frame, whatever becomes of the run.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._path = path
        self._file: Optional[int] = None
        self._encoder: Optional[Encoder] = None
        self._first_ns = 0

    def open(self, facts: Mapping[str, Any]) -> None:
        """Make the file."""
        super().open(facts)
        self._encoder = find_encoder()
        if self._encoder.format != "jpeg":
            raise RunFailedError(
                "neither OpenCV (cv2) nor Pillow is on this device, one of which such a video "
                "needs; install python3-opencv, or give a launch string: gst:appsrc ! ..."
            )
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o644)
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def take(self, frame: Frame) -> None:
        """Write it."""
        if self._file is None or self._encoder is None:
            raise RunFailedError("%s is not open" % self._path)
        picture = self._encoder.encode(with_boxes(frame.rgb, frame.answers))
        data = b""
        if self._is_first(frame):
            self._first_ns = frame.captured.captured_ns
            data = matroska.head(matroska.JPEG, self._size, self._fps)
        after_ns = frame.captured.captured_ns - self._first_ns
        self._write(self._file, data + matroska.block_head(len(picture), after_ns) + picture)

    def _write(self, file: int, data: bytes) -> None:
        try:
            written = os.write(file, data)
            while written < len(data):
                written += os.write(file, data[written:])
        except OSError as error:
            with contextlib.suppress(OSError):  # the fault that is told is the first one
                os.ftruncate(file, self.facts["bytes"])
            raise cannot_write(self._path, error) from error
        self._count(len(data))

    def close(self) -> None:
        """Bring the file to the disk."""
        file, self._file = self._file, None
        if file is None:
            return
        try:
            os.fsync(file)
        except OSError as error:
            raise cannot_write(self._path, error) from error
        finally:
            os.close(file)


class LaunchSink(SizedSink):
    """Feeds ``gst:appsrc ! ...``: an encoder of the board's own, a stream over the network.

    Frames keep the times of their capture, from the first one on.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._elements = read_launch(path[len(_LAUNCH) :])
        self._launched: Optional[Launched] = None
        self._failed = False
        self._first_ns = 0

    def open(self, facts: Mapping[str, Any]) -> None:
        """Start it."""
        super().open(facts)
        self._launched, self._failed = Launched(self._elements), False

    def take(self, frame: Frame) -> None:
        """Hand it over; waits while the pipeline has no room."""
        if self._launched is None or self._failed:
            raise RunFailedError("%s is not open" % self.facts["path"])
        lines = matroska.lines_of(with_boxes(frame.rgb, frame.answers))
        pieces: List[Any] = []
        if self._is_first(frame):
            self._first_ns = frame.captured.captured_ns
            pieces.append(matroska.head(matroska.RGB, self._size, self._fps))
        after_ns = frame.captured.captured_ns - self._first_ns
        pieces += [matroska.block_head(lines.nbytes, after_ns), lines]
        try:
            self._launched.feed(pieces)
        except RunFailedError:
            self._failed = True
            raise
        self._count(lines.nbytes)

    def close(self) -> None:
        """Let it end by itself; one that failed was told of, and is ended."""
        launched, self._launched = self._launched, None
        if launched is None:
            return
        # A stream without a frame would be a fault to GStreamer.
        if self._failed or not self.facts["frames"]:
            launched.end()
        else:
            launched.finish()
