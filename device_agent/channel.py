"""The agent's end of the stream: requests in; events, content and responses out."""

import os
import select
import sys

from device_agent.protocol import (
    DATA,
    JSON,
    READY,
    RENEW,
    FrameReader,
    ProtocolError,
    VerbError,
    greeting,
    header,
    json_frame,
    message_of,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union

    from device_agent.clocks.lease import Lease

STALL_S = 60.0
"""A link that moves nothing for so long in the midst of a transfer is taken for lost."""


class HostGoneError(Exception):
    """The host closed the stream, or the link broke: nobody waits for an answer any more."""


class Channel:
    """Frames to and from the host over two file descriptors of our own.

    Attributes:
        source: where the host's bytes arrive.
        lease: what ends if the host falls silent; renewed by whatever it says.
    """

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.lease: "Optional[Lease]" = None
        self._sink = sink
        self._patience_s: "Optional[float]" = None
        self._backlog: "List[Dict[str, Any]]" = []
        self.reader = FrameReader(self._read)
        # sshd may give one socket for both, so both must be ready for "not now".
        os.set_blocking(source, False)
        os.set_blocking(sink, False)

    def _read(self, size_bytes: int) -> bytes:
        while True:
            try:
                piece = os.read(self.source, size_bytes)
            except BlockingIOError:
                self._wait([self.source], [], self._patience_s)
            except OSError as error:
                raise HostGoneError(str(error)) from error
            else:
                if piece and self.lease is not None:
                    self.lease.renew()
                return piece

    def _wait(self, source: "List[int]", sink: "List[int]", patience_s: "Optional[float]") -> None:
        if not any(select.select(source, sink, [], patience_s)):
            msg = f"the link stood still for {patience_s:.0f} s"
            raise HostGoneError(msg)

    def write(self, data: "Union[bytes, memoryview]") -> None:
        """Write all of ``data``."""
        left = memoryview(data)
        try:
            while left:
                try:
                    left = left[os.write(self._sink, left) :]
                except BlockingIOError:
                    self._wait([], [self._sink], STALL_S)
        except OSError as error:
            raise HostGoneError(str(error)) from error

    def greet(self) -> None:
        """Tell the host that frames follow."""
        self.write(greeting(READY))

    def request(self) -> "Optional[Dict[str, Any]]":
        """Return the next request, ``None`` once the host has closed the stream."""
        if self._backlog:
            return self._backlog.pop(0)
        while True:
            frame = self.reader.frame()
            if frame is None:
                return None
            message = _message(frame)
            if message.get("verb") != RENEW:
                return message

    def cancelled(self) -> int:
        """Take in what the host sent while a verb is at work; tell how often it was ``cancel``.

        A sign of life may come at any time, and says nothing but that.

        To be called when ``source`` is ready to be read.

        Raises:
            HostGoneError: the host closed the stream.
            ProtocolError: it sent anything else, which must wait for the verb's response.
        """
        piece = self._read(1 << 16)
        if not piece:
            msg = "the host went away while a verb was at work"
            raise HostGoneError(msg)
        self.reader.feed(piece)
        count = 0
        while self.reader.has_frame():
            frame = self.reader.frame()
            request = {} if frame is None else _message(frame)
            if request.get("verb") == RENEW:
                continue
            if request.get("verb") != "cancel":
                msg = "only cancel may be asked while a verb is at work"
                raise ProtocolError(msg)
            self._backlog.append(request)
            count += 1
        return count

    def content(self, size_bytes: int) -> "Iterator[bytes]":
        """Yield the content that follows a request: ``size_bytes`` in ``DATA`` frames."""
        self._patience_s = STALL_S
        left = size_bytes
        while left:
            head = self.reader.head()
            if head is None:
                msg = "the host went away in the midst of content"
                raise HostGoneError(msg)
            kind, length = head
            if kind != DATA or not 0 < length <= left:
                msg = f"a frame of kind {kind} and {length} bytes where {left} bytes were due"
                raise ProtocolError(msg)
            left -= length
            for piece in self.reader.payload(length):
                yield piece
        self._patience_s = None

    def send_content(self, piece: bytes) -> None:
        """Send a piece of the content that the host asked for."""
        self.write(header(DATA, len(piece)) + piece)

    def event(self, request_id: int, event: "Mapping[str, Any]") -> None:
        """Tell of progress on a request."""
        self.write(json_frame({"id": request_id, "event": event}))

    def respond(self, request_id: int, result: "Mapping[str, Any]") -> None:
        """End a request well."""
        self.write(json_frame({"id": request_id, "ok": result}))

    def refuse(self, request_id: int, error: VerbError) -> None:
        """End a request with its error."""
        body = {"code": error.code, "message": error.message, "details": error.details}
        self.write(json_frame({"id": request_id, "error": body}))


def _message(frame: "Tuple[int, bytes]") -> "Dict[str, Any]":
    kind, payload = frame
    if kind != JSON:
        msg = "content came where a request was due"
        raise ProtocolError(msg)
    return message_of(payload)


def take_streams() -> Channel:
    """Move the standard streams aside, so that nothing stray can mix with frames.

    What anything prints from here on goes to standard error, and nothing can read requests.
    """
    channel = Channel(os.dup(0), os.dup(1))
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return channel
