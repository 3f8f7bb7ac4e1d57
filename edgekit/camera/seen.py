"""What the words about a run are made of."""

from dataclasses import dataclass
from typing import Final, NamedTuple

from edgekit.camera.pace import is_live
from edgekit.camera.record import CameraRecord
from edgekit.camera.what_if import CAMERA, Limits
from edgekit.camera.window import Window
from edgekit.core.camera import CameraFigures, PipelineSpec, StageFigures

_WORTH_SAYING: Final = 1.05
_SHORT_MS: Final = 100.0


class Advice(NamedTuple):
    """A sentence, and what part of the rate, the latency or the frames it is about, 0 to 1."""

    worth: float
    text: str


@dataclass(frozen=True)
class Seen:
    """A run, and what was found out about it until now."""

    record: CameraRecord
    window: Window
    limits: Limits
    asked: PipelineSpec | None
    figures: CameraFigures

    @property
    def there(self) -> float:
        """For what share of the time the source was there."""
        window = self.window
        gone_ns = sum(
            max(0, min(each.to_ns, window.to_ns) - max(each.from_ns, window.from_ns))
            for each in self.record.away
        )
        whole_ns = window.to_ns - window.from_ns
        return 1 - gone_ns / whole_ns if gone_ns < whole_ns else 1.0

    @property
    def fps(self) -> float:
        """Frames that were delivered, a second in which the source was there."""
        return (self.figures.delivered_fps or 0.0) / self.there

    def busy(self, stage: StageFigures) -> float:
        """Return for what share of the time that the source was there a stage worked."""
        return min((stage.busy_share or 0.0) / self.there, 1.0)

    @property
    def stages(self) -> tuple[StageFigures, ...]:
        """All but the camera."""
        return self.figures.stages[1:]

    def stage(self, name: str) -> StageFigures:
        """Return a stage's figures, or the camera's."""
        return {stage.name: stage for stage in self.figures.stages}[name]

    @property
    def source_name(self) -> str:
        """What to call it: a file is no camera."""
        return CAMERA if is_live(self.record.source) else "source"

    def bound(self, free: str) -> float | None:
        """Return the rate's bound if a stage took no time; ``None`` where it changes nothing.

        It may be infinite.
        """
        bound = self.limits.fps_without(free)
        return bound if bound >= _WORTH_SAYING * self.fps else None


def share_gained(seen: Seen, bound: float) -> float:
    """Return what part of a bound on the rate is not had."""
    return max(0.0, 1 - seen.fps / bound)


def ms(value: float) -> str:
    """Write milliseconds."""
    return f"{value:.1f} ms" if value < _SHORT_MS else f"{value:.0f} ms"


def at_most(seen: Seen, bound: float) -> str:
    """Write what a bound on the rate allows."""
    return f"at most {bound:.1f} fps instead of {seen.fps:.1f}"
