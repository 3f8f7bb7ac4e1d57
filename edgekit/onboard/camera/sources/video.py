"""Video files, through OpenCV."""

import math
import os
from typing import Any, Mapping

from edgekit.onboard.camera.frames import SourceEnded
from edgekit.onboard.camera.sources.files import FileSource, Picture, check_wanted, opencv
from edgekit.onboard.faults import RunFailedError

_MOST_FPS = 1000  # told by no camera; a container that tells more tells its clock
_MOST_FRAMES = 1 << 24  # two days of them; more is no number that a container has counted
FORMAT = "BGR3"  # as OpenCV hands them out
# Of a video that is one JPEG after another each can be decoded apart: that is left to the decoder's
# own stage, beside the reading.
JPEG = "MJPG"
_JPEG_VIDEOS = ("MJPG", "mjpg", "JPEG", "jpeg")


class VideoSource(FileSource):
    """The frames of a file. What cannot be decoded is corrupt, or left out by the decoder."""

    def __init__(self, table: Mapping[str, Any]) -> None:
        super().__init__(table)
        self._video: Any = None
        self._format = FORMAT

    def open(self) -> None:
        """Begin to capture: see :class:`Source`."""
        name = self._wanted.name
        cv2 = opencv("video %s" % name)
        if not os.path.isfile(name):
            raise RunFailedError("there is no video %s" % name)
        video = cv2.VideoCapture(name)
        if not video.isOpened():
            raise RunFailedError("%s cannot be read as a video" % name)
        self._size = (
            int(video.get(cv2.CAP_PROP_FRAME_WIDTH)),
            int(video.get(cv2.CAP_PROP_FRAME_HEIGHT)),
        )
        self._format = JPEG if _gives_jpegs(cv2, video) else FORMAT
        check_wanted(self._wanted, "video %s" % name, self._format, self._size)
        self._video = video
        self._told = int(min(_MOST_FRAMES, max(0, video.get(cv2.CAP_PROP_FRAME_COUNT))))
        self._count = self._broken = 0
        self._ready = False
        self.facts = {
            "kind": "video",
            "name": name,
            "driver": "opencv %s" % video.getBackendName().lower(),
            "card": "",
            "format": self._format,
            "width": self._size[0],
            "height": self._size[1],
            "fps": self._wanted.fps or told_fps(video.get(cv2.CAP_PROP_FPS)),
            "timestamps": "capture",
            "offered": [],
        }

    def close(self) -> None:
        """Stop capturing: see :class:`Source`."""
        video, self._video = self._video, None
        if video is not None:
            video.release()

    def _next(self) -> Picture:
        if not self._broken and not self._ready:
            self._broken = self._grab()
            self._ready = True
        if self._broken:
            self._broken -= 1
            return Picture(None, self._format, *self._size)
        self._ready = False
        decoded = self._format == FORMAT
        place = self._pool.take((self._size[1], self._size[0], 3)) if decoded else None
        good, image = self._video.retrieve(place)
        if not good or image is None:
            return Picture(None, self._format, *self._size)
        if not decoded:
            return Picture(image.reshape(-1), self._format, *self._size)
        return Picture(image, self._format, image.shape[1], image.shape[0])

    def _grab(self) -> int:
        """Take up the next frame that can be decoded; return how many before it could not.

        A decoder that fails and one that is at the end say the same. So it is asked again, as
        often as the container has frames to come.
        """
        for broken in range(max(1, self._told - self._count)):
            if self._video is not None and self._video.grab():
                return broken
        raise SourceEnded("video %s is at its end" % self._wanted.name)


def _gives_jpegs(cv2: Any, video: Any) -> bool:
    """Have the frames of a video of JPEGs handed out as they are; tell whether that is so."""
    code = int(video.get(cv2.CAP_PROP_FOURCC)) & 0xFFFFFFFF
    name = code.to_bytes(4, "little").decode("latin-1")
    return name in _JPEG_VIDEOS and bool(video.set(cv2.CAP_PROP_FORMAT, -1))


def told_fps(fps: float) -> float:
    """What a container says of its rate, 0 where that cannot be a number of frames."""
    return float(fps) if math.isfinite(fps) and 0 < fps <= _MOST_FPS else 0.0
