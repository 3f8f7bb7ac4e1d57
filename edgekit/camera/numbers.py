"""The driver's own numbers of frames: whether they count them, and what is unseen if not."""

from typing import Final

import numpy as np

from edgekit.camera.frame_rows import Column
from edgekit.camera.record import CameraRecord

_MOSTLY: Final = 0.9
_UNNUMBERED: Final = frozenset({"rtsp", "gstreamer"})  # a file's frames wait, and none is lost
_CAMERA: Final = "v4l2"
_TELLING: Final = 10  # of so many frames some have other numbers, where frames are numbered


def are_counted(steps: Column) -> bool:
    """Tell whether numbers count frames, by how much each is ahead of the one before.

    One that comes twice now and then, where another was passed over, does not change their sum.
    """
    return bool((steps >= 0).all() and np.count_nonzero(steps) >= _MOSTLY * len(steps))


def lost_unseen(record: CameraRecord) -> str:
    """Say why frames that were lost before the line cannot be counted; empty where they are."""
    source, sequence = record.source, record.sequence
    if source.kind in _UNNUMBERED and (sequence < 0).all():
        return f"{source.kind} gives no sequence numbers"
    if source.kind == _CAMERA and record.frames >= _TELLING and not np.diff(sequence).any():
        return "the driver gives all frames one number"
    return ""
