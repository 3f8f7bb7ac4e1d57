"""A camera pipeline: what is asked for, and what was found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

STAGES: Final = ("decode", "preprocess", "inference", "postprocess", "sink")
"""After the camera itself, in order: each is a thread of its own on the device."""

SourceKind = Literal["v4l2", "folder", "video", "rtsp", "gstreamer", "drawn"]
SinkKind = Literal["none", "lines", "images", "video", "memory"]
QueuePolicy = Literal["block", "drop-oldest", "latest"]


@dataclass(frozen=True)
class SourceSpec:
    """Where frames come from, on the device.

    Attributes:
        name: device file, path, URL or launch string.
        width, height: in pixels; 0 for what the source has by itself.
        format: four characters as V4L2 has them; empty for what is cheapest to use.
        fps: rate to ask for; 0 for the source's own, and for what has none as fast as it can.
    """

    kind: SourceKind
    name: str = ""
    width: int = 0
    height: int = 0
    format: str = ""
    fps: float = 0.0


@dataclass(frozen=True)
class QueueSpec:
    """The queue before a stage.

    Attributes:
        depth: how many frames may wait.
        policy: what happens when one more comes: ``block`` holds up the stage before,
            ``drop-oldest`` gives up the one that waited longest, ``latest`` all that wait.
    """

    depth: int = 2
    policy: QueuePolicy = "latest"


@dataclass(frozen=True)
class SinkSpec:
    """Where answers go, on the device."""

    kind: SinkKind = "none"
    path: str = ""


@dataclass(frozen=True)
class PreviewSpec:
    """Pictures for whoever watches: so many a second, so many pixels wide, at most."""

    fps: float = 5.0
    width: int = 480


@dataclass(frozen=True)
class AdaptSpec:
    """When a lighter bundle takes over, and when the first one comes back.

    Attributes:
        late_ms: a median latency above this is late; 0: never.
        hot_c: a temperature above this is hot; 0: never.
        after_s: how long it must be so before a switch.
        back_ms, back_c: below both, for ``back_after_s``, the first bundle comes back.
    """

    late_ms: float = 0.0
    hot_c: float = 0.0
    after_s: float = 3.0
    back_ms: float = 0.0
    back_c: float = 0.0
    back_after_s: float = 10.0


@dataclass(frozen=True)
class PipelineSpec:
    """One run of a pipeline.

    Attributes:
        queue: before every stage that ``queues`` does not name.
        seconds: how long; 0: until the source ends, or the user does.
        frames: after how many captured frames it ends; 0: no limit.
        placement: cores of a stage's thread, as Linux writes a list of them.
        batch: how many frames may be inferred together.
        memory_mb: what frames that wait may take.
        adapt: when to switch bundles; ``None``: never.
    """

    source: SourceSpec
    queue: QueueSpec = field(default_factory=QueueSpec)
    queues: tuple[tuple[str, QueueSpec], ...] = ()
    sink: SinkSpec = field(default_factory=SinkSpec)
    seconds: float = 30.0
    frames: int = 0
    placement: tuple[tuple[str, str], ...] = ()
    batch: int = 1
    memory_mb: int = 256
    preview: PreviewSpec | None = None
    adapt: AdaptSpec | None = None

    def as_json(self) -> Mapping[str, Any]:
        """The pipeline as the runner on the device reads it (``edgekit.onboard.camera.run``)."""
        return {
            **asdict(self),
            "queues": {stage: asdict(queue) for stage, queue in self.queues},
            "placement": dict(self.placement),
        }


@dataclass(frozen=True)
class Spread:
    """Percentiles of times, in milliseconds."""

    p50_ms: float
    p90_ms: float
    p99_ms: float
    mean_ms: float


@dataclass(frozen=True)
class StageFigures:
    """What one stage did over a run.

    Attributes:
        name: ``camera`` for the source itself (``time`` is then from capture to arrival).
        frames: how many it finished.
        rate_fps: of those, a second.
        time: the stage's work on a frame; ``None`` where it finished none.
        wait: in the queue before it.
        blocked: for a place in that queue, at the cost of the stage before.
        depth_mean, depth_most: frames that waited in the queue before it.
        drops: frames that ended in the queue before it or in it, by cause.
        cpu_share: of one core, that its thread took.
        busy_share: of the run, that it worked.
        cores: on which it was seen, with the share of its frames.
    """

    name: str
    frames: int
    rate_fps: float
    time: Spread | None
    wait: Spread | None
    blocked: Spread | None
    depth_mean: float
    depth_most: int
    drops: tuple[tuple[str, int], ...]
    cpu_share: float
    busy_share: float
    cores: tuple[tuple[int, float], ...]


@dataclass(frozen=True)
class WhatIf:
    """An upper bound: frames a second if this stage took no time at all.

    Attributes:
        fps: ``None`` where nothing that was measured sets a bound.
    """

    stage: str
    fps: float | None


@dataclass(frozen=True)
class CameraFigures:
    """Where every millisecond and every lost frame went.

    Attributes:
        seconds: from the first frame to the last end.
        captured, delivered, lost: frames; lost ones were taken by the camera and seen by nobody.
        dropped: by stage and cause; captured = delivered + all of these, exactly.
        captured_fps, delivered_fps: a second.
        latency: from the capture's stamp to the end of the sink; ``None`` where none was delivered.
        closure: sum of all stages and waits over that latency, both means: 1 if nothing is missing.
        away_s: how long the source was gone.
        bottleneck: stage that limits the rate; ``camera`` where the source does.
        advice: in words, the most worthwhile first.
        what_if: for each stage.
    """

    seconds: float
    captured: int
    delivered: int
    lost: int
    dropped: tuple[tuple[str, str, int], ...]
    captured_fps: float
    delivered_fps: float
    latency: Spread | None
    closure: float | None
    away_s: float
    stages: tuple[StageFigures, ...]
    bottleneck: str
    advice: tuple[str, ...]
    what_if: tuple[WhatIf, ...]

    def as_json(self) -> Mapping[str, Any]:
        """The figures under the names that scripts rely on."""
        return asdict(self)
