"""A run in words: what limits its rate, and what would change it.

Each sentence stands only where the figures support it, with a bound on what it would bring. The
figures are those of ``edgekit.camera.figures``, the bounds those of ``edgekit.camera.what_if``.
"""

from collections.abc import Callable
from typing import Final

import numpy as np

from edgekit.camera import drop_words, line_words, place_words, source_words
from edgekit.camera.pace import HELD
from edgekit.camera.seen import Advice, Seen
from edgekit.camera.what_if import CAMERA
from edgekit.core.camera import StageFigures

_BUSY: Final = 0.97  # of the time: there is no more to be had of this stage
_GIVEN_UP: Final = 0.01  # of the frames: some stage is not as quick as the source
_SLOW: Final = 0.5  # of the time: a stage that works less gives frames up to bursts and to others

_SENTENCES: Final[tuple[Callable[[Seen], Advice | None], ...]] = (
    source_words.exposure,
    source_words.slower_than_asked,
    source_words.lost_frames,
    source_words.away,
    line_words.slowest_stage,
    line_words.sink_that_blocks,
    line_words.long_queue,
    line_words.cores_full,
    place_words.slow_cores,
    place_words.shared_cores,
    place_words.other_programs,
    drop_words.corrupt,
    drop_words.memory,
    drop_words.failed,
)


def bottleneck(seen: Seen) -> str:
    """Return the stage that limits the rate; ``camera`` where the line takes all that it gives.

    A line falls behind where it holds its source up, or gives frames up that waited for a stage
    that was at work; then, and where a stage is never idle, it is the stage that works most of the
    time.
    """
    busiest = _busiest(seen)
    if busiest is None:
        return CAMERA
    slow = _given_up(seen) >= _GIVEN_UP and seen.busy(busiest) >= _SLOW
    falls_behind = seen.limits.pace.held_share >= HELD or slow
    return busiest.name if falls_behind or seen.busy(busiest) >= _BUSY else CAMERA


def limit(seen: Seen) -> str:
    """Say what limits the rate."""
    figures, busiest = seen.figures, _busiest(seen)
    if busiest is None:
        return "no stage finished a frame" if figures.captured else "no frame came"
    works = f"{seen.busy(busiest):.0%} of the time"
    if figures.bottleneck == CAMERA:
        gives = f" {figures.source_fps:.1f} fps" if figures.source_fps else " all it has"
        given_up = _given_up(seen)
        but = (
            f" but for {given_up:.1%} of the frames, which came close together or while something "
            "else ran"
        )
        return (
            f"the {seen.source_name}: it gives{gives}, and the line keeps up"
            f"{but if given_up >= _GIVEN_UP else ''}; the busiest stage, {busiest.name}, works "
            f"{works}"
        )
    said = f"{busiest.name}: {line_words.takes(seen, busiest)}; it works {works}"
    full = line_words.full_cores(seen)
    return f"{said}; {full}" if full else said


def advice(seen: Seen) -> tuple[str, ...]:
    """Say what would change a run, the most worthwhile first."""
    found = [said for sentence in _SENTENCES if (said := sentence(seen)) is not None]
    return tuple(said.text for said in sorted(found, key=lambda said: -said.worth))


def _busiest(seen: Seen) -> StageFigures | None:
    worked = [stage for stage in seen.stages if stage.busy_share and stage.held_ms is not None]
    return max(worked, key=lambda stage: stage.busy_share or 0.0, default=None)


def _given_up(seen: Seen) -> float:
    """Return what share of the frames a queue gave up."""
    record, chosen = seen.record, seen.window.chosen
    policies = [record.ends.index(end) for end in ("drop-oldest", "latest") if end in record.ends]
    given_up = np.isin(record.end[chosen], policies)
    return float(given_up.mean()) if len(given_up) else 0.0
