"""What became of every frame: one row each, written when it ends, and never twice."""

import struct
import threading
from typing import Any, Dict, List, Sequence

import numpy as np

from edgekit.onboard.arrays import Array
from edgekit.onboard.camera.frames import Frame
from edgekit.onboard.timing import clock_ns

DELIVERED = "delivered"
ENDS = (DELIVERED, "drop-oldest", "latest", "corrupt", "memory", "failed", "stopped")
FIRST_COLUMNS = (
    *("number", "sequence", "captured_ns", "arrived_ns"),
    *("end", "end_stage", "ended_ns", "bundle", "batch"),
)
VISIT_COLUMNS = ("offered_ns", "queued_ns", "start_ns", "end_ns", "cpu_ns", "core")
_CODES = {name: code for code, name in enumerate(ENDS)}
_KEPT_FAULTS = 32
_KEPT_ROWS = 200000  # 60 MB; an hour at 50 fps


class Ledger:
    """Counts frames and keeps their times. Used by all threads of a line.

    Args:
        stages: their names, in order.
        kept_rows: frames beyond are counted only.
    """

    def __init__(self, stages: Sequence[str], kept_rows: int = _KEPT_ROWS) -> None:
        self.stages = tuple(stages)
        self._kept_rows = kept_rows
        self._lock = threading.Lock()
        # Packed as they come: as Python's own numbers they take four times the memory.
        self._row = struct.Struct("=%dq" % len(self.columns))
        self._rows = bytearray()
        self._captured = self._delivered = 0
        self._lost: List[List[Any]] = []
        self._lost_count = 0
        self._dropped: Dict[str, Dict[str, int]] = {}
        self._latencies_ns: List[int] = []
        self.away: List[List[Any]] = []
        self.switches: List[List[Any]] = []
        self.faults: List[str] = []

    @property
    def columns(self) -> List[str]:
        """What a row holds, in order."""
        visits = ["%s.%s" % (stage, name) for stage in self.stages for name in VISIT_COLUMNS]
        return [*FIRST_COLUMNS, *visits]

    def fault(self, words: str) -> None:
        """Keep what went wrong: the first few times."""
        with self._lock:
            if len(self.faults) < _KEPT_FAULTS:
                self.faults.append(words)

    def captured(self) -> int:
        """Count one more frame; return its number."""
        with self._lock:
            self._captured += 1
            return self._captured - 1

    def lost(self, count: int, cause: str) -> None:
        """Count frames that the camera took and nobody saw."""
        with self._lock:
            self._lost_count += count
            self._lost.append([clock_ns(), count, cause])

    def delivered(self, frame: Frame) -> None:
        """End a frame: the last stage is done with it."""
        self._end(frame, DELIVERED, len(self.stages), frame.visits[-1].end_ns)

    def dropped(self, frame: Frame, stage: int, cause: str) -> None:
        """End a frame that is given up before a stage's queue, in it or in the stage itself."""
        frame.release()
        self._end(frame, cause, stage, clock_ns())

    def _end(self, frame: Frame, cause: str, stage: int, now_ns: int) -> None:
        with self._lock:
            if cause == DELIVERED:
                self._delivered += 1
                self._latencies_ns.append(now_ns - frame.captured.captured_ns)
            else:
                causes = self._dropped.setdefault(self.stages[stage], {})
                causes[cause] = causes.get(cause, 0) + 1
            if len(self._rows) < self._kept_rows * self._row.size:
                self._rows += self._row.pack(*_row(frame, cause, stage, now_ns))

    def take_latencies_ns(self) -> List[int]:
        """Return what frames took that were delivered since the last call."""
        with self._lock:
            taken, self._latencies_ns = self._latencies_ns, []
            return taken

    def counts(self) -> Dict[str, Any]:
        """Return frames captured, delivered, dropped (by stage and cause) and lost."""
        with self._lock:
            return {
                "captured": self._captured,
                "delivered": self._delivered,
                "dropped": {stage: dict(causes) for stage, causes in self._dropped.items()},
                "lost": self._lost_count,
            }

    def rows(self) -> Array:
        """Return ``int64[frames, columns]``, in the order in which frames ended."""
        with self._lock:
            rows = np.frombuffer(bytes(self._rows), np.int64)
            return rows.reshape(-1, len(self.columns))

    def as_json(self) -> Dict[str, Any]:
        """Return what stands beside the rows."""
        return {
            "stages": list(self.stages),
            "columns": self.columns,
            "ends": list(ENDS),
            "lost": self._lost,
            "away": self.away,
            "switches": self.switches,
            "faults": self.faults,
            "counts": self.counts(),
        }


def _row(frame: Frame, cause: str, stage: int, now_ns: int) -> List[int]:
    captured = frame.captured
    row = [
        *(frame.number, captured.sequence, captured.captured_ns, captured.arrived_ns),
        *(_CODES[cause], stage, now_ns, frame.bundle, frame.batch),
    ]
    for visit in frame.visits:
        row += (visit.offered_ns, visit.queued_ns, visit.start_ns)
        row += (visit.end_ns, visit.cpu_ns, visit.core)
    return row
