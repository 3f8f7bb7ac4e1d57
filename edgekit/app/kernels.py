"""Candidates of tuning, measured on devices: one thread for each device, one queue for all."""

import contextlib
import hashlib
import json
import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.core.bundle import Bundle, BundleFile
from edgekit.core.errors import DeviceError, EdgekitError
from edgekit.core.events import EventSink, Note
from edgekit.tune.session import Measured
from edgekit.tune.worker import Candidate

if TYPE_CHECKING:
    from edgekit.board.counting_launcher import Launcher
    from edgekit.device import Device

_GROUP: Final = 8  # candidates that one process on the board times
_POLL_S: Final = 0.2
_MOST_BACK_OFF_S: Final = 60.0
_JOIN_S: Final = 20.0
_GRACE_S: Final = 60.0


@dataclass(frozen=True)
class KernelPlan:
    """How long a candidate is measured.

    Attributes:
        min_seconds: of one sample, which is the mean of as many runs as fit.
        limit_s: after which a candidate is ended.
    """

    min_seconds: float = 0.02
    samples: int = 3
    limit_s: float = 20.0


@dataclass(frozen=True)
class Place:
    """A device to measure on.

    Attributes:
        name: as records call it.
        open: connects; again and again if the device drops off.
        bundle: what times kernels there.
        counter: makes an emulated board, once it is connected, count what kernels execute;
            ``None`` where they are timed.
    """

    name: str
    open: Callable[[], "AbstractContextManager[Device]"]
    bundle: Callable[["Device"], Bundle]
    counter: Callable[[], "AbstractContextManager[Launcher]"] | None = None


class DeviceBench:
    """Measures candidates on several devices at once (``edgekit.tune.session.Bench``).

    Args:
        places: where; each is connected to before this returns.
        hold: measure nothing before :meth:`flush`: where candidates are built on the very machine
            on which they are measured, the one would disturb the other.
    """

    def __init__(
        self, places: Sequence[Place], plan: KernelPlan, *, hold: bool, emit: EventSink
    ) -> None:
        self._hold = hold
        self._held: list[Candidate] = []
        self._inbox: queue.SimpleQueue[Candidate] = queue.SimpleQueue()
        self._outbox: queue.SimpleQueue[Measured] = queue.SimpleQueue()
        self._stop = threading.Event()
        self._lanes = [
            _Lane(place, plan, self._inbox, self._outbox, self._stop, emit) for place in places
        ]
        try:
            for lane in self._lanes:
                lane.connect()
        except BaseException:
            self.close()
            raise
        for lane in self._lanes:
            lane.start()

    def submit(self, candidate: Candidate) -> None:
        """Have a candidate measured."""
        if self._hold:
            self._held.append(candidate)
        else:
            self._inbox.put(candidate)

    def flush(self) -> None:
        """Begin with what was held back."""
        for candidate in self._held:
            self._inbox.put(candidate)
        self._held.clear()

    def results(self, wait_s: float) -> Sequence[Measured]:
        """Return what was measured since it was asked last."""
        found: list[Measured] = []
        with contextlib.suppress(queue.Empty):
            if wait_s:
                found.append(self._outbox.get(timeout=wait_s))
            while True:
                found.append(self._outbox.get_nowait())
        return found

    def close(self) -> None:
        """End; a device ends what it is measuring first."""
        self._stop.set()
        for lane in self._lanes:
            if lane.is_alive():
                lane.join(_JOIN_S)
            lane.disconnect()


class _Lane(threading.Thread):
    """One device and what it is measuring."""

    def __init__(
        self,
        place: Place,
        plan: KernelPlan,
        inbox: "queue.SimpleQueue[Candidate]",
        outbox: "queue.SimpleQueue[Measured]",
        stop: threading.Event,
        emit: EventSink,
    ) -> None:
        super().__init__(name=f"tune {place.name}", daemon=True)
        self._place = place
        self._plan = plan
        self._inbox = inbox
        self._outbox = outbox
        self._stop_asked = stop
        self._emit = emit
        self._stack = ExitStack()
        self._ready: tuple[Device, Bundle, Launcher | None] | None = None

    def connect(self) -> None:
        """Reach the device, and have there what times kernels."""
        device = self._stack.enter_context(self._place.open())
        bundle = self._place.bundle(device)
        device.push(bundle.content, self._emit)
        device.install(bundle, self._emit)
        counter = self._place.counter
        launcher = self._stack.enter_context(counter()) if counter else None
        self._ready = (device, bundle, launcher)

    def disconnect(self) -> None:
        """Give the connection back; a broken one breaks here at most once more."""
        with contextlib.suppress(EdgekitError, OSError):
            self._stack.close()

    def run(self) -> None:
        """Measure until it is told to stop."""
        while not self._stop_asked.is_set():
            group = self._group()
            if group:
                self._measure(group)

    def _group(self) -> list[Candidate]:
        found: list[Candidate] = []
        with contextlib.suppress(queue.Empty):
            found.append(self._inbox.get(timeout=_POLL_S))
            while len(found) < _GROUP:
                found.append(self._inbox.get_nowait())
        return found

    def _measure(self, group: Sequence[Candidate]) -> None:
        waiting = {index: candidate.number for index, candidate in enumerate(group)}

        def hear(event: Mapping[str, Any]) -> None:
            number = waiting.pop(event.get("number", -1), None)
            if number is not None:
                self._outbox.put(self._measured(number, event))

        try:
            self._time(group, hear)
        except DeviceError as error:
            self._give_up(waiting, "device_lost", str(error))
            self._wait_for_device(error)
        except EdgekitError as error:
            self._give_up(waiting, "run_error", str(error))
        except Exception as error:  # noqa: BLE001 - the thread's border: nobody must wait for ever
            self._give_up(waiting, "run_error", f"{type(error).__name__}: {error}")
        else:
            self._give_up(waiting, "run_error", "the runner said nothing of it")

    def _time(self, group: Sequence[Candidate], hear: Callable[[Mapping[str, Any]], None]) -> None:
        from edgekit.device.values import RunRequest

        if self._ready is None:
            raise AssertionError  # connected before it was started
        device, bundle, launcher = self._ready
        files = [_file(candidate) for candidate in group]
        device.push(files)
        plan = {
            "arguments": [candidate.arguments for candidate in group],
            "min_seconds": self._plan.min_seconds,
            "samples": self._plan.samples,
            "limit_s": self._plan.limit_s,
            "counts": launcher.counts if launcher else "",
        }
        request = RunRequest(
            "infer",
            tuple(file.sha256 for file in files),
            postprocess_json=json.dumps(plan),
            timeout_s=self._plan.limit_s * len(group) + _GRACE_S,
            launcher=launcher.words if launcher else (),
        )
        device.run(bundle.identity, request, listen=hear)

    def _measured(self, number: int, event: Mapping[str, Any]) -> Measured:
        if "seconds" in event:
            return Measured(number, tuple(event["seconds"]), device=self._place.name)
        if "instructions" in event:
            return Measured(number, (float(event["instructions"]),), device=self._place.name)
        detail = str(event.get("detail", ""))
        return Measured(number, (), event["failure"], detail, self._place.name)

    def _give_up(self, waiting: dict[int, int], failure: Any, detail: str) -> None:  # noqa: ANN401 - a Failure
        for number in waiting.values():
            self._outbox.put(Measured(number, (), failure, detail, self._place.name))
        waiting.clear()

    def _wait_for_device(self, error: DeviceError) -> None:
        """Connect anew, less and less often, until it answers or nobody wants it any more."""
        self._emit(Note(f"{self._place.name} dropped off: {error}; waiting for it", warning=True))
        back_off_s = 1.0
        while not self._stop_asked.is_set():
            self.disconnect()
            self._stack = ExitStack()
            try:
                self.connect()
            except (EdgekitError, OSError):
                self._stop_asked.wait(back_off_s)
                back_off_s = min(2 * back_off_s, _MOST_BACK_OFF_S)
            else:
                self._emit(Note(f"{self._place.name} is back"))
                return


def passing_file(path: Path) -> BundleFile:
    """Return a file of the session's scratch folder: hashed, and remembered by no cache."""
    content = path.read_bytes()
    return BundleFile(path.name, hashlib.sha256(content).hexdigest(), len(content), path)


def _file(candidate: Candidate) -> BundleFile:
    if candidate.library is None:
        raise ValueError("only what was built can be measured")
    return passing_file(candidate.library)
