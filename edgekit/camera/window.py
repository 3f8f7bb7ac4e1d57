"""The part of a run that its times and rates are of."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgekit.camera.record import CameraRecord

NS: Final = 1_000_000_000
_WARMUP_NS: Final = NS
_LEAST_NS: Final = 5 * NS
_INFERENCE: Final = "inference"


@dataclass(frozen=True, eq=False)
class Window:
    """From the end of the warm-up to the last frame's end.

    Attributes:
        from_ns, to_ns: of the device's clock.
        began_ns: when the first frame was captured.
        chosen: bool[frames]: those that were captured in it.
    """

    from_ns: int
    to_ns: int
    began_ns: int
    chosen: NDArray[np.bool_]

    @property
    def seconds(self) -> float:
        """How long it is."""
        return (self.to_ns - self.from_ns) / NS

    @property
    def warmup_s(self) -> float:
        """How long the part before is that was left out."""
        return (self.from_ns - self.began_ns) / NS


def window_of(record: CameraRecord) -> Window:
    """Leave out how a run began, where it is long enough.

    A run of five seconds or more is counted from its first second on; where the first inference
    ended later (an engine that still warms), from its end on. If that is more than half of the
    run, or the run is shorter, nothing is left out.
    """
    if not record.frames:
        start_ns, end_ns = record.span_ns
        return Window(start_ns, end_ns, start_ns, np.zeros(0, np.bool_))
    began_ns, to_ns = int(record.captured_ns.min()), int(record.ended_ns.max())
    warm_ns = max(began_ns + _WARMUP_NS, _first_inference_ns(record))
    long_enough = to_ns - began_ns >= max(_LEAST_NS, 2 * (warm_ns - began_ns))
    from_ns = warm_ns if long_enough else began_ns
    return Window(from_ns, to_ns, began_ns, record.captured_ns >= from_ns)


def _first_inference_ns(record: CameraRecord) -> int:
    """Return when the first inference ended; 0 where there was none."""
    for stage in record.stages:
        if stage.name == _INFERENCE:
            ended = stage.end_ns[stage.end_ns >= 0]
            return int(ended.min()) if len(ended) else 0
    return 0
