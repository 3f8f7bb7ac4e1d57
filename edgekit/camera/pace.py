"""How many frames a second a source gives by itself, and whether the line held it up."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgekit.camera.numbers import are_counted
from edgekit.camera.record import CameraRecord
from edgekit.camera.record_values import SourceFacts
from edgekit.camera.window import NS, Window
from edgekit.core.camera import PipelineSpec, SourceKind
from edgekit.onboard.camera.numbering import ahead

_LIVE: Final[tuple[SourceKind, ...]] = ("v4l2", "rtsp", "gstreamer")
_DRAWN: Final[SourceKind] = "drawn"
_VIDEO: Final[SourceKind] = "video"
HELD: Final = 0.02
"""Of the time, for which a source may wait for the line and still keep its own pace."""


@dataclass(frozen=True)
class Pace:
    """What a source gives.

    Attributes:
        fps: while it is there, frames that nobody saw too; ``None`` where there is no telling.
        held_share: of the time, for which the line held it up.
    """

    fps: float | None
    held_share: float

    @property
    def is_free(self) -> bool:
        """Whether the line took frames as the source gave them."""
        return self.held_share < HELD


def is_live(source: SourceFacts) -> bool:
    """Tell whether a source gives frames whether somebody takes them or not."""
    return source.kind in _LIVE or (source.kind == _DRAWN and source.fps > 0)


def pace_of(record: CameraRecord, window: Window, asked: PipelineSpec | None = None) -> Pace:
    """Find out a source's pace.

    A camera that stamps and counts its frames tells it whatever the line did. Any other source
    tells it if the line took each frame at once; if not, it is as quick as it was once asked,
    and a file no quicker than it was asked to be.
    """
    chosen = np.flatnonzero(window.chosen)
    if len(chosen) < 2 or not window.seconds:  # noqa: PLR2004 - one interval needs two
        return Pace(None, 0.0)
    into = record.stages[0]
    waited_ns = np.where(into.queued_ns >= 0, into.queued_ns - into.offered_ns, 0)[chosen]
    held_share = float(waited_ns.sum()) / NS / window.seconds
    there = _there(record, chosen)
    if not there.any():
        return Pace(None, held_share)
    begin, end = chosen[:-1][there], chosen[1:][there]
    took_ns = int((record.captured_ns[end] - record.captured_ns[begin]).sum())
    counted = ahead(record.sequence[begin], record.sequence[end])
    own = is_live(record.source) and record.source.timestamps == "capture"
    if own and are_counted(counted):
        return Pace(_rate(int(counted.sum()), took_ns), held_share)
    if held_share < HELD:
        return Pace(_rate(len(begin), took_ns), held_share)
    ready_ns = np.maximum(into.queued_ns[begin], record.arrived_ns[begin])
    fps = _rate(len(begin), int(np.maximum(record.arrived_ns[end] - ready_ns, 0).sum()))
    asked_fps = 0.0 if is_live(record.source) else _asked_fps(record.source, asked)
    return Pace(min(fps or asked_fps, asked_fps) if asked_fps else fps, held_share)


def _asked_fps(source: SourceFacts, asked: PipelineSpec | None) -> float:
    """Return the rate that a file was asked for; 0 for as fast as it can be read."""
    if asked is not None:
        return asked.source.fps
    # A video tells the rate that it was taken with, and is read at that only if asked to.
    return 0.0 if source.kind == _VIDEO else source.fps


def _there(record: CameraRecord, chosen: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Tell of the time between each of some frames and the next whether the source was there."""
    there = np.ones(len(chosen) - 1, np.bool_)
    gone = np.array([each.from_ns for each in record.away], np.int64)
    before = np.searchsorted(record.arrived_ns[chosen], gone, side="right") - 1
    there[before[(before >= 0) & (before < len(there))]] = False
    return there


def _rate(count: int, took_ns: int) -> float | None:
    return count * NS / took_ns if took_ns > 0 else None
