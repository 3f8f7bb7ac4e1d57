"""What a line could reach at most if one of its stages took no time.

The model: every stage works on one frame, or one batch of frames, after the other, all at once on
as many cores as there are. So no line is faster than

- its source, where that gives frames by a clock of its own;
- the slowest of its other stages, each as quick as it would be undisturbed;
- its cores: their number over the processor time that a frame needs in all other stages.

The least of these is the bound. How quick a stage would be undisturbed is not known; it is taken
to be so quick that the bound holds: what its thread did not compute while others worked is taken
off, up to what these can have computed in that time. For a stage that mostly computes, others are
one more stage at least (Python lets one at a time have its interpreter); for one that mostly
waits (for an NPU, for a disk), they are more stages than there are cores, and have to keep all of
these busy. Not in the model: what an engine's own threads take from others, batches larger than
those seen, caches, memory and hyper-threads that stages share, clocks that rise or fall.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from edgekit.camera.frame_rows import Column
from edgekit.camera.pace import Pace, pace_of
from edgekit.camera.record import CameraRecord
from edgekit.camera.window import NS, Window
from edgekit.camera.work import Crowd, Work
from edgekit.core.camera import PipelineSpec, WhatIf

CAMERA: Final = "camera"
_COMPUTES: Final = 0.5  # of a stage's time, from which on it is one that computes
_COMMON_BATCH: Final = 0.05  # of a stage's works, from which on a batch's size counts
# Twenty thousand frames tell what a stage takes as well as all of them.
_SAMPLED: Final = 20_000


@dataclass(frozen=True)
class Limits:
    """What each part of a line could do by itself.

    Attributes:
        pace: of the source.
        stage_fps: of each stage, were it alone; infinite where it takes no time.
        cpu_ns: what a frame needs in each stage, and in the camera's own thread.
        cores: on which the line runs.
        idle_share: of each stage's time, for which its thread neither computed nor can have
            waited for another stage that did.
    """

    pace: Pace
    stage_fps: Mapping[str, float]
    cpu_ns: Mapping[str, float]
    cores: int
    idle_share: Mapping[str, float]

    def fps_without(self, free: str) -> float:
        """Return the bound if a stage, or the camera, took no time; it may be infinite."""
        others = [fps for stage, fps in self.stage_fps.items() if stage != free]
        if free != CAMERA and self.pace.fps is not None:
            others.append(self.pace.fps)
        cpu_ns = sum(taken for stage, taken in self.cpu_ns.items() if stage != free)
        return min([*others, self.cores * NS / cpu_ns if cpu_ns else math.inf], default=math.inf)

    @property
    def cpu_fps(self) -> float:
        """The bound that the cores alone set, with nothing left out."""
        cpu_ns = sum(self.cpu_ns.values())
        return self.cores * NS / cpu_ns if cpu_ns else math.inf

    def what_if(self) -> tuple[WhatIf, ...]:
        """Return the bound for the camera and for each stage."""
        return tuple(
            WhatIf(name, fps if math.isfinite(fps) else None)
            for name in (CAMERA, *self.stage_fps)
            for fps in [self.fps_without(name)]
        )


def limits_of(record: CameraRecord, window: Window, asked: PipelineSpec | None = None) -> Limits:
    """Find out what each part of a line could do by itself."""
    from_ns = _sampled_from_ns(record, window)
    works = {stage.name: Work.of(stage).since(from_ns) for stage in record.stages}
    crowd = Crowd(list(works.values()))
    cpu_ns = {name: _mean(work.cpu_ns.sum(), work.frames.sum()) for name, work in works.items()}
    cpu_ns[CAMERA] = _mean(record.capture_cpu_ns, record.counts.captured)
    return Limits(
        pace_of(record, window, asked),
        {name: _alone_fps(name, works, crowd, record.cores) for name in works},
        cpu_ns,
        record.cores,
        {name: _idle_share(name, works) for name in works},
    )


def _sampled_from_ns(record: CameraRecord, window: Window) -> int:
    if record.frames <= _SAMPLED:
        return window.from_ns
    return max(window.from_ns, int(record.captured_ns[-_SAMPLED]))


def _alone_fps(name: str, works: Mapping[str, Work], crowd: Crowd, cores: int) -> float:
    """Return how many frames a second a stage does that nothing disturbs."""
    work = works[name]
    if not len(work):
        return math.inf
    wall_ns = work.wall_ns
    computes = work.cpu_ns.sum() >= _COMPUTES * wall_ns.sum()
    among = 1 if computes else cores
    disturbed_ns = np.minimum(crowd.beyond(among, work), _others_ns(name, works) / among)
    alone_ns = wall_ns - np.minimum(np.maximum(wall_ns - work.cpu_ns, 0), disturbed_ns)
    sizes, which, counts = np.unique(work.frames, return_inverse=True, return_counts=True)
    took_ns = np.bincount(which, weights=alone_ns) / (counts * sizes)
    # One large batch that came together once is no rate that can be kept up.
    least_ns = took_ns[counts >= _COMMON_BATCH * len(work)].min()
    return float(NS / least_ns) if least_ns else math.inf


def _others_ns(name: str, works: Mapping[str, Work]) -> Column:
    """Return what all other stages can have computed during each work of one, at most."""
    parts = [each.cpu_within(works[name]) for other, each in works.items() if other != name]
    return np.asarray(np.sum(parts, axis=0), np.int64)


def _idle_share(name: str, works: Mapping[str, Work]) -> float:
    work = works[name]
    idle_ns = np.maximum(work.wall_ns - work.cpu_ns - _others_ns(name, works), 0)
    return _mean(idle_ns.sum(), work.wall_ns.sum())


def _mean(total: float, count: float) -> float:
    return float(total / count) if count else 0.0
