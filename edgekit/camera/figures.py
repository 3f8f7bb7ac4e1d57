"""From a camera run's frames to its figures: where every millisecond and every frame went."""

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from edgekit.camera.frame_rows import Column
from edgekit.camera.numbers import lost_unseen
from edgekit.camera.record import CameraRecord
from edgekit.camera.seen import Seen
from edgekit.camera.what_if import CAMERA, limits_of
from edgekit.camera.window import NS, Window, window_of
from edgekit.camera.words import advice, bottleneck, limit
from edgekit.camera.work import Work
from edgekit.core.camera import CameraFigures, PipelineSpec, Spread, StageFigures
from edgekit.core.errors import MeasurementInvalidError

_NS_PER_MS: Final = 1e6
_PERCENTS: Final = (50, 90, 99)
_HINT: Final = "run it again; if it comes again, this is a bug of edgekit's runner"


def figures(record: CameraRecord, asked: PipelineSpec | None = None) -> CameraFigures:
    """Work out what a run's frames tell.

    Args:
        record: what the run left.
        asked: what was asked for, where it is known: only then can the words tell what of it
            was not had.

    Raises:
        MeasurementInvalidError: a captured frame was neither delivered nor dropped, or was both.
    """
    _account(record)
    window, counts = window_of(record), record.counts
    limits = limits_of(record, window, asked)
    line = (_stage(record, index, window) for index in range(len(record.stages)))
    stages = (_camera(record, window), *line)
    latency_ns = _latency_ns(record, window)
    found = CameraFigures(
        seconds=(window.to_ns - window.began_ns) / NS,
        captured=counts.captured,
        delivered=counts.delivered,
        lost=counts.lost,
        dropped=counts.dropped,
        captured_fps=stages[0].rate_fps,
        delivered_fps=_rate(record.ended_ns[record.was_delivered], window.from_ns, window.to_ns),
        latency=_spread(latency_ns),
        closure=_closure(record, window, latency_ns),
        away_s=sum(each.to_ns - each.from_ns for each in record.away) / NS,
        stages=stages,
        bottleneck="",
        advice=(),
        what_if=limits.what_if(),
        source_fps=limits.pace.fps,
        cpu_cores=_cpu_cores(record, stages),
        cores=record.cores,
        warmup_s=window.warmup_s,
        warmup_frames=record.frames - int(window.chosen.sum()),
        timed_frames=int(window.chosen.sum()),
        lost_unseen=lost_unseen(record),
    )
    seen = Seen(record, window, limits, asked, found)
    there_fps = None if found.delivered_fps is None else seen.fps
    found = replace(found, bottleneck=bottleneck(seen), there_fps=there_fps)
    seen = replace(seen, figures=found)
    return replace(seen.figures, limit=limit(seen), advice=advice(seen))


def _account(record: CameraRecord) -> None:
    """See that every captured frame ended once, by the totals and by the frames themselves."""
    counts = record.counts
    dropped = sum(count for _, _, count in counts.dropped)
    if missing := counts.captured - counts.delivered - dropped:
        raise _unaccounted(counts.captured, counts.delivered, dropped, missing)
    if not record.is_whole:
        return
    delivered = int(record.was_delivered.sum())
    fell = int((record.end >= 0).sum()) - delivered
    if missing := record.frames - delivered - fell:
        raise _unaccounted(record.frames, delivered, fell, missing)
    if more := delivered - counts.delivered:
        raise MeasurementInvalidError(
            f"the camera run's frames do not add up: {delivered} frames were delivered, and "
            f"{counts.delivered} counted: {abs(more)} {'more' if more > 0 else 'fewer'}",
            hint=_HINT,
        )


def _unaccounted(
    captured: int, delivered: int, dropped: int, missing: int
) -> MeasurementInvalidError:
    what = f"{missing} unaccounted for" if missing > 0 else f"{-missing} counted twice"
    return MeasurementInvalidError(
        f"the camera run's frames do not add up: {captured} captured, {delivered} delivered and "
        f"{dropped} dropped: {what}",
        hint=_HINT,
    )


def _camera(record: CameraRecord, window: Window) -> StageFigures:
    """Return the figures of the source and the thread that reads it."""
    took_ns = record.arrived_ns - record.captured_ns
    span_ns = record.span_ns[1] - record.span_ns[0]
    return StageFigures(
        name=CAMERA,
        frames=record.counts.captured,
        # Its end is the last frame: the source gives no more while the line runs empty.
        rate_fps=_rate(record.captured_ns, window.from_ns, int(record.captured_ns.max(initial=0))),
        time=_spread(took_ns[window.chosen]),
        wait=None,
        blocked=None,
        depth_mean=0.0,
        depth_most=0,
        drops=(),
        cpu_share=record.capture_cpu_ns / span_ns if span_ns else None,
        busy_share=None,
        cores=(),
    )


def _stage(record: CameraRecord, index: int, window: Window) -> StageFigures:
    stage = record.stages[index]
    work = Work.of(stage)
    part = work.since(window.from_ns)
    # A frame that failed in a stage was worked on and not finished by it.
    finished = (stage.end_ns >= 0) & (record.end_stage > index)
    depth_mean, depth_most = _depth(record, index, window)
    span_ns = window.to_ns - window.from_ns
    chosen = window.chosen
    return StageFigures(
        name=stage.name,
        frames=int(finished.sum()),
        rate_fps=_rate(stage.end_ns[finished], window.from_ns, window.to_ns),
        time=_spread(_between(stage.start_ns, stage.end_ns, chosen & finished)),
        wait=_spread(_between(stage.queued_ns, stage.start_ns, chosen)),
        blocked=_spread(_between(stage.offered_ns, stage.queued_ns, chosen)),
        depth_mean=depth_mean,
        depth_most=depth_most,
        drops=tuple(
            (cause, count) for name, cause, count in record.counts.dropped if name == stage.name
        ),
        cpu_share=float(part.cpu_ns.sum() / span_ns) if span_ns else None,
        busy_share=work.busy_ns(window.from_ns, window.to_ns) / span_ns if span_ns else None,
        cores=_cores(part),
        held_ms=float(part.wall_ns.sum() / part.frames.sum() / _NS_PER_MS) if len(part) else None,
    )


def _depth(record: CameraRecord, index: int, window: Window) -> tuple[float, int]:
    """Return how many frames waited before a stage: the mean over time, and the most.

    A frame waits from the moment when it is in the queue until the stage begins with it, or it
    ends there.
    """
    stage, holds = record.stages[index], record.queues[index].depth
    queued = (stage.queued_ns >= 0) & (record.ended_ns > window.from_ns)
    into = stage.queued_ns[queued]
    started = stage.start_ns[queued]
    out = np.where(started >= 0, started, record.ended_ns[queued])
    if not len(into):
        return 0.0, 0
    span_ns = window.to_ns - window.from_ns
    waited_ns = np.minimum(out, window.to_ns) - np.maximum(into, window.from_ns)
    mean = float(np.maximum(waited_ns, 0).sum() / span_ns) if span_ns else 0.0
    into, out = np.sort(into), np.sort(out)
    left = np.searchsorted(out, into, side="right")
    waiting = np.arange(1, len(into) + 1) - left
    most = int(waiting[into >= window.from_ns].max(initial=0))
    # A frame is taken out a moment before the stage begins: then the next is already in.
    return mean, min(max(most, 0), holds)


def _cores(work: Work) -> tuple[tuple[int, float], ...]:
    """Return the cores on which works ended, with the share of their frames."""
    seen = work.core >= 0
    if not seen.any():
        return ()
    frames = np.bincount(work.core[seen], weights=work.frames[seen])
    return tuple((int(core), float(frames[core] / frames.sum())) for core in np.flatnonzero(frames))


def _latency_ns(record: CameraRecord, window: Window) -> Column:
    arrived = window.chosen & record.was_delivered
    return record.ended_ns[arrived] - record.captured_ns[arrived]


def _closure(record: CameraRecord, window: Window, latency_ns: Column) -> float | None:
    """Return what all parts that were timed come to, over the time from end to end.

    Each part is taken from its own two stamps. So what lies between parts (handing over, work
    that no stage accounts for) is missing here, and shows.
    """
    chosen = window.chosen & record.was_delivered
    whole = float(latency_ns.sum())
    if not whole:
        return None
    parts = float((record.arrived_ns[chosen] - record.captured_ns[chosen]).sum())
    for stage in record.stages:
        for begin, end in (
            (stage.offered_ns, stage.queued_ns),
            (stage.queued_ns, stage.start_ns),
            (stage.start_ns, stage.end_ns),
        ):
            parts += float(_between(begin, end, chosen).sum())
    return parts / whole


def _between(begin_ns: Column, end_ns: Column, chosen: NDArray[np.bool_]) -> Column:
    """Return the times between two moments of those frames that have both."""
    there = chosen & (begin_ns >= 0) & (end_ns >= 0)
    return end_ns[there] - begin_ns[there]


def _spread(times_ns: Column) -> Spread | None:
    if not len(times_ns):
        return None
    p50, p90, p99 = np.percentile(times_ns, _PERCENTS) / _NS_PER_MS
    return Spread(float(p50), float(p90), float(p99), float(times_ns.mean() / _NS_PER_MS))


def _rate(moments_ns: Column, from_ns: int, to_ns: int) -> float | None:
    """Return how many a second there were of these moments, up to the last of the two."""
    # From one moment to others: a window that begins between two would count half a one too many.
    before = moments_ns[moments_ns <= from_ns]
    since_ns = int(before.max()) if len(before) else from_ns
    if to_ns <= since_ns:
        return None
    inside = (moments_ns > since_ns) & (moments_ns <= to_ns)
    return float(inside.sum() * NS / (to_ns - since_ns))


def _cpu_cores(record: CameraRecord, stages: tuple[StageFigures, ...]) -> float | None:
    """Return how many cores the program kept busy: by the kernel, where the run tells."""
    span_ns = record.span_ns[1] - record.span_ns[0]
    if record.cpu_ns and span_ns:
        # The clock of all threads began before the line and ends after it.
        return min(record.cpu_ns / span_ns, float(record.cores))
    return sum(stage.cpu_share or 0.0 for stage in stages)
