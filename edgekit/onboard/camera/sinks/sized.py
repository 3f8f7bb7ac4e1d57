"""What sinks have in common that make one video of all frames."""

from typing import Any, Mapping

from edgekit.onboard.camera.frames import Frame
from edgekit.onboard.camera.sinks.sink import Sink

_USUAL_FPS = 30.0  # where the source tells none


class SizedSink(Sink):
    """Takes frames that are all of the first one's size."""

    kind = "video"

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self._fps = _USUAL_FPS
        self._size = (0, 0)

    def open(self, facts: Mapping[str, Any]) -> None:
        """Take up the source's rate."""
        self._fps = float(facts.get("fps") or 0) or _USUAL_FPS
        self._size = (0, 0)

    def _is_first(self, frame: Frame) -> bool:
        height, width = frame.rgb.shape[:2]
        if self._size == (0, 0):
            self._size = (width, height)
            return True
        if self._size != (width, height):
            raise ValueError(
                "frame %d is of %dx%d pixels, the video of %dx%d"
                % (frame.number, width, height, *self._size)
            )
        return False
