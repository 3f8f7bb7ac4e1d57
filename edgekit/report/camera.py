"""Where a camera run's time and frames went, as tables and in words."""

from collections.abc import Iterator

from edgekit.core.camera import CameraFigures, Spread, StageFigures, WhatIf
from edgekit.report.table import Column, Table

_NONE = "-"
_STAGE = Column("stage")
_TIMES = (
    Column("p50/p90/p99 ms", numeric=True),
    Column("waits ms", numeric=True),
    Column("held up ms", numeric=True),
    Column("fps", numeric=True),
    Column("busy", numeric=True),
    Column("CPU", numeric=True),
    Column("cores", numeric=True),
)
_SPEED = 6  # up to there columns are of a stage's speed
_COUNTS = (
    Column("frames", numeric=True),
    Column("queue mean/most", numeric=True),
    Column("dropped"),
)
_GAIN = 1.02  # less is no gain that anybody would notice
_WHAT_IF = (
    Column("if this took no time"),
    Column("fps at most", numeric=True),
    Column("instead of"),
)
_SEEN_CORE = 0.01  # of a stage's frames


def stage_table(figures: CameraFigures) -> Table:
    """One row for the camera and each stage, without times where they mean nothing."""
    columns = (_STAGE, *_TIMES, *_COUNTS) if figures.timed else (_STAGE, *_COUNTS)
    rows = tuple(
        (stage.name, *(_times(stage) if figures.timed else ()), *_counts(stage, figures))
        for stage in figures.stages
    )
    return Table(columns, rows)


def stage_tables(figures: CameraFigures) -> tuple[Table, ...]:
    """The same in parts that a terminal of 80 columns has room for."""
    whole = stage_table(figures)
    if not figures.timed:
        return (whole,)
    return tuple(
        Table((_STAGE, *whole.columns[part]), tuple((row[0], *row[part]) for row in whole.rows))
        for part in (slice(1, _SPEED), slice(_SPEED, None))
    )


def what_if_table(figures: CameraFigures) -> Table:
    """What the line could reach at most without the time of each stage that holds it up."""
    now = _number(_reached_fps(figures), 1)
    rows = tuple((each.stage, _number(each.fps, 1), now) for each in _worth_it(figures))
    title = "what if, while the source is there" if figures.away_s else "what if"
    return Table(_WHAT_IF, rows, title=title)


def _reached_fps(figures: CameraFigures) -> float | None:
    """Return what the bounds are to be held against: they are of a source that is there."""
    return figures.delivered_fps if figures.there_fps is None else figures.there_fps


def _worth_it(figures: CameraFigures) -> Iterator[WhatIf]:
    reached = _reached_fps(figures) or 0.0
    return (each for each in figures.what_if if (each.fps or 0.0) > reached * _GAIN)


def figure_lines(figures: CameraFigures) -> tuple[str, ...]:
    """Say what became of the frames, how long they took, what limits them, what would help."""
    return (*_accounts(figures), *(_speed(figures) if figures.timed else _untimed()))


def _accounts(figures: CameraFigures) -> Iterator[str]:
    dropped = sum(count for _, _, count in figures.dropped)
    said = f"{figures.captured} captured = {figures.delivered} delivered + {dropped} dropped"
    lost = f"; {figures.lost} more lost by the driver" if figures.lost else ""
    yield f"frames: {said}{lost}"
    if figures.lost_unseen:
        yield f"losses on the way to the pipeline are not seen: {figures.lost_unseen}"
    if figures.away_s:
        yield f"the source was away for {figures.away_s:.1f} s of {figures.seconds:.1f}"


def _speed(figures: CameraFigures) -> Iterator[str]:
    yield (
        f"rates: captured {_number(figures.captured_fps, 1)} fps, delivered "
        f"{_number(figures.delivered_fps, 1)} fps{_left_out(figures)}"
    )
    if figures.latency is not None:
        closure = figures.closure
        parts = f"; stages and waits are {closure:.1%} of it" if closure is not None else ""
        yield f"latency from capture to the sink's end: {_spread(figures.latency)} ms{parts}"
    if figures.cpu_cores is not None:
        yield f"processor: {figures.cpu_cores:.2f} of {figures.cores} cores"
    yield f"bottleneck: {figures.limit}"
    if figures.what_if and not any(_worth_it(figures)):
        yield "what if: no stage alone, if it took no time, would let more frames through"
    yield from (f"advice: {sentence}" for sentence in figures.advice)


def _untimed() -> Iterator[str]:
    yield (
        "emulated: correctness only; times and rates of an emulated processor mean nothing, nor "
        "does how many frames it was too slow for"
    )


def _left_out(figures: CameraFigures) -> str:
    if not figures.warmup_frames:
        return ""
    return (
        f"; all times and rates are of {figures.timed_frames} frames: the first "
        f"{figures.warmup_s:.1f} s ({figures.warmup_frames} frames) are the warm-up"
    )


def _times(stage: StageFigures) -> tuple[str, ...]:
    return (
        _spread(stage.time),
        _mean(stage.wait),
        _mean(stage.blocked),
        _number(stage.rate_fps, 1),
        _share(stage.busy_share),
        _share(stage.cpu_share),
        ",".join(str(core) for core, share in stage.cores if share >= _SEEN_CORE) or _NONE,
    )


def _counts(stage: StageFigures, figures: CameraFigures) -> tuple[str, ...]:
    drops = [f"{count} {cause}" for cause, count in stage.drops]
    if stage is figures.stages[0]:
        lost = f"{figures.lost} lost" if figures.lost else _NONE
        return str(stage.frames), _NONE, lost
    queue = f"{stage.depth_mean:.1f}/{stage.depth_most}"
    return str(stage.frames), queue, ", ".join(drops) or _NONE


def _spread(spread: Spread | None) -> str:
    if spread is None:
        return _NONE
    return f"{spread.p50_ms:.1f}/{spread.p90_ms:.1f}/{spread.p99_ms:.1f}"


def _mean(spread: Spread | None) -> str:
    return _number(spread.mean_ms if spread else None, 1)


def _share(share: float | None) -> str:
    return _NONE if share is None else f"{share:.0%}"


def _number(value: float | None, digits: int) -> str:
    return _NONE if value is None else f"{value:.{digits}f}"
