"""A recipe's table ``[pipeline]``: how frames of a camera go through its model."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, TypeVar

from edgekit.catalog.toml_reader import KeyFaultError
from edgekit.core import camera_grammar
from edgekit.core.camera import AdaptSpec, PipelineSpec, PreviewSpec, QueueSpec, SinkSpec
from edgekit.core.errors import UsageError
from edgekit.core.names import PRECISIONS, Precision
from edgekit.core.recipe import Pipeline

_Value = TypeVar("_Value")

_MOST_FPS: Final = 1000
_MOST_BATCH: Final = 64
_MOST_MEMORY_MB: Final = 1 << 16
# Well below what is late or hot, so that a bundle does not come and go.
_BACK: Final = 0.7
_BACK_C: Final = 8.0


@dataclass(frozen=True)
class PreviewTable:
    """Pictures for whoever watches."""

    fps: float = PreviewSpec.fps
    width: int = PreviewSpec.width

    def __post_init__(self) -> None:
        _check_range("fps", self.fps, 0.1, _MOST_FPS)
        _check_range("width", self.width, 16, 4096)


@dataclass(frozen=True)
class AdaptTable:
    """When a lighter bundle takes over. What is left out of ``back_*`` follows from the others."""

    lighter: str
    late_ms: float = 0.0
    hot_c: float = 0.0
    after_s: float = AdaptSpec.after_s
    back_ms: float | None = None
    back_c: float | None = None
    back_after_s: float = AdaptSpec.back_after_s

    def __post_init__(self) -> None:
        if self.lighter not in PRECISIONS:
            text = f"adapt.lighter is {self.lighter!r}, must be one of {', '.join(PRECISIONS)}"
            raise KeyFaultError("lighter", text)
        if not (self.late_ms or self.hot_c):
            raise KeyFaultError("late_ms", "adapt needs late_ms, or hot_c, or both")
        for name in ("late_ms", "hot_c", "after_s", "back_after_s"):
            _check_range(name, getattr(self, name), 0, 1e6)
        for back, limit in (("back_ms", "late_ms"), ("back_c", "hot_c")):
            value = getattr(self, back)
            if value is not None and not 0 < value <= getattr(self, limit):
                raise KeyFaultError(back, f"adapt.{back} must be above 0, and not above {limit}")

    def value(self) -> AdaptSpec:
        """Return it with all that follows."""
        back_c = self.hot_c - _BACK_C if self.hot_c else 0.0
        return AdaptSpec(
            late_ms=self.late_ms,
            hot_c=self.hot_c,
            after_s=self.after_s,
            back_ms=self.late_ms * _BACK if self.back_ms is None else self.back_ms,
            back_c=back_c if self.back_c is None else self.back_c,
            back_after_s=self.back_after_s,
        )


@dataclass(frozen=True)
class PipelineTable:
    """What each word means is checked here: types cannot."""

    source: str
    size: str = ""
    format: str = ""
    fps: float = 0.0
    queue: str = ""
    queues: Mapping[str, str] = field(default_factory=dict)
    sink: str = "none"
    placement: Mapping[str, str] = field(default_factory=dict)
    batch: int = 1
    memory_mb: int = PipelineSpec.memory_mb
    decode: str = PipelineSpec.decode
    preview: PreviewTable | None = None
    adapt: AdaptTable | None = None

    def __post_init__(self) -> None:
        _check_range("fps", self.fps, 0, _MOST_FPS)
        _check_range("batch", self.batch, 1, _MOST_BATCH)
        _check_range("memory_mb", self.memory_mb, 8, _MOST_MEMORY_MB)
        self._spec()

    def value(self, folder: Path) -> Pipeline:
        """Return the pipeline; a path of a file or folder counts from ``folder``."""
        spec = self._spec()
        if spec.source.kind in {"video", "folder"}:
            path = str(folder / Path(spec.source.name).expanduser())
            spec = replace(spec, source=replace(spec.source, name=path))
        return Pipeline(spec, _precision(self.adapt.lighter) if self.adapt else None)

    def _spec(self) -> PipelineSpec:
        source = _read("source", camera_grammar.parse_source, self.source)
        if self.size:
            width, height = _read("size", camera_grammar.parse_frame_size, self.size)
            source = replace(source, width=width, height=height)
        if self.format:
            pixels = _read("format", camera_grammar.parse_format, self.format)
            source = replace(source, format=pixels)
        return PipelineSpec(
            source=replace(source, fps=self.fps),
            queue=self._queue(),
            queues=tuple(
                (_stage("queues", stage), _read("queues", camera_grammar.parse_queue, text))
                for stage, text in self.queues.items()
            ),
            sink=self._sink(),
            placement=tuple(
                (_stage("placement", stage), _read("placement", camera_grammar.parse_cores, cores))
                for stage, cores in self.placement.items()
            ),
            batch=self.batch,
            memory_mb=self.memory_mb,
            decode=_read("decode", camera_grammar.parse_decode, self.decode),
            preview=PreviewSpec(self.preview.fps, self.preview.width) if self.preview else None,
            adapt=self.adapt.value() if self.adapt else None,
        )

    def _queue(self) -> QueueSpec:
        return _read("queue", camera_grammar.parse_queue, self.queue) if self.queue else QueueSpec()

    def _sink(self) -> SinkSpec:
        return _read("sink", camera_grammar.parse_sink, self.sink)


def _precision(text: str) -> Precision:
    return next(each for each in PRECISIONS if each == text)


def _stage(key: str, text: str) -> str:
    return _read(key, camera_grammar.parse_stage, text)


def _read(key: str, parse: Callable[[str], _Value], text: str) -> _Value:
    try:
        return parse(text)
    except UsageError as error:
        hint = f" ({error.hint})" if error.hint else ""
        raise KeyFaultError(key, f"pipeline.{key}: {error.message}{hint}") from error


def _check_range(key: str, value: float, least: float, most: float) -> None:
    if not least <= value <= most:
        raise KeyFaultError(key, f"{key} must lie between {least:g} and {most:g}")
