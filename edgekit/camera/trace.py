"""One timeline of a camera run, for Perfetto: frames, queues, losses, watts, temperatures, clocks.

A process has a track for each stage and each queue before one, in the order in which frames pass
them. A frame is a slice on each; arrows lead from one to the next. Its end short of delivery is
an instant. Below stand values over time.
"""

import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

from edgekit.camera.record import CameraRecord
from edgekit.camera.record_values import SourceFacts
from edgekit.camera.trace_counters import NS_PER_MS, Points, counters
from edgekit.camera.trace_file import Argument, TraceFile
from edgekit.camera.trace_slices import (
    Instant,
    Slice,
    captures,
    drops,
    switches,
    waits,
    works,
)
from edgekit.core.errors import UsageError
from edgekit.core.health import HealthSnapshot
from edgekit.core.layers import LayerProfile, LayerTime
from edgekit.core.power import PowerRecord

MOST_LAYER_SLICES: Final = 200_000
"""Layers are drawn into as many inferences as this lets, from the first one on."""

_LAYERS_FROM: Final = "a profiled run apart, scaled into this inference"
_INT64: Final = 1 << 63


def write_trace(
    record: CameraRecord,
    path: Path,
    *,
    power: PowerRecord | None = None,
    health: Sequence[HealthSnapshot] = (),
    layers: LayerProfile | None = None,
) -> None:
    """Write a run's timeline as Perfetto's TrackEvents.

    Args:
        record: the run.
        path: file to write; one that is there is replaced, and what is no file is left alone.
        power: what its rails drew meanwhile, by the device's monotonic clock.
        health: temperatures and clocks meanwhile, by the same.
        layers: of the bundle that the run began with, from a run apart: drawn into each of its
            inferences, scaled to the time that it took.

    Raises:
        UsageError: the package ``perfetto`` is not installed, or the file cannot be written.
    """
    # Where it is a link, what that leads to is replaced.
    real = Path(os.path.realpath(path))
    growing = real.with_name(f".{real.name}.part")
    try:
        _check_place(real)
        with growing.open("wb") as stream:
            trace = TraceFile(stream, record.span_ns[0])
            line = _Line(trace, record)
            _write_frames(trace, line, record, layers)
            _write_counters(trace, line, counters(record, power, health))
            trace.flush()
        growing.replace(real)
    except OSError as error:
        raise _unwritable(path, error.strerror or str(error)) from error
    finally:
        with suppress(OSError):
            growing.unlink()


def _check_place(path: Path) -> None:
    if path.exists() and not path.is_file():
        raise _unwritable(path, "it is no plain file")


def _unwritable(path: Path, why: str) -> UsageError:
    return UsageError(
        f"cannot write the timeline {path}: {why}",
        hint="name a file in a folder that can be written to",
    )


class _Line:
    """The track that all others are under, in the order in which they are made."""

    def __init__(self, trace: TraceFile, record: CameraRecord) -> None:
        self._trace = trace
        pid = record.pid or min((number for _, number in record.threads), default=1)
        process = trace.process(pid, f"camera pipeline {record.source.name}".rstrip())
        # A track in between, as a process does not keep its own tracks in order.
        self._track = trace.track("pipeline", process)
        self._ranks = itertools.count()

    def track(self, name: str) -> int:
        """Make a track for other tracks."""
        return self._trace.track(name, self._track, rank=next(self._ranks))

    def lanes(self, name: str, about: str = "") -> "_Lanes":
        """Make tracks for slices and instants."""
        rank = next(self._ranks)
        return _Lanes(partial(self._trace.track, name, self._track, rank=rank, about=about))


class _Lanes:
    """Tracks of one name, as many as it needs for slices that overlap."""

    def __init__(self, make: Callable[[], int]) -> None:
        self._make = make
        self._tracks: list[int] = []
        self._free_ns: list[int] = []

    def take(self, start_ns: int, end_ns: int) -> int:
        """Return a track that is free meanwhile; slices come in the order of their starts."""
        for lane, free_ns in enumerate(self._free_ns):
            if free_ns <= start_ns:
                self._free_ns[lane] = end_ns
                return self._tracks[lane]
        self._tracks.append(self._make())
        self._free_ns.append(end_ns)
        return self._tracks[-1]


class _Layers:
    """Draws a model's layers into the slices of its inferences."""

    def __init__(self, trace: TraceFile, profile: LayerProfile) -> None:
        self._trace = trace
        self._layers = [layer for layer in profile.layers if layer.share > 0]
        whole = sum(layer.share for layer in self._layers)
        # Where each layer begins, and the last one ends, as parts of an inference.
        before = itertools.accumulate((layer.share / whole for layer in self._layers), initial=0.0)
        self._edges = list(before)
        self._told = [self._arguments(layer) for layer in self._layers]
        self._left = MOST_LAYER_SLICES

    def draw(self, track: int, start_ns: int, end_ns: int) -> None:
        """Draw them all between two moments."""
        if self._left < len(self._layers):
            return
        self._left -= len(self._layers)
        edges = [start_ns + round(edge * (end_ns - start_ns)) for edge in self._edges]
        for layer, told, (from_ns, to_ns) in zip(
            self._layers, self._told, itertools.pairwise(edges), strict=True
        ):
            self._trace.inner(track, from_ns, layer.name, told)
            self._trace.end(track, min(to_ns, end_ns))

    @staticmethod
    def _arguments(layer: LayerTime) -> list[Argument]:
        told: list[Argument] = [("operator", layer.operator), ("from", _LAYERS_FROM)]
        if layer.time_ns is not None:
            told.append(("profiled_ms", layer.time_ns / NS_PER_MS))
        return told


def _write_frames(
    trace: TraceFile, line: _Line, record: CameraRecord, layers: LayerProfile | None
) -> None:
    threads = {name: f"thread {number}" for name, number in record.threads}
    camera = f"{_camera(record.source)} {threads.get('capture', '')}".strip()
    _slices(trace, line.lanes("camera", camera), captures(record))
    inner = _Layers(trace, layers) if layers else None
    for index, (stage, queue) in enumerate(zip(record.stages, record.queues, strict=True)):
        about = f"{queue.policy}, {queue.depth} at most"
        _slices(trace, line.lanes(f"{stage.name} queue", about), waits(record, index))
        lanes = line.lanes(stage.name, threads.get(stage.name, ""))
        _slices(trace, lanes, works(record, index), inner)
    _instants(trace, line.lanes("drops"), drops(record))
    _instants(trace, line.lanes("bundles"), switches(record))
    gone = line.lanes("source away")
    for away in record.away:
        track = gone.take(away.from_ns, away.to_ns)
        trace.begin(track, away.from_ns, "away", [("why", away.why)])
        trace.end(track, away.to_ns)


def _camera(source: SourceFacts) -> str:
    size = f"{source.width}x{source.height}" if source.width else ""
    words = (source.kind, source.card or source.name, source.format, size)
    return " ".join(word for word in words if word)


def _slices(
    trace: TraceFile, lanes: _Lanes, slices: Iterable[Slice], inner: _Layers | None = None
) -> None:
    for each in slices:
        track = lanes.take(each.start_ns, each.end_ns)
        name, flow = f"frame {each.number}", _flow(each.number)
        trace.begin(track, each.start_ns, name, each.told, flow=flow, ends_flow=each.ends_flow)
        if each.blocked_ns:
            trace.inner(track, each.start_ns, "blocked", ())
            trace.end(track, each.start_ns + each.blocked_ns)
        if inner and each.is_layered:
            inner.draw(track, each.start_ns, each.end_ns)
        trace.end(track, each.end_ns)


def _instants(trace: TraceFile, lanes: _Lanes, instants: Iterable[Instant]) -> None:
    for each in instants:
        flow = None if each.number is None else _flow(each.number)
        trace.instant(lanes.take(0, 0), each.at_ns, each.name, each.told, flow=flow)


def _flow(number: int) -> int:
    """Return a frame's number among flows, of which none is 0."""
    return number + 1


def _write_counters(
    trace: TraceFile, line: _Line, groups: Iterable[tuple[str, str, Mapping[str, Points]]]
) -> None:
    for group, unit, values in groups:
        parent = line.track(group)
        for rank, (name, points) in enumerate(values.items()):
            track = trace.counter(name, unit, parent, rank=rank)
            for at_ns, value in points:
                if 0 <= at_ns < _INT64:  # what another program took down may be beyond all clocks
                    trace.count(track, at_ns, value)
