"""The host's end of the protocol: requests out; events, content and responses in."""

import threading
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Self

from device_agent.protocol import (
    DATA,
    RENEW,
    FrameReader,
    ProtocolError,
    StreamEndedError,
    header,
    json_frame,
    message_of,
)
from edgekit.core.contracts import AgentStream, Transport
from edgekit.core.errors import (
    AgentError,
    ConnectionLostError,
    DiskFullError,
    EdgekitError,
    NoPythonError,
    RunnerError,
    WrongDeviceError,
)
from edgekit.device.bootstrap import start_agent

_HINTS: Final = {
    "busy": "wait until it is done, or end that process on the device",
    "hash_mismatch": "run the same command again: the damaged content was thrown away",
    "not_found": "run the same command again: what is missing will be sent",
    "no_python": "deploy it anew for a Python that is there: edgekit deploy MODEL; edgekit devices "
    "probe lists them",
    "no_previous": "deploy something first: only what was active before can come back",
    "io_error": "look at the device's disk and at the rights of the agent's folder there",
    "internal": "this is a bug in edgekit: please report it",
}
_CAMERA_HINT: Final = (
    "a camera's pipeline may have no end of its own: end it where it was started (Ctrl-C), or end "
    "that process on the device"
)
_MB: Final = 1e6
_CLOSE_WAIT_S: Final = 1.0


@dataclass
class _Pending:
    request_id: int
    on_event: Callable[[Mapping[str, Any]], None]
    on_content: Callable[[bytes], None]
    on_result: Callable[[Mapping[str, Any]], None]


def _nothing(_value: object) -> None:
    return None


class AgentClient:
    """Talks to a running agent.

    Requests are answered in order, so :meth:`submit` may send many ahead of their answers;
    :meth:`settle` takes the answers in. :meth:`request` is one of each.
    """

    def __init__(self, name: str, stream: AgentStream, reader: FrameReader) -> None:
        self._name = name
        self._stream = stream
        self._reader = reader
        self._pending: deque[_Pending] = deque()
        self._last_id = 0
        self._usable = True
        self._writing = threading.Lock()  # a sign of life must not break into a frame

    @classmethod
    def start(cls, transport: Transport) -> Self:
        """Bring up the agent on a device."""
        return cls(transport.name, *start_agent(transport))

    def request(
        self,
        verb: str,
        args: Mapping[str, Any] | None = None,
        *,
        on_event: Callable[[Mapping[str, Any]], None] = _nothing,
        on_content: Callable[[bytes], None] = _nothing,
    ) -> Mapping[str, Any]:
        """Ask for one thing and wait for the answer.

        Raises:
            DeviceError: the agent refused, or the link broke.
        """
        answers: list[Mapping[str, Any]] = []
        self.submit(verb, args, on_event=on_event, on_content=on_content, on_result=answers.append)
        self.settle()
        return answers[0]

    def submit(
        self,
        verb: str,
        args: Mapping[str, Any] | None = None,
        *,
        content: Iterator[bytes] | None = None,
        on_event: Callable[[Mapping[str, Any]], None] = _nothing,
        on_content: Callable[[bytes], None] = _nothing,
        on_result: Callable[[Mapping[str, Any]], None] = _nothing,
    ) -> None:
        """Send a request, and the content that goes with it, without waiting for the answer.

        Pieces of ``content`` must not be longer than ``DATA_CHUNK_BYTES``. Any thread may ask at
        any time; answers are taken in by one.
        """
        with self._writing:
            self._check_usable()
            self._last_id += 1
            self._pending.append(_Pending(self._last_id, on_event, on_content, on_result))
            message = {"id": self._last_id, "verb": verb, "args": dict(args or {})}
            with self._all_or_lost():
                self._stream.write(json_frame(message))
                for piece in content or ():
                    self._stream.write(header(DATA, len(piece)) + piece)

    def settle(self, leave: int = 0) -> None:
        """Take in answers until only ``leave`` requests are without one.

        Raises:
            DeviceError: the first refusal; the answers after it are taken in all the same.
        """
        first: EdgekitError | None = None
        while len(self._pending) > leave:
            self._check_usable()
            with self._all_or_lost():
                refused = self._answer(self._pending[0])
            self._pending.popleft()
            if refused is not None and first is None:
                first, leave = refused, 0
        if first is not None:
            raise first

    def renew(self) -> None:
        """Tell the agent that this host lives; any thread may, at any time.

        Raises:
            ConnectionLostError: the link broke, or the conversation has ended.
        """
        with self._writing:
            self._check_usable()
            with self._all_or_lost():
                self._stream.write(json_frame({"verb": RENEW}))

    def close(self) -> None:
        """End the agent by closing its input."""
        # Nobody may write into what the system opens next under the same number. A writer that
        # is stuck is woken by the end itself.
        locked = self._writing.acquire(timeout=_CLOSE_WAIT_S)
        self._usable = False
        if locked:
            self._writing.release()
        self._stream.close()

    def _answer(self, pending: _Pending) -> EdgekitError | None:
        while True:
            kind, payload = self._frame()
            if kind == DATA:
                pending.on_content(payload)
                continue
            message = message_of(payload)
            if message.get("id") != pending.request_id:
                raise self._confused(f"an answer to {message.get('id')} came out of turn")
            if "event" in message:
                pending.on_event(message["event"])
            elif "ok" in message:
                pending.on_result(message["ok"])
                return None
            else:
                return self._refusal(message.get("error") or {})

    def _frame(self) -> tuple[int, bytes]:
        try:
            frame = self._reader.frame()
        except StreamEndedError:
            frame = None
        except ProtocolError as error:
            raise self._confused(str(error)) from error
        if frame is None:
            raise self._lost()
        return frame

    @contextmanager
    def _all_or_lost(self) -> Iterator[None]:
        """Let whatever breaks into a frame (Ctrl-C, say) end the conversation for good."""
        try:
            yield
        except BaseException:
            self._usable = False
            raise

    def _check_usable(self) -> None:
        if not self._usable:
            raise self._lost()

    def _confused(self, what: str) -> AgentError:
        return AgentError(f"{self._name}: {what}", code="protocol", hint=_HINTS["internal"])

    def _lost(self) -> ConnectionLostError:
        said = self._stream.diagnostics().strip().splitlines()
        last = f" (it last said: {said[-1]})" if said else ""
        return ConnectionLostError(
            f"lost {self._name} in mid-work{last}",
            hint="run the same command again: it goes on where it stopped",
        )

    def _refusal(self, error: Mapping[str, Any]) -> EdgekitError:
        code = str(error.get("code", "internal"))
        message = f"{self._name}: {error.get('message', code)}"
        details = error.get("details") or {}
        match code:
            case "disk_full":
                return DiskFullError(message, hint=_disk_hint(details))
            case "wrong_device":
                return WrongDeviceError(message, hint="choose the target that the board is")
            case "no_python":
                return NoPythonError(message, hint=_HINTS[code])
            case "cancelled":
                return RunnerError(message)
            case "busy" if (details.get("by") or {}).get("verb") == "camera":
                return AgentError(message, code=code, hint=_CAMERA_HINT)
        return AgentError(message, code=code, hint=_HINTS.get(code))


def _disk_hint(details: Mapping[str, Any]) -> str:
    free, needed = details.get("free_bytes"), details.get("needed_bytes")
    known = [
        f"{value / _MB:.1f} MB {word}"
        for value, word in ((needed, "needed"), (free, "free"))
        if isinstance(value, int)
    ]
    told = f" ({', '.join(known)})" if known else ""
    return f"free some space on the device{told}; what was sent is kept and not sent again"
