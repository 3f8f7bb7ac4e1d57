"""Frames as a video file by OpenCV, boxes drawn in."""

import os
from typing import Any, Mapping

from edgekit.onboard.camera.frames import Frame
from edgekit.onboard.camera.sinks.boxes import with_boxes
from edgekit.onboard.camera.sinks.sink import cannot_write
from edgekit.onboard.camera.sinks.sized import SizedSink
from edgekit.onboard.faults import RunFailedError

CODECS = {".avi": "MJPG", ".mp4": "mp4v"}
# OpenCV does not say that a disk is full: it is looked at before, and every so many frames.
# What is left is for the file's index, without which an .mp4 cannot be read.
_SPARE_BYTES = 16 << 20
_LOOK_EVERY = 32


class OpenCvSink(SizedSink):
    """Writes ``.avi`` (motion JPEG, readable after a kill) or ``.mp4`` (MPEG-4, which is not).

    It plays at the rate that the source tells: where frames were dropped, faster than life.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._codec = CODECS[os.path.splitext(path)[1].lower()]
        self._path = path
        self._cv2: Any = None
        self._writer: Any = None

    def open(self, facts: Mapping[str, Any]) -> None:
        """Make the file."""
        super().open(facts)
        try:
            import cv2
        except ImportError as error:
            raise RunFailedError(
                "no OpenCV (cv2) on this device, which writes such videos; install python3-opencv, "
                "or give a launch string: gst:appsrc ! ..."
            ) from error
        self._cv2 = cv2
        try:
            with open(self._path, "wb"):
                self._look_for_room()
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def _look_for_room(self) -> None:
        state = os.statvfs(self._path)
        if state.f_bavail * state.f_frsize < _SPARE_BYTES:
            raise RunFailedError(
                "cannot write to %s: less than %d MiB are free there"
                % (self._path, _SPARE_BYTES >> 20)
            )

    def take(self, frame: Frame) -> None:
        """Write it."""
        if self._cv2 is None:
            raise RunFailedError("%s is not open" % self._path)
        if self._is_first(frame):
            self._begin()
        elif self.facts["frames"] % _LOOK_EVERY == 0:
            try:
                self._look_for_room()
            except OSError as error:
                raise cannot_write(self._path, error) from error
        rgb = with_boxes(frame.rgb, frame.answers)
        self._writer.write(self._cv2.cvtColor(rgb, self._cv2.COLOR_RGB2BGR))
        self._count(0)

    def _begin(self) -> None:
        cv2 = self._cv2
        code = cv2.VideoWriter_fourcc(*self._codec)
        writer = cv2.VideoWriter(self._path, code, self._fps, self._size)
        if not writer.isOpened():
            raise RunFailedError(
                "this device's OpenCV %s writes no %s video of %dx%d pixels to %s"
                % (cv2.__version__, self._codec, *self._size, self._path)
            )
        self._writer = writer

    def close(self) -> None:
        """End the file, and look whether it is whole: OpenCV tells of no fault."""
        cv2, self._cv2 = self._cv2, None
        writer, self._writer = self._writer, None
        if cv2 is None or writer is None:
            return
        writer.release()
        try:
            self.facts["bytes"] = os.path.getsize(self._path)
        except OSError as error:
            raise cannot_write(self._path, error) from error
        if not self._has_last_frame(cv2):
            raise RunFailedError(
                "the video at %s is not whole, though OpenCV told of no fault; is the disk full?"
                % self._path
            )

    def _has_last_frame(self, cv2: Any) -> bool:
        """Whether the file's index and the last frame that it names are there."""
        video = cv2.VideoCapture(self._path)
        try:
            if not video.isOpened():
                return False
            if int(video.get(cv2.CAP_PROP_FRAME_COUNT)) != self.facts["frames"]:
                return False
            video.set(cv2.CAP_PROP_POS_FRAMES, self.facts["frames"] - 1)
            return bool(video.read()[0])
        finally:
            video.release()
