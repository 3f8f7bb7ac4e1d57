"""A job of kind ``camera``: the line of one source, the bundle's steps and one sink.

It leaves ``camera.json`` and ``frames.npy`` (``int64[frames, columns]``), which
``edgekit.camera.record`` on the host reads, and prints an event each second.
"""

import os
import signal
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

import numpy as np

from edgekit.onboard.camera import stage as clocks
from edgekit.onboard.camera.adapt import Switch, hottest_c, thermal_files
from edgekit.onboard.camera.decode import Decoder
from edgekit.onboard.camera.frames import Captured, Frame, SourceLostError
from edgekit.onboard.camera.ledger import Ledger
from edgekit.onboard.camera.line import Line, Plan, size_bytes
from edgekit.onboard.camera.reduction import Reduction
from edgekit.onboard.camera.stage import FrameError, Stage
from edgekit.onboard.camera.teller import Teller, print_line
from edgekit.onboard.camera.variant import Variant, check_batch
from edgekit.onboard.cores import usable_cores
from edgekit.onboard.faults import RunFailedError
from edgekit.onboard.job_files import write_json
from edgekit.onboard.timing import clock_ns

RECORD, ROWS = "camera.json", "frames.npy"
FORMAT = 1
STAGES = ("decode", "preprocess", "inference", "postprocess", "sink")
_MB = 1 << 20
_NS_PER_MS = 1e6
_NS_PER_S = 1e9


def check_camera(pipeline: Mapping[str, Any]) -> None:
    """Refuse a camera that is not as it is wanted, before a model is loaded for it.

    Other sources are asked only once: opening them takes a connection, or a decoder's start.

    Raises:
        RunFailedError: the words say what there is.
    """
    from edgekit.onboard.camera.sources import make_source

    if pipeline["source"]["kind"] != "v4l2":
        return
    source = make_source(pipeline["source"])
    try:
        source.open()
    except SourceLostError as error:
        raise RunFailedError(str(error)) from error
    finally:
        source.close()


def run_camera(
    pipeline: Mapping[str, Any], variants: Sequence[Variant], folder: str
) -> Dict[str, Any]:
    """Run a pipeline to its end; return what ``result.json`` tells of it.

    Args:
        pipeline: as ``edgekit.core.camera.PipelineSpec.as_json`` makes it.
        variants: the bundles, the first choice first.
        folder: where the record goes.

    Raises:
        RunFailedError: the pipeline cannot be as it is wanted.
    """
    check_batch(variants, int(pipeline["batch"]))
    for variant in variants:
        variant.warm_up()
    run = _Run(pipeline, variants)
    before = {each: signal.signal(each, run.end) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        run.line.run(run.tick)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        run.close()
    return run.write(folder)


class _Run:
    def __init__(self, pipeline: Mapping[str, Any], variants: Sequence[Variant]) -> None:
        from edgekit.onboard.camera.sources import make_source

        self._pipeline, self._variants = pipeline, variants
        self._ledger = Ledger(STAGES)
        self._source = make_source(pipeline["source"])
        self._sink = _make_sink(pipeline["sink"])
        self._preview = _make_preview(pipeline["preview"])
        self._reduction = self._make_reduction()
        self._decoder = Decoder(self._reduction, len(STAGES))
        adapt = pipeline["adapt"]
        self._switch = Switch(adapt, len(variants)) if adapt else None
        self._zones = thermal_files() if adapt and adapt["hot_c"] else []
        self._variant = 0
        self._stages = self._make_stages()
        plan = Plan(
            pipeline["queue"],
            pipeline["queues"],
            float(pipeline["seconds"]),
            int(pipeline["frames"]),
            int(pipeline["memory_mb"]) * _MB,
        )
        self.line = Line(
            *(self._source, self._stages, plan, self._ledger),
            on_end=self._decoder.keep,
            size_bytes=self._size_bytes,
        )
        self._seconds = _Seconds(self._stages, self._ledger, self.line)
        self._opened = False
        self._teller = Teller(print_line)
        self._began_cpu_ns = clocks.process_cpu_ns()

    def end(self, _number: int, _frame: object) -> None:
        """End before the time, by a signal; what was seen until then is told."""
        self.line.stop()

    def tick(self) -> None:
        """Tell the last second, and judge it."""
        seen = self._seconds.event(self._variant)
        self._teller.tell(seen)
        if self._switch is None:
            return
        now_ns = int(seen["at_ns"])
        heat_c = hottest_c(self._zones)
        switched = self._switch.update(now_ns, seen["latency_ms"], heat_c, not seen["away"])
        if switched:
            before, self._variant, why = switched
            self._ledger.switches.append([now_ns, before, self._variant, why])

    def close(self) -> None:
        """Let the sink finish what it was given."""
        self._teller.close()
        if self._sink is not None and self._opened:
            try:
                self._sink.close()
            except RunFailedError as error:
                # The record is worth more than a picture that is not whole.
                self.line.fail("sink: %s" % error)

    def write(self, folder: str) -> Dict[str, Any]:
        """Leave the record; return what ``result.json`` tells."""
        np.save(os.path.join(folder, ROWS), self._ledger.rows())
        record = {
            "format": FORMAT,
            **self._ledger.as_json(),
            "queues": {
                each.name: {"depth": queue.depth, "policy": queue.policy}
                for each, queue in zip(self._stages, self.line.queues)
            },
            "source": self._source.facts,
            "decoded": self._reduction.facts,
            "sink": {} if self._sink is None else self._sink.facts,
            "capture": {"cpu_ns": self.line.capture_cpu_ns},
            "cpu_ns": clocks.process_cpu_ns() - self._began_cpu_ns,
            "broken": self.line.broken,
            "span_ns": self.line.span_ns,
            "pid": os.getpid(),
            "threads": self.line.threads,
            "cores": usable_cores(),
            "bundles": [variant.name for variant in self._variants],
        }
        write_json(os.path.join(folder, RECORD), record)
        return {"files": [RECORD, ROWS], "broken": self.line.broken}

    def _make_reduction(self) -> Reduction:
        preview = self._pipeline["preview"]
        # An edgekit from before this could be asked for says nothing, and means what it did.
        asked = self._pipeline.get("decode", "whole")
        return Reduction(
            [variant.fit for variant in self._variants],
            int(preview["width"]) if preview else 0,
            whole=asked == "whole" or (self._sink is not None and self._sink.pictures),
        )

    def _size_bytes(self, captured: Captured) -> int:
        return size_bytes(captured, self._reduction.by(captured))

    def _make_stages(self) -> List[Stage]:
        work: Dict[str, Callable[[List[Frame]], None]] = {
            "decode": self._decoder.decode,
            "preprocess": self._preprocess,
            "inference": self._infer,
            "postprocess": self._postprocess,
            "sink": self._take,
        }
        placement = self._pipeline["placement"]
        most = {"inference": int(self._pipeline["batch"])}
        return [
            Stage(name, work[name], most.get(name, 1), str(placement.get(name, "")))
            for name in STAGES
        ]

    def _preprocess(self, frames: List[Frame]) -> None:
        for frame in frames:
            frame.bundle = self._variant
            self._variants[frame.bundle].preprocess(frame)

    def _infer(self, frames: List[Frame]) -> None:
        for variant, group in _by_variant(frames):
            self._variants[variant].infer(group)
        for frame in frames:
            frame.batch = len(frames)

    def _postprocess(self, frames: List[Frame]) -> None:
        for frame in frames:
            self._variants[frame.bundle].postprocess(frame)

    def _take(self, frames: List[Frame]) -> None:
        for frame in frames:
            if self._sink is not None:
                if not self._opened:
                    self._sink.open(self._source.facts)
                    self._opened = True
                try:
                    self._sink.take(frame)
                except ValueError as error:
                    raise FrameError(str(error)) from error
            if self._preview is not None:
                now_ns = clock_ns()
                if self._preview.wanted(now_ns):
                    event = self._preview.event(
                        *(frame.number, frame.rgb, frame.answers, now_ns),
                        by=self._reduction.by(frame.captured),
                    )
                    self._teller.tell(event)


class _Seconds:
    """What the last second was like."""

    def __init__(self, stages: Sequence[Stage], ledger: Ledger, line: Line) -> None:
        self._stages, self._ledger, self._line = stages, ledger, line
        self._before = [(0, 0, 0) for _ in stages]
        self._at_ns = clock_ns()

    def event(self, variant: int) -> Dict[str, Any]:
        """Return it as an event."""
        now_ns = clock_ns()
        span_ns = max(1, now_ns - self._at_ns)
        latencies = self._ledger.take_latencies_ns()
        stages = {}
        for index, (each, queue) in enumerate(zip(self._stages, self._line.queues)):
            done, worked_ns, since_ns = each.so_far
            # What takes longer than a second is work in each of the seconds that it takes.
            busy_ns = worked_ns + (max(0, now_ns - since_ns) if since_ns else 0)
            before_done, before_ns, before_busy_ns = self._before[index]
            self._before[index] = (done, worked_ns, busy_ns)
            count = done - before_done
            stages[each.name] = {
                "busy": round((busy_ns - before_busy_ns) / span_ns, 4),
                "ms": round((worked_ns - before_ns) / count / _NS_PER_MS, 4) if count else None,
                "depth": len(queue),
            }
        self._at_ns = now_ns
        seen = {
            "event": "camera",
            "phase": "second",
            "at_ns": now_ns,
            "fps": round(len(latencies) * _NS_PER_S / span_ns, 3),
            "latency_ms": float(np.median(latencies)) / _NS_PER_MS if latencies else None,
            "stages": stages,
            "bundle": variant,
            "away": self._line.away,
        }
        seen.update(self._ledger.counts())
        return seen


def _by_variant(frames: Sequence[Frame]) -> List[Any]:
    groups: List[Any] = []
    for frame in frames:
        if not groups or groups[-1][0] != frame.bundle:
            groups.append((frame.bundle, []))
        groups[-1][1].append(frame)
    return groups


def _make_sink(table: Mapping[str, Any]) -> Optional[Any]:
    if table["kind"] == "none":
        return None
    from edgekit.onboard.camera.sinks import make_sink

    return make_sink(table)


def _make_preview(table: Optional[Mapping[str, Any]]) -> Optional[Any]:
    if table is None:
        return None
    from edgekit.onboard.camera.preview import Preview

    return Preview(float(table["fps"]), int(table["width"]))
