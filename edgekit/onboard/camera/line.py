"""The line: a thread for the source and one for each stage, with bounded queues between them."""

import sys
import threading
from typing import Any, Callable, Dict, List, Mapping, Optional, Sequence

from edgekit.onboard.camera import stage as clocks
from edgekit.onboard.camera.frames import Captured, Frame, Source, SourceEnded, SourceLostError
from edgekit.onboard.camera.hand_over import HandOver
from edgekit.onboard.camera.ledger import Ledger
from edgekit.onboard.camera.numbering import Numbering
from edgekit.onboard.camera.stage import FrameError, Stage
from edgekit.onboard.faults import RunFailedError, in_words
from edgekit.onboard.timing import clock_ns

_NS = 1_000_000_000
_READ_S = 0.25
_BACK_OFF_S = (0.1, 2.0)  # the first wait for a source that is gone, and the longest
_DRAIN_S = 5.0  # for what is on its way when somebody stops the line
_STILL_S = 60.0  # in which no stage finishes anything: it hangs
# Python's own is 5 ms: as long as a whole stage, for which another would wait.
_SWITCH_INTERVAL_S = 0.0005

# The kernel's number, which came with Python 3.8; before, Python's own.
_thread_id = getattr(threading, "get_native_id", threading.get_ident)


def _words(error: Exception) -> str:
    # What is raised to say something says all of it.
    return str(error) if isinstance(error, RunFailedError) else in_words(error)


def size_bytes(captured: Captured, by: int = 1) -> int:
    """Return what a frame takes: what the source gave, and the same in RGB, reduced by ``by``."""
    raw: int = memoryview(captured.data).nbytes if captured.data is not None else 0
    pixels: int = (captured.width // by) * (captured.height // by)
    return raw + 3 * pixels


class Plan:
    """What a line keeps to.

    Args:
        queue: ``depth`` and ``policy`` of every queue.
        queues: the same for the queue before a stage of this name.
        seconds: how long it captures; 0 for without end.
        frames: how many it captures at most; 0 for any number.
        memory_bytes: what frames on their way may take.
    """

    def __init__(
        self,
        queue: Mapping[str, Any],
        queues: Mapping[str, Mapping[str, Any]],
        seconds: float = 0.0,
        frames: int = 0,
        memory_bytes: int = 256 << 20,
    ) -> None:
        self._queue, self._queues = queue, queues
        self.seconds, self.frames, self.memory_bytes = seconds, frames, memory_bytes

    def queue(self, stage: str) -> Mapping[str, Any]:
        """Return ``depth`` and ``policy`` of the queue before a stage."""
        return self._queues.get(stage, self._queue)


class Line:
    """Runs once.

    Args:
        source: opened by the line, which opens it again when it was lost.
        stages: in order.
        plan: when it ends, and how frames wait.
        ledger: of the same stages.
        on_end: told of every frame at its end, by whichever thread ended it.
        size_bytes: what a frame takes while it is on its way.

    Attributes:
        away: why the source is gone; empty while it is there.
        broken: why the line ended before its time; empty where it did not.
    """

    def __init__(
        self,
        source: Source,
        stages: Sequence[Stage],
        plan: Plan,
        ledger: Ledger,
        on_end: Callable[[Frame], None] = lambda _frame: None,
        size_bytes: Callable[[Captured], int] = size_bytes,
    ) -> None:
        self._size_bytes = size_bytes
        self._source, self._stages, self._plan, self._ledger = source, stages, plan, ledger
        self._on_end = on_end
        self.queues: List[HandOver] = []
        for index, each in enumerate(stages):
            kept = plan.queue(each.name)
            self.queues.append(
                HandOver(index, int(kept["depth"]), str(kept["policy"]), self._dropper(index))
            )
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._held_bytes = 0
        self.away = self.broken = ""
        self.capture_cpu_ns = 0
        self.span_ns = [0, 0]
        self.threads: Dict[str, int] = {}

    def stop(self) -> None:
        """Capture no more; what is on its way still arrives. From any thread or signal."""
        self._stop.set()

    def run(self, tick: Callable[[], None], period_s: float = 1.0) -> None:
        """Run to the end, calling ``tick`` in this thread every ``period_s``.

        Raises:
            RunFailedError: the source cannot be opened.
        """
        try:
            self._source.open()
        except SourceLostError as error:
            self._source.close()
            raise RunFailedError(str(error)) from error
        interval = sys.getswitchinterval()
        sys.setswitchinterval(min(interval, _SWITCH_INTERVAL_S))
        try:
            self._run(tick, period_s)
        finally:
            sys.setswitchinterval(interval)
            self._source.close()

    def _run(self, tick: Callable[[], None], period_s: float) -> None:
        self.span_ns[0] = clock_ns()
        threads = [
            threading.Thread(target=self._work, args=(index,), name=each.name, daemon=True)
            for index, each in enumerate(self._stages)
        ]
        capture = threading.Thread(target=self._capture, name="camera", daemon=True)
        for thread in (*threads, capture):
            thread.start()
        due = clock_ns() + int(period_s * _NS)
        while capture.is_alive():
            # A join() without a limit would keep signals from being seen.
            capture.join(max(0.0, min(period_s, (due - clock_ns()) / _NS)))
            if clock_ns() >= due:
                due += int(period_s * _NS)
                tick()
        self._drain(threads)
        self.span_ns[1] = clock_ns()

    def _drain(self, threads: Sequence[threading.Thread]) -> None:
        """Let what is on its way arrive: as long as it moves, or for a moment once stopped."""
        moved_ns, done = clock_ns(), self._done()
        stopped_ns = 0
        while any(thread.is_alive() for thread in threads):
            for thread in threads:
                thread.join(_READ_S / len(threads))
            now_ns, before = clock_ns(), done
            done = self._done()
            if done != before:
                moved_ns = now_ns
            stopped_ns = stopped_ns or (now_ns if self._stop.is_set() else 0)
            hangs = now_ns - moved_ns > _STILL_S * _NS
            if hangs or (stopped_ns and now_ns - stopped_ns > _DRAIN_S * _NS):
                self._abandon()
                for thread in threads:
                    thread.join()

    def _done(self) -> List[int]:
        return [each.so_far[0] for each in self._stages]

    def fail(self, why: str) -> None:
        """End before the time, for this reason; the first one is told."""
        with self._lock:
            self.broken = self.broken or why
        self._ledger.fault(why)
        self._abandon()

    def _abandon(self) -> None:
        self._stop.set()
        for queue in self.queues:
            queue.abandon()

    def _capture(self) -> None:
        self.threads["capture"] = _thread_id()
        try:
            self._capture_frames()
        except SourceEnded:
            pass
        except Exception as error:  # noqa: BLE001 - a thread's border: the line ends with its words
            self.fail("the source failed: %s" % _words(error))
        finally:
            self.capture_cpu_ns = clocks.cpu_ns()
            self.queues[0].end()

    def _capture_frames(self) -> None:
        plan = self._plan
        limit_ns = self.span_ns[0] + int(plan.seconds * _NS) if plan.seconds else None
        numbering = Numbering()
        while not self._stop.is_set() and (limit_ns is None or clock_ns() < limit_ns):
            try:
                captured = self._source.read(_READ_S)
            except SourceLostError as error:
                if not self._regain(str(error), limit_ns):
                    return
                numbering = Numbering()
                continue
            if captured is None:
                continue
            lost = numbering.lost_before(captured.sequence)
            if lost:
                self._ledger.lost(lost, "driver")
            number = self._ledger.captured()
            self._begin(Frame(number, captured, len(self._stages)))
            if plan.frames and number + 1 >= plan.frames:
                return

    def _begin(self, frame: Frame) -> None:
        captured = frame.captured
        frame.size_bytes = self._size_bytes(captured)
        with self._lock:
            self._held_bytes += frame.size_bytes
            full = self._held_bytes > self._plan.memory_bytes
        if full or captured.corrupt:
            self._end(frame, 0, "memory" if full else "corrupt")
            return
        frame.visits[0].offered_ns = clock_ns()
        self.queues[0].put(frame)

    def _regain(self, why: str, limit_ns: Optional[int]) -> bool:
        """Wait for the source to come back; tell whether it did before the line's end."""
        since_ns, wait_s = clock_ns(), _BACK_OFF_S[0]
        self.away = why
        self._source.close()
        back = False
        while not back and not self._stop.is_set() and (limit_ns is None or clock_ns() < limit_ns):
            self._stop.wait(wait_s)
            wait_s = min(2 * wait_s, _BACK_OFF_S[1])
            try:
                self._source.open()
                back = True
            except (SourceLostError, RunFailedError) as error:
                self.away = str(error)
        self.away = ""
        self._ledger.away.append([since_ns, clock_ns(), why])
        return back

    def _work(self, index: int) -> None:
        each, queue = self._stages[index], self.queues[index]
        following = self.queues[index + 1] if index + 1 < len(self.queues) else None
        try:
            each.settle()
            self.threads[each.name] = _thread_id()
            while True:
                frames = queue.take(each.most)
                if frames is None:
                    break
                self._work_on(index, frames, following)
        except Exception as error:  # noqa: BLE001 - a thread's border: the line ends with its words
            self.fail("%s failed: %s" % (each.name, _words(error)))
        finally:
            if following is not None:
                following.end()

    def _work_on(self, index: int, frames: List[Frame], following: Optional[HandOver]) -> None:
        each = self._stages[index]
        cpu_ns, start_ns = clocks.cpu_ns(), clock_ns()
        for frame in frames:
            frame.visits[index].start_ns = start_ns
        try:
            each.run(frames)
        except FrameError as error:
            self._ledger.fault("%s: %s" % (each.name, error))
            for frame in frames:
                self._end(frame, index, error.cause)
            return
        except Exception:
            for frame in frames:
                self._end(frame, index, "failed")
            raise
        end_ns, core = clock_ns(), clocks.core()
        cpu_ns = (clocks.cpu_ns() - cpu_ns) // len(frames)
        for frame in frames:
            visit = frame.visits[index]
            visit.end_ns, visit.cpu_ns, visit.core = end_ns, cpu_ns, core
            if following is None:
                self._end(frame, index, "delivered")
            else:
                frame.visits[index + 1].offered_ns = end_ns
                following.put(frame)

    def _dropper(self, index: int) -> Callable[[Frame, str], None]:
        return lambda frame, cause: self._end(frame, index, cause)

    def _end(self, frame: Frame, index: int, cause: str) -> None:
        frame.release()
        with self._lock:
            self._held_bytes -= frame.size_bytes
        if cause == "delivered":
            self._ledger.delivered(frame)
        else:
            self._ledger.dropped(frame, index, cause)
        self._on_end(frame)
