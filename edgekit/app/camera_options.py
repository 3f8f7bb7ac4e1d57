"""What a user asks of a camera pipeline, and the pipeline that follows from it and the recipe."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from edgekit.core.camera import Decode, PipelineSpec, PreviewSpec, QueueSpec, SinkSpec, SourceSpec
from edgekit.core.errors import UsageError
from edgekit.core.names import Precision
from edgekit.core.recipe import Pipeline

_Value = TypeVar("_Value")

_SECONDS: Final = 30.0
_HINT: Final = (
    "--source /dev/video0, rtsp://HOST/PATH, a video file, a folder of images, gst:LAUNCH, "
    "libcamera or drawn; or a table [pipeline] in the recipe"
)
# Files are as large as they are, and their sizes are not to be had by asking.
_ANY_SIZE: Final = ("v4l2", "gstreamer", "drawn")


@dataclass(frozen=True)
class CameraOptions:
    """One run of a pipeline as it was asked for. What is ``None`` or empty is the recipe's.

    Attributes:
        source, size, pixel_format, fps: where frames come from, and of what kind.
        seconds: how long; 0: until the source ends, or the user does.
        frames: at most so many.
        queue: before every stage that ``queues`` does not name.
        queues, placement: by stage.
        sink: where answers go; a path that is relative is brought home.
        batch: how many frames may be inferred together.
        memory_mb: what frames on their way may take.
        decode: how large a picture is made of each.
        power_hz: readings of power each second; 0 for none.
        trace: where the timeline is written; ``None``: beside the record.
        layers: whether the model's layers are profiled before, for the timeline.
    """

    source: SourceSpec | None = None
    size: tuple[int, int] | None = None
    pixel_format: str | None = None
    fps: float | None = None
    seconds: float | None = None
    frames: int = 0
    queue: QueueSpec | None = None
    queues: tuple[tuple[str, QueueSpec], ...] = ()
    placement: tuple[tuple[str, str], ...] = ()
    sink: SinkSpec | None = None
    batch: int | None = None
    memory_mb: int | None = None
    decode: Decode | None = None
    power_hz: float = 10.0
    trace: Path | None = None
    layers: bool = False


@dataclass(frozen=True)
class Wanted:
    """A pipeline, and the precision of the bundle that may take over."""

    spec: PipelineSpec
    lighter: Precision | None


def wanted_pipeline(
    options: CameraOptions, recipe: Pipeline | None, *, preview: PreviewSpec | None = None
) -> Wanted:
    """Put together what was asked for and what the recipe says.

    Args:
        options: what was asked for.
        recipe: the recipe's own pipeline.
        preview: pictures that somebody watches, where the recipe asks for none.

    Raises:
        UsageError: nothing names a source, or it cannot be of that size.
    """
    if options.source is None and recipe is None:
        raise UsageError("no source was given", hint=_HINT)
    held = recipe.spec if recipe is not None else PipelineSpec(options.source or SourceSpec("v4l2"))
    spec = replace(
        held,
        source=_source(options, held.source),
        queue=options.queue or held.queue,
        queues=_merged(held.queues, options.queues),
        sink=options.sink or held.sink,
        seconds=_seconds(options),
        frames=options.frames,
        placement=_merged(held.placement, options.placement),
        batch=options.batch or held.batch,
        memory_mb=options.memory_mb or held.memory_mb,
        decode=options.decode or held.decode,
        preview=(held.preview or preview) if preview else None,
    )
    return Wanted(spec, recipe.lighter if recipe is not None else None)


def _seconds(options: CameraOptions) -> float:
    if options.seconds is not None:
        return options.seconds
    return 0.0 if options.frames else _SECONDS


def _source(options: CameraOptions, held: SourceSpec) -> SourceSpec:
    # What the recipe says of its own source need not hold for another.
    source = options.source or held
    if options.size is not None:
        if source.kind not in _ANY_SIZE:
            raise UsageError(
                f"frames of a {source.kind} source have the size that they have",
                hint="leave --size out; the model's own size is told when it is built",
            )
        source = replace(source, width=options.size[0], height=options.size[1])
    if options.pixel_format is not None:
        source = replace(source, format=options.pixel_format)
    return source if options.fps is None else replace(source, fps=options.fps)


def _merged(
    held: tuple[tuple[str, _Value], ...], asked: tuple[tuple[str, _Value], ...]
) -> tuple[tuple[str, _Value], ...]:
    return tuple({**dict(held), **dict(asked)}.items())
