"""Camera runs to test with: a line of stages and queues, stepped through event by event.

What it yields is what ``edgekit.onboard.camera`` leaves of a run with these times.
"""

import heapq
import itertools
import json
from dataclasses import dataclass, field

import numpy as np

from edgekit.core.camera import STAGES

MS = 1_000_000
START_NS = 5_000 * 1_000 * MS  # the device has been up for a while
ENDS = ("delivered", "drop-oldest", "latest", "corrupt", "memory", "failed", "stopped")
FRAME = ("number", "sequence", "captured_ns", "arrived_ns", "end", "end_stage", "ended_ns",
         "bundle", "batch")  # fmt: skip
STAGE = ("offered_ns", "queued_ns", "start_ns", "end_ns", "cpu_ns", "core")
COLUMNS = (*FRAME, *(f"{stage}.{name}" for stage in STAGES for name in STAGE))
CPU = [at for at, name in enumerate(COLUMNS) if name.endswith("cpu_ns")]
HAND_OVER_NS = 20_000
BUNDLES = ("ab" * 32, "cd" * 32)


@dataclass
class Run:
    """What to run.

    ``times_ms`` holds each stage's time on a frame; ``policies`` and ``depths`` are of the queue
    before each; ``corrupt`` and ``failed`` (by stage) hold numbers of frames; ``away`` holds
    spans in milliseconds from the start; ``switch_at`` is the frame from which on the second
    bundle infers; ``stop_ms`` ends everything that is still on its way.
    """

    frames: int = 60
    period_ms: float = 33.3
    stamp_ms: float = 4.0
    times_ms: tuple = (3.0, 2.0, 20.0, 5.0, 1.0)
    policies: tuple = ("latest",) * 5
    depths: tuple = (2,) * 5
    batch: int = 1
    jitter: float = 0.1
    corrupt: frozenset = frozenset()
    failed: dict = field(default_factory=dict)
    away: tuple = ()
    switch_at: int | None = None
    stop_ms: float | None = None
    seed: int = 1


class _Line:
    def __init__(self, run):
        self.run = run
        self.random = np.random.default_rng(run.seed)
        self.now = START_NS
        self.events = []
        self.order = itertools.count()
        self.rows = []
        self.queues = [[] for _ in STAGES]
        self.is_busy = [False] * len(STAGES)
        self.waiting = [None] * len(STAGES)  # frames on offer to a full queue that blocks
        self.lost = []
        self.switches = []
        self.sequence = 0

    def at(self, time_ns, call, *args):
        heapq.heappush(self.events, (time_ns, next(self.order), call, args))

    def go(self):
        self.at(START_NS + int(self.run.period_ms * MS), self.camera_has, 0)
        stop_ns = None if self.run.stop_ms is None else START_NS + int(self.run.stop_ms * MS)
        while self.events:
            time_ns, _, call, args = heapq.heappop(self.events)
            if stop_ns is not None and time_ns > stop_ns:
                self.now = stop_ns
                break
            self.now = time_ns
            call(*args)
        for row in self.rows:
            if row["end"] < 0:
                self.ends(row, row["at"], "stopped")
                row["ended_ns"] = max(row[name] for name in COLUMNS if name.endswith("_ns"))
        return self

    def camera_has(self, index):
        """The camera took a frame; the program reads it unless it is held up."""
        run = self.run
        if index >= run.frames:
            return
        self.at(self.now + max(int(run.period_ms * MS), 1000), self.camera_has, index + 1)
        since_ms = (self.now - START_NS) / MS
        if any(start <= since_ms < end for start, end in run.away):
            return
        self.sequence += 1
        if self.waiting[0] is not None:
            self.lost.append([self.now, 1, "driver"])
            return
        row = dict.fromkeys(COLUMNS, -1)
        row |= {
            "number": len(self.rows),
            "sequence": self.sequence,
            "captured_ns": self.now - int(run.stamp_ms * MS),
            "arrived_ns": self.now,
            "at": 0,
        }
        self.rows.append(row)
        self.hand_over([row], 0)

    def hand_over(self, rows, stage):
        """Hand frames on to a stage's queue, one after the other, then let the giver go on."""
        queue, depth = self.queues[stage], self.run.depths[stage]
        policy = self.run.policies[stage]
        rows = list(rows)
        while rows:
            row = rows[0]
            row["at"] = stage
            if row[self.name(stage, "offered_ns")] < 0:
                row[self.name(stage, "offered_ns")] = self.now
            if len(queue) >= depth:
                if policy == "block":
                    self.waiting[stage] = rows
                    return
                for old in queue[: 1 if policy == "drop-oldest" else depth]:
                    queue.remove(old)
                    self.ends(old, stage, policy)
            row[self.name(stage, "queued_ns")] = self.now
            queue.append(rows.pop(0))
            self.take(stage)
        self.waiting[stage] = None
        if stage:
            self.is_busy[stage - 1] = False
            self.take(stage - 1)

    def take(self, stage):
        """Let a stage that is free begin with what waits."""
        if self.is_busy[stage] or not self.queues[stage]:
            return
        self.is_busy[stage] = True
        most = self.run.batch if STAGES[stage] == "inference" else 1
        rows = [self.queues[stage].pop(0) for _ in range(min(most, len(self.queues[stage])))]
        start_ns = self.now + HAND_OVER_NS
        took_ns = int(self.run.times_ms[stage] * MS * (1 + self.run.jitter * self.random.random()))
        for row in rows:
            row[self.name(stage, "start_ns")] = start_ns
            if STAGES[stage] == "inference":
                self.infer(row, len(rows))
        self.at(start_ns + took_ns, self.done, stage, rows, took_ns)
        if self.waiting[stage]:
            self.hand_over(self.waiting[stage], stage)

    def infer(self, row, batch):
        at = self.run.switch_at
        row["batch"] = batch
        row["bundle"] = int(at is not None and row["number"] >= at)
        if row["bundle"] and not self.switches:
            self.switches.append([self.now, 0, 1, "late: 120 ms, more than 100 ms"])

    def done(self, stage, rows, took_ns):
        handed = []
        for row in rows:
            row[self.name(stage, "end_ns")] = self.now
            row[self.name(stage, "cpu_ns")] = took_ns * 9 // 10 // len(rows)
            row[self.name(stage, "core")] = stage % 4
            if stage == 0 and row["number"] in self.run.corrupt:
                self.ends(row, 0, "corrupt")
            elif self.run.failed.get(row["number"]) == STAGES[stage]:
                self.ends(row, stage, "failed")
            elif stage == len(STAGES) - 1:
                self.ends(row, len(STAGES), "delivered")
            else:
                handed.append(row)
        if stage < len(STAGES) - 1:
            self.hand_over(handed, stage + 1)
        else:
            self.is_busy[stage] = False
            self.take(stage)

    def ends(self, row, stage, end):
        row["end"], row["end_stage"], row["ended_ns"] = ENDS.index(end), stage, self.now

    @staticmethod
    def name(stage, column):
        return f"{STAGES[stage]}.{column}"


def simulate(run=None, **changes):
    """Return ``camera.json`` as a table, and the rows of ``frames.npy``, of a run."""
    run = run or Run(**changes)
    line = _Line(run).go()
    rows = np.array([[row[name] for name in COLUMNS] for row in line.rows], np.int64)
    dropped = {}
    for row in line.rows:
        if ENDS[row["end"]] != "delivered":
            causes = dropped.setdefault(STAGES[row["end_stage"]], {})
            causes[ENDS[row["end"]]] = causes.get(ENDS[row["end"]], 0) + 1
    delivered = sum(ENDS[row["end"]] == "delivered" for row in line.rows)
    queues = zip(STAGES, run.depths, run.policies, strict=True)
    away = [
        [START_NS + int(start * MS), START_NS + int(end * MS), "no such device"]
        for start, end in run.away
    ]
    table = {
        "format": 1,
        "stages": list(STAGES),
        "columns": list(COLUMNS),
        "ends": list(ENDS),
        "queues": {stage: {"depth": depth, "policy": policy} for stage, depth, policy in queues},
        "decoded": {"by": 2, "width": 640, "height": 360},
        "source": {
            "kind": "v4l2", "name": "/dev/video0", "driver": "vivid", "card": "vivid",
            "format": "YUYV", "width": 1280, "height": 720, "fps": 30.0, "timestamps": "capture",
            "stamped_at": "end of frame", "exposure_ns": 10_000_000,
            "offered": ["YUYV 1280x720 30 fps"],
        },
        "sink": {},
        "capture": {"cpu_ns": 50_000 * len(rows)},
        "cpu_ns": int(rows[:, CPU].clip(0).sum()) + 60_000 * len(rows) if len(rows) else 0,
        "broken": "",
        "lost": line.lost,
        "away": away,
        "faults": [
            *(f"{stage}: RuntimeError: drawn to fail" for stage in run.failed.values()),
            *(["decode: a JPEG without its end"] if run.corrupt else []),
        ],
        "switches": line.switches,
        "span_ns": [START_NS, line.now],
        "threads": {name: 400 + at for at, name in enumerate(("capture", *STAGES))},
        "cores": 4,
        "bundles": list(BUNDLES),
        "counts": {
            "captured": len(rows), "delivered": delivered, "dropped": dropped,
            "lost": sum(count for _, count, _ in line.lost),
        },
    }  # fmt: skip
    return table, rows.reshape(-1, len(COLUMNS))


def write_run(folder, table, rows):
    """Write a run as the runner leaves it."""
    (folder / "camera.json").write_text(json.dumps(table))
    np.save(folder / "frames.npy", rows)
    return folder
