"""A camera pipeline: what is asked for, and what was found."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Literal

STAGES: Final = ("decode", "preprocess", "inference", "postprocess", "sink")
"""After the camera itself, in order: each is a thread of its own on the device."""

SourceKind = Literal["v4l2", "folder", "video", "rtsp", "gstreamer", "drawn"]
SinkKind = Literal["none", "lines", "images", "video", "memory"]
QueuePolicy = Literal["block", "drop-oldest", "latest"]
Decode = Literal["reduced", "whole"]


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
        decode: ``reduced`` makes no larger picture than the models and whoever watches can use,
            ``whole`` always the camera's.
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
    decode: Decode = "reduced"

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

    All but ``frames`` and ``drops``, which are of the whole run, leave its warm-up out. Times,
    rates and shares are ``None`` where there are none, as on an emulated device.

    Attributes:
        name: ``camera`` for the source itself (``time`` is then from capture to arrival).
        frames: how many it finished.
        rate_fps: finished ones, a second.
        time: the stage's work on a frame; of frames inferred together, that on all of them.
        wait: in the queue before it.
        blocked: for a place in that queue, at the cost of the stage before.
        depth_mean, depth_most: frames that waited in the queue before it.
        drops: frames that ended before its queue, in it or in the stage, by cause.
        cpu_share: of one core, that its thread took; an engine's own threads are not in it.
        busy_share: of the time, that it worked; ``None`` for the camera.
        cores: on which it was seen, with the share of its frames.
        held_ms: for how long a frame holds the stage's thread: the mean of ``time``, of which
            frames inferred together have a part each.
    """

    name: str
    frames: int
    rate_fps: float | None
    time: Spread | None
    wait: Spread | None
    blocked: Spread | None
    depth_mean: float
    depth_most: int
    drops: tuple[tuple[str, int], ...]
    cpu_share: float | None
    busy_share: float | None
    cores: tuple[tuple[int, float], ...]
    held_ms: float | None = None


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

    Frames are of the whole run. Times, rates and depths leave its warm-up out; they are ``None``
    where there are none, as on an emulated device.

    Attributes:
        seconds: from the first frame to the last end.
        captured, delivered, lost: frames; lost ones were taken by the camera and seen by nobody.
        dropped: by stage and cause; captured = delivered + all of these, exactly.
        captured_fps, delivered_fps: a second.
        there_fps: delivered ones, a second for which the source was there.
        latency: from the capture's stamp to the end of the sink; ``None`` where none was delivered.
        closure: sum of all stages and waits over that latency, both means: 1 if nothing is missing.
        away_s: how long the source was gone.
        bottleneck: stage that limits the rate; ``camera`` where the source does.
        advice: in words, the most worthwhile first.
        what_if: for each stage, the camera first.
        limit: the bottleneck in words.
        source_fps: what the source gives while it is there, lost frames too; ``None`` where it
            gave as many as were taken.
        cpu_cores: processor time of the whole program, as a number of cores.
        cores: how many the program may use.
        warmup_s, warmup_frames: what was left out at the beginning; 0 where the run was too short.
        timed_frames: how many frames the times are of.
        timed: whether times and rates mean anything; not where the device is emulated.
        lost_unseen: why frames that were lost are not in ``lost``; empty where they are.
    """

    seconds: float
    captured: int
    delivered: int
    lost: int
    dropped: tuple[tuple[str, str, int], ...]
    captured_fps: float | None
    delivered_fps: float | None
    latency: Spread | None
    closure: float | None
    away_s: float
    stages: tuple[StageFigures, ...]
    bottleneck: str
    advice: tuple[str, ...]
    what_if: tuple[WhatIf, ...]
    limit: str = ""
    source_fps: float | None = None
    cpu_cores: float | None = None
    cores: int = 0
    warmup_s: float = 0.0
    warmup_frames: int = 0
    timed_frames: int = 0
    timed: bool = True
    there_fps: float | None = None
    lost_unseen: str = ""

    def untimed(self) -> "CameraFigures":
        """Return it without times and rates, which mean nothing where the device is emulated."""
        nothing: dict[str, Any] = dict.fromkeys(("rate_fps", "time", "wait", "blocked", "held_ms"))
        stages = tuple(
            replace(stage, **nothing, cpu_share=None, busy_share=None) for stage in self.stages
        )
        nothing = dict.fromkeys(("captured_fps", "delivered_fps", "latency", "closure"))
        return replace(
            self, **nothing, stages=stages, bottleneck="", limit="", advice=(), what_if=(),
            there_fps=None, source_fps=None, cpu_cores=None, timed=False,
        )  # fmt: skip

    def as_json(self) -> Mapping[str, Any]:
        """The figures under the names that scripts rely on."""
        return asdict(self)
