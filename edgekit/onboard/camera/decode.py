"""The stage ``decode``: what the source gave becomes a picture, in memory that is used again."""

from typing import List, Optional

import numpy as np

from edgekit.onboard.arrays import Array
from edgekit.onboard.camera.frames import Frame
from edgekit.onboard.camera.pixels import to_rgb
from edgekit.onboard.camera.reduction import Reduction
from edgekit.onboard.camera.stage import CorruptFrameError


class Decoder:
    """Decodes frames.

    Args:
        reduction: says how small pictures may be.
        most: how many pictures' memory is kept for those to come.
    """

    def __init__(self, reduction: Reduction, most: int) -> None:
        self._reduction, self._most = reduction, most
        self._buffers: List[Array] = []

    def decode(self, frames: List[Frame]) -> None:
        """Make frames RGB, and give the source its buffers back.

        Raises:
            CorruptFrameError: the content of one cannot be read.
        """
        for frame in frames:
            captured = frame.captured
            by = self._reduction.by(captured)
            try:
                frame.rgb = to_rgb(captured, self._buffer(frame, by), by)
            except ValueError as error:
                raise CorruptFrameError(str(error)) from error
            if not np.may_share_memory(frame.rgb, np.asarray(captured.data)):
                frame.release()

    def keep(self, frame: Frame) -> None:
        """Take an ended frame's memory back."""
        # What was asked of the system anew for each frame would be cleared by it each time.
        rgb, frame.rgb = frame.rgb, None
        if rgb is not None and rgb.base is None and len(self._buffers) < self._most:
            self._buffers.append(rgb)

    def _buffer(self, frame: Frame, by: int) -> Optional[Array]:
        if not self._buffers:
            return None
        buffer = self._buffers.pop()
        height, width, channels = frame.shape
        # A folder's images differ in size.
        return buffer if buffer.shape == (height // by, width // by, channels) else None
