"""The wire protocol between host and agent; the one module that both sides import.

The device's side of the stream begins with whatever its login scripts print. Then comes a
*greeting*: ``MAGIC``, a word, and the end of the line. After the greeting ``agent 1`` both
sides send *frames*: one byte of kind, four bytes of length (big-endian), the payload.

A ``JSON`` frame is one message, an object in UTF-8:

* request, host to agent: ``{"id": 1, "verb": "put", "args": {...}}``
* event, agent to host: ``{"id": 1, "event": {...}}``, any number before the response
* response, agent to host: ``{"id": 1, "ok": {...}}`` or
  ``{"id": 1, "error": {"code": ..., "message": ..., "details": {...}}}``

* sign of life, host to agent: ``{"verb": "renew"}``; it has no answer, and may come between any
  two messages, while a request is being worked on too, but not amidst its content

A ``DATA`` frame is a piece of the content that the request in hand moves. Requests are
answered in their order, so a host may send many before it reads the first response.
"""

import json
import struct

TYPE_CHECKING = False  # importing typing costs milliseconds on a small board
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Iterator, Mapping, Optional, Tuple, Union

PROTOCOL_VERSION = 1

MAGIC = b"\x00\x01edgekit\x01 "
"""Begins a greeting. No login banner holds these control characters."""

READY = f"agent {PROTOCOL_VERSION}"
"""The greeting of a running agent: frames follow."""

MAX_BANNER_BYTES = 1 << 20
MAX_GREETING_BYTES = 1024
MAX_JSON_BYTES = 8 << 20
MAX_DATA_BYTES = 1 << 20
DATA_CHUNK_BYTES = 256 << 10
"""What a sender puts into one ``DATA`` frame."""

JSON = 0x4A
DATA = 0x44

_HEADER = struct.Struct(">BI")
HEADER_BYTES = _HEADER.size
_LIMITS = {JSON: MAX_JSON_BYTES, DATA: MAX_DATA_BYTES}

ERROR_CODES = {
    "bad_request": "the request is not one this agent understands",
    "unknown_verb": "the agent has no such verb",
    "not_found": "what the request names is not on the device",
    "busy": "another agent is changing this device",
    "disk_full": "the device has no room for what must be written",
    "hash_mismatch": "what arrived is not what was announced",
    "wrong_device": "the bundle is made for another device",
    "no_python": "the device lacks the Python that the bundle asks for",
    "unsafe_archive": "an archive would write outside its folder",
    "no_previous": "there is no earlier generation to go back to",
    "cancelled": "the host asked to stop",
    "io_error": "the device's system refused an operation",
    "internal": "a fault of the agent itself",
}
"""Every code that an error response may carry, and what it means."""

VERBS = (
    "hello",
    "missing",
    "put",
    "get",
    "install",
    "install_runtime",
    "activate",
    "rollback",
    "status",
    "run",
    "cancel",
    "pin_clocks",
    "release_clocks",
    "gc",
    "bye",
)
"""Everything an agent can be asked to do."""

RENEW = "renew"
"""The one message that is no request: the host lives."""


class ProtocolError(Exception):
    """The stream does not hold what the protocol says it must."""


class StreamEndedError(ProtocolError):
    """The stream ended in the midst of a greeting or a frame."""


class VerbError(Exception):
    """A request failed in a way that has a code; it becomes an error response."""

    def __init__(
        self, code: str, message: str, details: "Optional[Mapping[str, Any]]" = None
    ) -> None:
        if code not in ERROR_CODES:
            raise ValueError(f"no such error code: {code}")
        super().__init__(message)
        self.code = code
        self.message = message
        self.details = dict(details or {})


def header(kind: int, size_bytes: int) -> bytes:
    """Return the header of a frame.

    Raises:
        ProtocolError: the payload is larger than its kind allows.
    """
    if size_bytes > _LIMITS[kind]:
        raise ProtocolError(f"a frame of {size_bytes} bytes is over the limit of {_LIMITS[kind]}")
    return _HEADER.pack(kind, size_bytes)


def json_frame(message: "Mapping[str, Any]") -> bytes:
    """Return a whole frame that holds one message."""
    payload = json.dumps(message, separators=(",", ":")).encode("utf-8")
    return header(JSON, len(payload)) + payload


def data_frame(payload: "Union[bytes, memoryview]") -> bytes:
    """Return a whole frame that holds a piece of content."""
    return header(DATA, len(payload)) + bytes(payload)


def greeting(words: str) -> bytes:
    """Return the bytes of a greeting, such as of ``READY``."""
    return MAGIC + words.encode("ascii") + b"\n"


class FrameReader:
    """Takes greetings and frames off a stream, however the stream is cut into pieces.

    ``read(n)`` returns one to ``n`` bytes, or ``b""`` at the end. The reader never asks for
    more than the frame in hand needs, so nothing of what follows is lost in a buffer.
    """

    def __init__(self, read: "Callable[[int], bytes]") -> None:
        self._read = read
        self._buffer = bytearray()

    def greeting(self) -> str:
        """Skip what login scripts printed and return the words of the greeting.

        Raises:
            StreamEndedError: no greeting came. ``args[1]`` holds the end of what did come.
            ProtocolError: far too much came that was no greeting.
        """
        seen = bytearray()
        while not seen.endswith(MAGIC):
            seen += self._exactly(1, seen)
            if len(seen) > MAX_BANNER_BYTES:
                raise ProtocolError(f"no greeting within {MAX_BANNER_BYTES} bytes")
        words = bytearray()
        while not words.endswith(b"\n"):
            words += self._exactly(1, words)
            if len(words) > MAX_GREETING_BYTES:
                raise ProtocolError("the greeting does not end")
        return words[:-1].decode("ascii", "replace").rstrip("\r")

    def frame(self) -> "Optional[Tuple[int, bytes]]":
        """Return kind and payload of the next frame, ``None`` where the stream ends before it.

        Raises:
            ProtocolError: unknown kind, or over the size limit.
            StreamEndedError: the stream ended within the frame.
        """
        head = self.head()
        if head is None:
            return None
        return head[0], self._exactly(head[1])

    def head(self) -> "Optional[Tuple[int, int]]":
        """Return kind and payload size of the next frame; :meth:`payload` must follow."""
        if not self._buffer:
            first = self._read(HEADER_BYTES)
            if not first:
                return None
            self._buffer += first
        kind, size_bytes = _HEADER.unpack(self._exactly(HEADER_BYTES))
        if kind not in _LIMITS:
            raise ProtocolError(f"0x{kind:02x} is no kind of frame")
        if size_bytes > _LIMITS[kind]:
            raise ProtocolError(
                f"a frame of {size_bytes} bytes is over the limit of {_LIMITS[kind]}"
            )
        return kind, size_bytes

    def payload(self, size_bytes: int) -> "Iterator[bytes]":
        """Yield the payload that :meth:`head` announced, in pieces as they come."""
        left = size_bytes
        while left:
            if self._buffer:
                piece = bytes(self._buffer[:left])
                del self._buffer[:left]
            else:
                piece = self._read(left)
                if not piece:
                    raise StreamEndedError(f"the stream ended {left} bytes before a frame did")
            left -= len(piece)
            yield piece

    def feed(self, piece: bytes) -> None:
        """Take bytes that were read past this reader, to be used before its own."""
        self._buffer += piece

    def has_frame(self) -> bool:
        """Tell whether a whole frame lies in the buffer, so that :meth:`frame` cannot block."""
        if len(self._buffer) < HEADER_BYTES:
            return False
        _kind, size_bytes = _HEADER.unpack(bytes(self._buffer[:HEADER_BYTES]))
        return len(self._buffer) >= HEADER_BYTES + min(int(size_bytes), MAX_JSON_BYTES)

    def _exactly(self, size_bytes: int, before: "Union[bytes, bytearray]" = b"") -> bytes:
        while len(self._buffer) < size_bytes:
            piece = self._read(size_bytes - len(self._buffer))
            if not piece:
                seen = bytes(before[-4096:]) + bytes(self._buffer)
                raise StreamEndedError("the stream ended", seen)
            self._buffer += piece
        taken = bytes(self._buffer[:size_bytes])
        del self._buffer[:size_bytes]
        return taken


def message_of(payload: bytes) -> "Dict[str, Any]":
    """Return the message in a ``JSON`` frame.

    Raises:
        ProtocolError: the payload is no JSON object.
    """
    try:
        message = json.loads(payload.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a message is not JSON: {error}") from error
    if not isinstance(message, dict):
        raise ProtocolError("a message is not a JSON object")
    return message
