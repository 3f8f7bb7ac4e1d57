"""One device that measures candidates: waited for when it drops off, given up when it hangs."""

import contextlib
import hashlib
import json
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from edgekit.core.bundle import Bundle, BundleFile
from edgekit.core.errors import (
    AgentError,
    ConnectionLostError,
    DeviceError,
    RunnerError,
    UnreachableError,
)
from edgekit.core.events import EventSink, Note, ignore
from edgekit.tune.record import Failure
from edgekit.tune.session import Measured
from edgekit.tune.worker import Candidate

if TYPE_CHECKING:
    from edgekit.board.counting_launcher import Launcher
    from edgekit.device import Device

_GROUP: Final = 8  # candidates that one process on the board times
_POLL_S: Final = 0.2
_FIRST_BACK_OFF_S: Final = 1.0
_MOST_BACK_OFF_S: Final = 60.0
# That a candidate waits through until it is given up: with back-off, longer than a runner may go
# on that a broken link left behind, and that keeps the board busy.
_MOST_LOSSES: Final = 10
_GONE: Final = (UnreachableError, ConnectionLostError, OSError)
Item = TypeVar("Item")


@dataclass(frozen=True)
class KernelPlan:
    """How long a candidate is measured, and a device waited for.

    Attributes:
        min_seconds: of one sample, which is the mean of as many runs as fit.
        limit_s: after which a candidate is ended.
        grace_s: on top of that, after which a device that says nothing hangs.
        away_s: how long all devices may be away.
    """

    min_seconds: float = 0.02
    samples: int = 3
    limit_s: float = 20.0
    grace_s: float = 60.0
    away_s: float = 1800.0


@dataclass(frozen=True)
class Place:
    """A device to measure on.

    Attributes:
        name: as records call it.
        open: connects, telling a sink of it; again and again if the device drops off.
        bundle: what times kernels there.
        counter: makes an emulated board, once it is connected, count what kernels execute;
            ``None`` where they are timed.
    """

    name: str
    open: Callable[[EventSink], "AbstractContextManager[Device]"]
    bundle: Callable[["Device"], Bundle]
    counter: Callable[[], "AbstractContextManager[Launcher]"] | None = None


@dataclass(frozen=True)
class Turn:
    """A candidate to be measured, and how often a device or a runner was lost before it was."""

    candidate: Candidate
    losses: int = 0


class Lane(threading.Thread):
    """One device and what it is measuring.

    Attributes:
        away: it was lost and is not connected again.
        reason: why it was lost last, or could not be connected again.
    """

    def __init__(
        self,
        place: Place,
        plan: KernelPlan,
        inbox: "queue.SimpleQueue[Turn]",
        outbox: "queue.SimpleQueue[Measured]",
        stop: threading.Event,
        emit: EventSink,
    ) -> None:
        super().__init__(name=f"tune {place.name}", daemon=True)
        self.place = place.name
        self.away = False
        self.reason = ""
        self._place = place
        self._plan = plan
        self._inbox = inbox
        self._outbox = outbox
        self._stop_asked = stop
        self._emit = emit
        self._stack = ExitStack()
        self._ready: tuple[Device, Bundle, Launcher | None] | None = None
        # Losses and vain attempts since it told anything last, and when they began.
        self._failures = 0
        self._useless_since_s: float | None = None
        self._began = False

    @property
    def useless_s(self) -> float:
        """How long it is since it was lost, if it has measured nothing since."""
        since_s = self._useless_since_s
        return 0.0 if since_s is None else time.monotonic() - since_s

    def connect(self, emit: EventSink) -> None:
        """Reach the device, and have there what times kernels."""
        device = self._stack.enter_context(self._place.open(emit))
        bundle = self._place.bundle(device)
        device.push(bundle.content, emit)
        device.install(bundle, emit)
        counter = self._place.counter
        launcher = self._stack.enter_context(counter()) if counter else None
        self._ready = (device, bundle, launcher)

    def disconnect(self) -> None:
        """Give the connection back; a broken one breaks here at most once more."""
        self._ready = None
        with contextlib.suppress(Exception):
            self._stack.close()

    def run(self) -> None:
        """Measure until it is told to stop."""
        while not self._stop_asked.is_set():
            group = self._group()
            if group:
                self._measure(group)

    def _group(self) -> list[Turn]:
        return taken(self._inbox, _POLL_S, _GROUP)

    def _measure(self, group: Sequence[Turn]) -> None:
        # In the order in which the runner takes them: the first left is the one in flight.
        waiting = dict(enumerate(group))

        def hear(event: Mapping[str, Any]) -> None:
            turn = waiting.pop(event.get("number", -1), None)
            if turn is not None:
                self._failures, self._useless_since_s = 0, None
                self._outbox.put(self._measured(turn.candidate.number, event))

        self._began = False
        try:
            self._time([turn.candidate for turn in group], hear)
        except DeviceError as error:
            self._count_loss(error)
            self._began = self._began and not _is_refusal(error)
            self._hand_back(list(waiting.values()), "device_lost", str(error))
            self._wait_for_device()
        except RunnerError as error:
            self._hand_back(list(waiting.values()), "run_error", str(error))
        except Exception as error:  # noqa: BLE001 - the thread's border: nobody must wait for ever
            self._give_up(waiting.values(), "run_error", str(error) or type(error).__name__)
        else:
            self._give_up(waiting.values(), "run_error", "the runner said nothing of it")

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
            timeout_s=self._plan.limit_s * len(group) + self._plan.grace_s,
            launcher=launcher.words if launcher else (),
        )
        self._began = True
        with _watched(device, self._plan.limit_s + self._plan.grace_s) as heard:

            def listen(event: Mapping[str, Any]) -> None:
                heard()
                hear(event)

            device.run(bundle.identity, request, listen=listen)

    def _measured(self, number: int, event: Mapping[str, Any]) -> Measured:
        if "seconds" in event:
            return Measured(number, tuple(event["seconds"]), device=self._place.name)
        if "instructions" in event:
            return Measured(number, (float(event["instructions"]),), device=self._place.name)
        detail = str(event.get("detail", ""))
        return Measured(number, (), event["failure"], detail, self._place.name)

    def _give_up(self, turns: Iterable[Turn], failure: Failure, detail: str) -> None:
        for turn in turns:
            number = turn.candidate.number
            self._outbox.put(Measured(number, (), failure, detail, self._place.name))

    def _count_loss(self, error: DeviceError) -> None:
        self.away, self.reason = True, str(error)
        self._failures += 1
        self._useless_since_s = self._useless_since_s or time.monotonic()
        self._emit(Note(f"{self._place.name} dropped off: {error}; waiting for it", warning=True))

    def _hand_back(self, left: Sequence[Turn], failure: Failure, detail: str) -> None:
        """Mark what was in flight; what had not begun is for whichever device is free next."""
        for index, turn in enumerate(left):
            later = replace(turn, losses=turn.losses + 1)
            if (self._began and index == 0) or later.losses >= _MOST_LOSSES:
                self._give_up([turn], failure, detail)
            else:
                self._inbox.put(later)

    def _wait_for_device(self) -> None:
        """Connect anew, less and less often, until it answers or nobody wants it any more."""
        told = ""
        while not self._stop_asked.wait(_back_off_s(self._failures)):
            self.disconnect()
            self._stack = ExitStack()
            try:
                self.connect(ignore)
            except Exception as error:  # noqa: BLE001 - the thread's border: it must not end here
                self._failures += 1
                self.reason = str(error) or type(error).__name__
                # That nobody answers was told; that somebody does who is no use must be.
                if not isinstance(error, _GONE) and told != self.reason:
                    told = self.reason
                    text = f"{self._place.name} cannot be used yet: {told}"
                    self._emit(Note(text, warning=True))
            else:
                self.away = False
                self._emit(Note(f"{self._place.name} is back"))
                return


def _is_refusal(error: DeviceError) -> bool:
    """Tell whether the device answered and would not begin, such as one that is busy."""
    garbled = isinstance(error, AgentError) and error.code == "protocol"
    return not garbled and not isinstance(error, ConnectionLostError)


def _back_off_s(failures: int) -> float:
    """Return how long to wait after so many failures in a row."""
    doublings = min(failures - 1, 16)  # a number of many bits is no float any more
    return min(_FIRST_BACK_OFF_S * 2.0**doublings, _MOST_BACK_OFF_S)


@contextmanager
def _watched(device: "Device", limit_s: float) -> "Iterator[Callable[[], None]]":
    """End the connection to a device that says nothing for so long; what it yields is a sign.

    An SSH server may well answer on a board where nothing else does any more.
    """
    heard, ended, hung = threading.Event(), threading.Event(), threading.Event()

    def sign() -> None:
        heard.set()

    def watch() -> None:
        while heard.wait(limit_s):
            heard.clear()
            if ended.is_set():
                return
        hung.set()
        with contextlib.suppress(Exception):  # whoever waits on the connection is told
            device.close()

    watcher = threading.Thread(target=watch, name="tune watch", daemon=True)
    watcher.start()
    try:
        yield sign
    except Exception as error:
        if not hung.is_set():
            raise
        raise ConnectionLostError(f"it said nothing for {limit_s:g} s") from error
    finally:
        ended.set()
        heard.set()
        watcher.join()


def passing_file(path: Path) -> BundleFile:
    """Return a file of the session's scratch folder: hashed, and remembered by no cache."""
    content = path.read_bytes()
    return BundleFile(path.name, hashlib.sha256(content).hexdigest(), len(content), path)


def _file(candidate: Candidate) -> BundleFile:
    if candidate.library is None:
        raise ValueError("only what was built can be measured")
    return passing_file(candidate.library)


def taken(source: "queue.SimpleQueue[Item]", wait_s: float, most: int | None = None) -> list[Item]:
    """Take what is there; wait a little for the first."""
    found: list[Item] = []
    with contextlib.suppress(queue.Empty):
        if wait_s:
            found.append(source.get(timeout=wait_s))
        while most is None or len(found) < most:
            found.append(source.get_nowait())
    return found
