"""Camera runs on a device with few cores, whose stages slow each other down.

``camera_records.simulate`` has a core for every stage; here they share what there is. The source
gives a frame whenever it is asked, and every queue blocks.
"""

from dataclasses import dataclass, field

import numpy as np
from camera_records import COLUMNS, MS, START_NS, simulate

from edgekit.camera.record import make_record
from edgekit.core.camera import STAGES

_LEAST = 1e-9


@dataclass
class _Stage:
    """What a stage has before it: its queue, its frame, and what is left of the work on it."""

    queue: list = field(default_factory=list)
    frame: dict | None = None
    computes: float = 0.0
    waits: float = 0.0

    @property
    def is_done(self):
        return self.computes <= _LEAST and self.waits <= _LEAST


class CrowdedLine:
    """Stages that compute for ``cpu_ms`` and then wait for ``wait_ms`` on each frame."""

    def __init__(self, cpu_ms, wait_ms=(0.0,) * 5, cores=2, depth=2, jitter=0.2, seed=1):
        self.cpu_ms, self.wait_ms = cpu_ms, wait_ms
        self.cores, self.depth, self.jitter = cores, depth, jitter
        self.random = np.random.default_rng(seed)
        self.stages = [_Stage() for _ in STAGES]
        self.now = 0.0
        self.rows = []
        self.offered = None  # the frame that the source wants to hand on

    def run(self, frames):
        while any(stage.frame or stage.queue for stage in self.stages) or len(self.rows) < frames:
            while self.hand_on(frames):
                pass
            self.advance()
        for row in self.rows:
            row |= {"end": 0, "end_stage": len(STAGES), "ended_ns": row["sink.end_ns"]}
        return np.array([[row[name] for name in COLUMNS] for row in self.rows], np.int64)

    def advance(self):
        """Let time pass until a stage is done with what it does."""
        busy = [stage for stage in self.stages if stage.frame and not stage.is_done]
        computing = [stage for stage in busy if stage.computes > _LEAST]
        speed = min(1.0, self.cores / len(computing)) if computing else 1.0
        lasts = [
            stage.computes / speed if stage.computes > _LEAST else stage.waits for stage in busy
        ]
        step = min(lasts, default=0.0)
        self.now += step
        for stage in busy:
            if stage.computes > _LEAST:
                stage.computes -= step * speed
            else:
                stage.waits -= step

    def hand_on(self, frames):
        """Let whoever can take or hand on a frame do so; tell whether anybody could."""
        moved = False
        for index in reversed(range(len(STAGES))):
            stage = self.stages[index]
            if stage.frame and stage.is_done and self.leaves(index):
                moved = True
            if stage.frame is None and stage.queue:
                self.begins(index)
                moved = True
        if self.offered is None and len(self.rows) < frames:
            self.offered = self.captures()
            moved = True
        if self.offered and self.into(0, self.offered):
            self.offered = None
            moved = True
        return moved

    def captures(self):
        row = dict.fromkeys(COLUMNS, -1)
        row |= {"number": len(self.rows), "captured_ns": self.clock, "arrived_ns": self.clock}
        row |= {"decode.offered_ns": self.clock, "bundle": 0, "batch": 1}
        self.rows.append(row)
        return row

    def begins(self, index):
        stage, name = self.stages[index], STAGES[index]
        stage.frame = stage.queue.pop(0)
        factor = 1 + self.jitter * (self.random.random() - 0.5)
        stage.computes, stage.waits = self.cpu_ms[index] * factor, self.wait_ms[index] * factor
        stage.frame[f"{name}.start_ns"] = self.clock
        stage.frame[f"{name}.cpu_ns"] = int(stage.computes * MS)

    def leaves(self, index):
        stage, name = self.stages[index], STAGES[index]
        if stage.frame[f"{name}.end_ns"] < 0:
            stage.frame[f"{name}.end_ns"] = self.clock
            stage.frame[f"{name}.core"] = index % self.cores
        if index + 1 < len(STAGES) and not self.into(index + 1, stage.frame):
            return False
        stage.frame = None
        return True

    def into(self, index, row):
        name = STAGES[index]
        if row[f"{name}.offered_ns"] < 0:
            row[f"{name}.offered_ns"] = self.clock
        if len(self.stages[index].queue) >= self.depth:
            return False
        row[f"{name}.queued_ns"] = self.clock
        self.stages[index].queue.append(row)
        return True

    @property
    def clock(self):
        return START_NS + int(self.now * MS)


def crowded_record(cpu_ms, frames=300, source=None, **changes):
    """Return the record of a run of a crowded line."""
    line = CrowdedLine(cpu_ms, **changes)
    rows = line.run(frames)
    table, _ = simulate(frames=0)
    table |= {
        "source": {**table["source"], "kind": "folder", "fps": 0.0, "timestamps": "arrival"}
        | (source or {}),
        "capture": {"cpu_ns": 0},
        "cores": line.cores,
        "span_ns": [START_NS, line.clock],
        "queues": {stage: {"depth": line.depth, "policy": "block"} for stage in STAGES},
        "counts": {"captured": frames, "delivered": frames, "dropped": {}, "lost": 0},
    }
    return make_record(table, rows)


def steady_fps(record):
    """Frames a second of the middle of a run, without how the line fills and runs empty."""
    ended_ns = np.sort(record.ended_ns[record.was_delivered])
    first, last = len(ended_ns) // 4, 3 * len(ended_ns) // 4
    return (last - first) * 1e9 / (ended_ns[last] - ended_ns[first])
