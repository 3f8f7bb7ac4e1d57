"""What a camera run left: every captured frame, and what became of it.

The runner (``edgekit.onboard.camera``) writes ``camera.json`` and ``frames.npy``. Both are
checked here, so that whoever reckons with them need not: each frame ended once, at a place that
fits what it went through, and the totals are those of the frames.
"""

import json
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tokenize import TokenError
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.camera.frame_rows import (
    FRAME_COLUMNS,
    Column,
    StageColumns,
    check_counts,
    check_rows,
    columns_of,
)
from edgekit.camera.record_values import (
    DELIVERED,
    Away,
    Counts,
    Decoded,
    Lost,
    SourceFacts,
    Switch,
    as_span,
    queues_of,
    threads_of,
)
from edgekit.camera.table import (
    Table,
    as_table,
    as_text,
    as_whole,
    listed,
    names,
    value_of,
    wrong,
)
from edgekit.core.camera import QueueSpec
from edgekit.core.errors import RunnerError

FORMAT: Final = 1
JSON_NAME: Final = "camera.json"
ROWS_NAME: Final = "frames.npy"
MOST_ROWS: Final = 200_000
"""The runner keeps the rows of so many frames; later ones are counted only."""


@dataclass(frozen=True, eq=False)
class CameraRecord:
    """One run of a camera pipeline. Moments are of the device's monotonic clock.

    Attributes:
        number: of each frame, ascending; all columns are int64[frames] in this order.
        sequence: the driver's own number; -1 for none.
        captured_ns: as stamped by the source; a driver's own stamp may be after ``arrived_ns``.
        end: how each frame ended, an index into ``ends``.
        end_stage: index of the stage in which, or before which, it ended; the number of stages
            where it was delivered.
        bundle: index into ``bundles`` of what inferred it; -1 for none.
        batch: how many frames were inferred together with it; -1 for none.
        stages: in the order of the pipeline.
        queues: before each stage, in the same order.
        decoded: the picture that was made of the first frame; ``None`` where it is not told.
        capture_cpu_ns: processor time of the thread that reads the source.
        cpu_ns: of the whole process while the line ran; ``None`` where the runner tells none.
        broken: why the line ended before its time; empty where it did not.
        faults: first words of what failed on frames.
        span_ns: from when to when the line ran.
        pid: of the runner; ``None`` where it tells none.
        threads: the kernel's number of each, by stage, with ``capture`` for the source's.
        cores: how many the device has.
    """

    number: Column
    sequence: Column
    captured_ns: Column
    arrived_ns: Column
    end: Column
    end_stage: Column
    ended_ns: Column
    bundle: Column
    batch: Column
    stages: tuple[StageColumns, ...]
    ends: tuple[str, ...]
    queues: tuple[QueueSpec, ...]
    source: SourceFacts
    decoded: Decoded | None
    capture_cpu_ns: int
    cpu_ns: int | None
    broken: str
    lost: tuple[Lost, ...]
    away: tuple[Away, ...]
    faults: tuple[str, ...]
    switches: tuple[Switch, ...]
    span_ns: tuple[int, int]
    pid: int | None
    threads: tuple[tuple[str, int], ...]
    cores: int
    bundles: tuple[str, ...]
    counts: Counts

    @property
    def frames(self) -> int:
        """How many frames have rows."""
        return len(self.number)

    @property
    def is_whole(self) -> bool:
        """Whether every captured frame has a row."""
        return self.frames == self.counts.captured

    @property
    def was_delivered(self) -> NDArray[np.bool_]:
        """bool[frames]: which reached the end of the line."""
        delivered: NDArray[np.bool_] = self.end == self.ends.index(DELIVERED)
        return delivered

    def stage(self, name: str) -> StageColumns:
        """Return a stage's columns.

        Raises:
            KeyError: there is none of this name.
        """
        return {stage.name: stage for stage in self.stages}[name]


def read_record(folder: Path) -> CameraRecord:
    """Read what a run left in a folder.

    Raises:
        RunnerError: a file is missing, damaged, or holds what no run can have left.
    """
    path, rows_path = folder / JSON_NAME, folder / ROWS_NAME
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise _unreadable(path, error) from error
    return make_record(table, _rows(rows_path))


def make_record(told: object, rows: NDArray[Any]) -> CameraRecord:
    """Check a run's table, as ``camera.json`` holds it, and its frames.

    Args:
        told: the table.
        rows: int64[frames, columns].

    Raises:
        RunnerError: they hold what no run can have left.
    """
    table = as_table(told, JSON_NAME)
    if table.get("format") != FORMAT:
        raise wrong("format", table.get("format"), f"{FORMAT}, which this edgekit reads")
    stages, ends, bundles = (names(value_of(table, name), name) for name in _NAMED)
    if not stages:
        raise wrong("stages", [], "one at least")
    if DELIVERED not in ends:
        raise wrong("ends", list(ends), f"names with {DELIVERED} among them")
    columns = columns_of(value_of(table, "columns"), stages, rows)
    counts = Counts.from_json(value_of(table, "counts"), stages, ends)
    if len(rows) != min(counts.captured, MOST_ROWS):
        raise wrong("rows", len(rows), f"{min(counts.captured, MOST_ROWS)}, one a captured frame")
    check_rows(columns, stages, ends, bundles)
    check_counts(columns, stages, ends, counts)
    of_frames: dict[str, Any] = {name: columns[name] for name in FRAME_COLUMNS}
    return CameraRecord(
        **of_frames,
        stages=tuple(StageColumns.of(stage, columns) for stage in stages),
        ends=ends,
        queues=queues_of(value_of(table, "queues"), stages),
        bundles=bundles,
        counts=counts,
        **_besides(table, len(bundles)),
    )


_NAMED: Final = ("stages", "ends", "bundles")


def _besides(table: Table, bundles: int) -> dict[str, Any]:
    """Return what a record tells besides its frames."""
    capture = as_table(value_of(table, "capture"), "capture")
    switch = partial(Switch.from_json, bundles=bundles)
    return {
        "source": SourceFacts.from_json(value_of(table, "source")),
        "decoded": Decoded.from_json(table.get("decoded")),
        "capture_cpu_ns": as_whole(value_of(capture, "cpu_ns"), "capture.cpu_ns"),
        **{name: _whole_or_none(table, name) for name in ("cpu_ns", "pid")},
        "broken": as_text(table.get("broken", ""), "broken"),
        "lost": listed(value_of(table, "lost"), "lost", Lost.from_json),
        "away": listed(value_of(table, "away"), "away", Away.from_json),
        "faults": listed(value_of(table, "faults"), "faults", as_text),
        "switches": listed(value_of(table, "switches"), "switches", switch),
        "span_ns": as_span(value_of(table, "span_ns"), "span_ns"),
        "threads": threads_of(value_of(table, "threads")),
        "cores": as_whole(value_of(table, "cores"), "cores", least=1),
    }


def _whole_or_none(table: Table, name: str) -> int | None:
    return None if table.get(name) is None else as_whole(table[name], name)


def _rows(path: Path) -> NDArray[Any]:
    try:
        # Mapped first: a header that promises more than the file holds is refused, not allocated.
        return np.array(np.lib.format.open_memmap(path, mode="r"))
    except _NO_ROWS as error:
        raise _unreadable(path, error) from error


# What NumPy raises on headers that are none: it reads them as Python.
_NO_ROWS: Final = (OSError, ValueError, TypeError, SyntaxError, TokenError, ArithmeticError)


def _unreadable(path: Path, error: BaseException) -> RunnerError:
    why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return RunnerError(
        f"cannot read {path.name} of the camera run: {why or type(error).__name__}",
        hint=f"{path} is what the run left; run it again",
    )
