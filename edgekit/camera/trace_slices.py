"""What frames did when, as slices and instants of a timeline."""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edgekit.camera.frame_rows import Column, StageColumns
from edgekit.camera.record import CameraRecord
from edgekit.camera.trace_file import Argument

INFERENCE: Final = "inference"
_NS_PER_MS: Final = 1e6
_NONE: Final = -1
_BUNDLE_LETTERS: Final = 12
_SHORTEST_BLOCK_NS: Final = 100_000
"""What is shorter is the handing over itself."""


class Slice(NamedTuple):
    """A frame on a track.

    Attributes:
        told: what its details say.
        blocked_ns: how much of it, from its start, was spent in the way of the stage before.
        is_layered: whether the first bundle's layers were computed in it, and in no other slice
            of the same time.
    """

    start_ns: int
    end_ns: int
    number: int
    told: tuple[Argument, ...]
    ends_flow: bool = False
    blocked_ns: int = 0
    is_layered: bool = False


class Instant(NamedTuple):
    """A moment on a track; ``number`` is of the frame that ended there."""

    at_ns: int
    name: str
    told: tuple[Argument, ...]
    number: int | None = None


def captures(record: CameraRecord) -> Iterator[Slice]:
    """Yield each frame from its capture to its arrival."""
    # A driver's own stamp may be later than it should be.
    start_ns = np.minimum(record.captured_ns, record.arrived_ns)
    every = np.ones(record.frames, dtype=bool)
    rows = _ordered(start_ns, every, record.arrived_ns, record.number, record.sequence)
    for start, end, number, sequence in rows:
        yield Slice(start, end, number, (("number", number), ("sequence", sequence)))


def waits(record: CameraRecord, index: int) -> Iterator[Slice]:
    """Yield each frame from its offer to a stage to the stage's start on it, or its end."""
    stage, queue = record.stages[index], record.queues[index]
    left_ns = np.where(stage.start_ns >= 0, stage.start_ns, record.ended_ns)
    queued_ns = np.where(stage.queued_ns >= 0, stage.queued_ns, left_ns)
    blocked_ns = queued_ns - stage.offered_ns
    offered = stage.offered_ns >= 0
    for start, end, number, blocked in _ordered(
        stage.offered_ns, offered, left_ns, record.number, blocked_ns
    ):
        blocks = queue.policy == "block" and blocked >= _SHORTEST_BLOCK_NS
        yield Slice(start, end, number, (("number", number),), blocked_ns=blocked * blocks)


def works(record: CameraRecord, index: int) -> Iterator[Slice]:
    """Yield each frame that a stage worked on."""
    stage = record.stages[index]
    has_layers = stage.name == INFERENCE
    end_ns = np.where(stage.end_ns >= 0, stage.end_ns, record.ended_ns)
    is_last = record.was_delivered & (index == len(record.stages) - 1)
    ended_here = np.where(record.end_stage == index, record.end, _NONE)
    layered = _first_of_batches(stage, record) if has_layers else np.zeros_like(is_last)
    rows = _ordered(
        stage.start_ns, stage.start_ns >= 0, end_ns, record.number, is_last, layered, ended_here,
        record.sequence, stage.core, stage.cpu_ns, record.batch, record.bundle,
    )  # fmt: skip
    for start, end, number, last, layer, ended, sequence, core, cpu_ns, batch, bundle in rows:
        told: list[Argument] = [("number", number)]
        told += [
            (name, value)
            for name, value in (("sequence", sequence), ("core", core))
            if value != _NONE
        ]
        if cpu_ns != _NONE:
            told.append(("cpu_ms", cpu_ns / _NS_PER_MS))
        if has_layers and bundle != _NONE:
            told += [("batch", batch), ("bundle", _short(record.bundles[bundle]))]
        if ended != _NONE:
            told.append(("ended", record.ends[ended]))
        yield Slice(start, end, number, tuple(told), bool(last), is_layered=bool(layer))


def drops(record: CameraRecord) -> Iterator[Instant]:
    """Yield the ends of frames that were not delivered, losses before any frame, a broken line."""
    stages = [stage.name for stage in record.stages]
    rows = _ordered(
        record.ended_ns, ~record.was_delivered, record.number, record.end, record.end_stage
    )
    for at_ns, number, end, stage in rows:
        cause = record.ends[end]
        told = ("number", number), ("cause", cause), ("stage", stages[stage])
        yield Instant(at_ns, cause, told, number)
    for lost in record.lost:
        yield Instant(lost.at_ns, "lost", (("count", lost.count), ("cause", lost.why)))
    if record.broken:
        yield Instant(record.span_ns[1], "broken", (("cause", record.broken),))


def switches(record: CameraRecord) -> Iterator[Instant]:
    """Yield each switch of bundles."""
    for switch in record.switches:
        before, after = record.bundles[switch.from_bundle], record.bundles[switch.to_bundle]
        told = ("from", before), ("to", after), ("why", switch.why)
        yield Instant(switch.at_ns, f"to {_short(after)}", told)


def _ordered(by: Column, where: NDArray[np.bool_], *columns: NDArray) -> Iterable[tuple[int, ...]]:  # type: ignore[type-arg]
    """Return rows of ``by`` and the other columns where asked for, ascending, in Python's ints."""
    kept = np.flatnonzero(where)
    kept = kept[np.argsort(by[kept], kind="stable")]
    return zip(*(column[kept].tolist() for column in (by, *columns)), strict=True)


def _first_of_batches(stage: StageColumns, record: CameraRecord) -> NDArray[np.bool_]:
    """bool[frames]: inferred by the first bundle, and the first frame of those at one time."""
    first = np.zeros(record.frames, dtype=bool)
    done = np.flatnonzero((stage.end_ns >= 0) & (record.bundle == 0))
    first[done[np.unique(stage.start_ns[done], return_index=True)[1]]] = True
    return first


def _short(bundle: str) -> str:
    return bundle[:_BUNDLE_LETTERS]
