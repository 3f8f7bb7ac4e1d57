"""Open tabs: each has a mailbox of its own, in which new pictures take the place of old ones."""

import json
import threading
from collections import deque
from typing import Final

from edgekit.camera.page.messages import SECOND, Message, Values
from edgekit.camera.page.state import SECONDS

HELLO: Final = "hello"
BYE: Final = "bye"


def packed(kind: str, values: Values) -> bytes:
    """One event as Server-Sent Events have it.

    Source: https://html.spec.whatwg.org/multipage/server-sent-events.html (9.2.5).
    """
    return f"event: {kind}\ndata: {json.dumps(values, allow_nan=False)}\n\n".encode()


class Tab:
    """What waits to be sent to one tab: of pictures, power and states the last, and all seconds.

    Whoever puts something in never waits: a tab that does not read keeps at most one minute.
    """

    def __init__(self, hello: Values) -> None:
        self._changed = threading.Condition()
        self._first = packed(HELLO, hello)
        self._last: dict[str, bytes] = {}
        self._seconds: deque[bytes] = deque(maxlen=SECONDS)
        self._ends = False

    def put(self, message: Message, data: bytes) -> None:
        """Leave a packed message."""
        with self._changed:
            if message.kind == SECOND:
                self._seconds.append(data)
            else:
                self._last[message.kind] = data
            self._changed.notify()

    def end(self) -> None:
        """Let what waits be sent, and nothing more."""
        with self._changed:
            self._ends = True
            self._changed.notify()

    def next(self, timeout_s: float) -> bytes | None:
        """Return what waits; nothing where nothing came in time, ``None`` where all is said."""
        with self._changed:
            if not self._waiting() and not self._ends:
                self._changed.wait(timeout_s)
            waiting = self._waiting()
            if self._ends and not waiting:
                return None
            self._first = b""
            self._last.clear()
            self._seconds.clear()
            return waiting

    def _waiting(self) -> bytes:
        return b"".join((self._first, *self._seconds, *self._last.values()))
