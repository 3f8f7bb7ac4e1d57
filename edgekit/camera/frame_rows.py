"""The rows of ``frames.npy``, one a captured frame: their columns, and whether they can be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from edgekit.camera.record_values import DELIVERED, Counts
from edgekit.camera.table import LARGEST, names, wrong

FRAME_COLUMNS: Final = (
    "number", "sequence", "captured_ns", "arrived_ns", "end", "end_stage", "ended_ns", "bundle",
    "batch",
)  # fmt: skip
STAGE_COLUMNS: Final = ("offered_ns", "queued_ns", "start_ns", "end_ns", "cpu_ns", "core")
_MOMENTS: Final = STAGE_COLUMNS[:4]
_NONE: Final = -1
_OUT: Final = "the end of the line"

Column = NDArray[np.int64]
Columns = Mapping[str, Column]


@dataclass(frozen=True, eq=False)
class StageColumns:
    """What one stage did with each frame: int64[frames] each, -1 where a frame did not get there.

    Attributes:
        offered_ns: the stage before wanted to hand the frame on.
        queued_ns: it was in this stage's queue.
        start_ns, end_ns: between which the stage worked on it.
        cpu_ns: processor time that this took of the stage's thread.
        core: on which it ended.
    """

    name: str
    offered_ns: Column
    queued_ns: Column
    start_ns: Column
    end_ns: Column
    cpu_ns: Column
    core: Column

    @classmethod
    def of(cls, name: str, columns: Columns) -> Self:
        """Take a stage's columns out of all."""
        return cls(name, **{column: columns[f"{name}.{column}"] for column in STAGE_COLUMNS})


def columns_of(told: object, stages: Sequence[str], rows: NDArray[Any]) -> Columns:
    """Return the columns by name, read-only, in the order of the frames' numbers.

    Args:
        told: the columns' names in the order of the rows.
        stages: of the pipeline.
        rows: int64[frames, columns].

    Raises:
        RunnerError: they are of another form.
    """
    held = names(told, "columns")
    wanted = [*FRAME_COLUMNS, *(f"{stage}.{name}" for stage in stages for name in STAGE_COLUMNS)]
    if missing := [name for name in wanted if name not in held]:
        raise wrong("columns", list(held), f"all of them: {', '.join(missing)} missing")
    if rows.dtype.kind != "i" or rows.dtype.itemsize != np.dtype(np.int64).itemsize:
        raise wrong("rows of type", str(rows.dtype), "int64")
    if rows.ndim != 2 or rows.shape[1] != len(held):  # noqa: PLR2004 - rows and columns
        raise wrong("rows of shape", rows.shape, f"{len(held)} columns")
    ordered = rows[np.argsort(rows[:, held.index("number")], kind="stable")].astype(np.int64)
    columns = {name: np.ascontiguousarray(ordered[:, held.index(name)]) for name in wanted}
    for column in columns.values():
        column.setflags(write=False)
    return columns


def check_rows(
    columns: Columns, stages: Sequence[str], ends: Sequence[str], bundles: Sequence[str]
) -> None:
    """See that every frame's way through the line is one that a frame can go.

    Raises:
        RunnerError: one is not; it is named.
    """
    _check_ranges(columns, stages, ends, bundles)
    number = columns["number"]
    again = np.concatenate([[False], number[1:] == number[:-1]])
    _refuse(columns, again, "number", "one that no other frame has")
    delivered = columns["end"] == ends.index(DELIVERED)
    at_end = columns["end_stage"] == len(stages)
    _refuse(columns, delivered != at_end, "end_stage", "where a frame with its end can be")
    last_ns = columns["arrived_ns"]
    for index, stage in enumerate(stages):
        past = columns["end_stage"] > index
        reached = columns["end_stage"] >= index
        for name in _MOMENTS:
            column = f"{stage}.{name}"
            there = columns[column] != _NONE
            _refuse(columns, past & ~there, column, "a moment, as the frame went on from there")
            _refuse(columns, there & ~reached, column, "absent after the frame's end")
            _refuse(columns, there & (columns[column] < last_ns), column, "later than before it")
            reached = reached & there
            last_ns = np.where(there, columns[column], last_ns)
    _refuse(columns, columns["ended_ns"] < last_ns, "ended_ns", "after all that was done before")


def check_counts(
    columns: Columns, stages: Sequence[str], ends: Sequence[str], counts: Counts
) -> None:
    """See that the totals are those of the rows, or hold them where later frames have none.

    Raises:
        RunnerError: they are not.
    """
    whole = len(columns["number"]) == counts.captured
    told = {(stage, cause): count for stage, cause, count in counts.dropped}
    told[_OUT, DELIVERED] = counts.delivered
    places = (*stages, _OUT)
    pairs, found = np.unique(
        np.stack([columns["end_stage"], columns["end"]]), axis=1, return_counts=True
    )
    for (place, end), count in zip(pairs.T, found, strict=True):
        key = places[place], ends[end]
        held = told.pop(key, 0)
        if count > held or (whole and count != held):
            raise wrong(f"counts of {key[1]} at {key[0]}", held, f"{count}, as its rows have it")
    for (stage, cause), held in told.items():
        if whole and held:
            raise wrong(f"counts of {cause} at {stage}", held, "0, as its rows have it")


def _check_ranges(
    columns: Columns, stages: Sequence[str], ends: Sequence[str], bundles: Sequence[str]
) -> None:
    least = dict.fromkeys(columns, _NONE)
    least |= dict.fromkeys(("number", "captured_ns", "arrived_ns", "end", "end_stage"), 0)
    most = {"end": len(ends) - 1, "end_stage": len(stages), "bundle": len(bundles) - 1}
    for name, column in columns.items():
        low, high = least[name], most.get(name, LARGEST)
        outside = (column < low) | (column > high)
        wanted = f"of at least {low}" if name not in most else f"from {low} to {high}"
        _refuse(columns, outside, name, wanted)


def _refuse(columns: Columns, bad: NDArray[np.bool_], name: str, wanted: str) -> None:
    if bad.any():
        at = int(np.argmax(bad))
        place = f"frame {columns['number'][at]}'s {name}"
        raise wrong(place, int(columns[name][at]), wanted)
