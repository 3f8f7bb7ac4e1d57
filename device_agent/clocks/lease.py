"""The agent's hold on the guardian: renewed by every sign of life of the host."""

import json
import socket
import time

from device_agent.clocks.guardian import RELEASE, RENEW
from device_agent.protocol import VerbError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Dict, Optional

_RENEW_S = 0.3  # content comes in many pieces, and one sign of life is enough
_ANSWER_S = 15.0


class Lease:
    """Pinned clocks, for as long as the guardian hears of the host.

    Args:
        link: the agent's end of the guardian's socket.
        recover: puts back what a guardian that was killed has left.
    """

    def __init__(
        self, link: socket.socket, recover: "Callable[[], Optional[Dict[str, Any]]]"
    ) -> None:
        self._link = link
        self._recover = recover
        self._said = b""
        self._renewed = 0.0
        self._over: "Optional[Dict[str, Any]]" = None
        link.settimeout(_ANSWER_S)

    def pinned(self) -> "Dict[str, Any]":
        """Return what the guardian wrote and read back, or why it ended."""
        told = self._line()
        return self._end() if told is None else told

    @property
    def over(self) -> bool:
        """Whether the clocks are back already."""
        return self._over is not None

    def renew(self) -> None:
        """Pass on that the host lives; where the guardian was killed, put the clocks back."""
        now = time.monotonic()
        if self._over is None and now - self._renewed >= _RENEW_S:
            self._renewed = now
            self._tell(RENEW)

    def release(self) -> "Dict[str, Any]":
        """Have the clocks put back, if they are not yet, and return what became of them.

        Raises:
            VerbError: the guardian is there and says nothing.
        """
        if self._over is None:
            self._tell(RELEASE)
        return self._end() if self._over is None else self._over

    def _tell(self, word: bytes) -> None:
        try:
            self._link.send(word)
        except socket.timeout:
            return  # a guardian that is stopped; it has not heard of us for long
        except OSError:
            self._end()

    def _end(self) -> "Dict[str, Any]":
        told = self._line()
        if told is None:
            # It was killed and could say nothing: nobody else is left to do its work.
            told = self._recover() or {}
            told["ended"] = "guardian killed"
        self._link.close()
        self._over = told
        return told

    def _line(self) -> "Optional[Dict[str, Any]]":
        """Return the next thing the guardian says, ``None`` where it says nothing any more."""
        while b"\n" not in self._said:
            try:
                piece = self._link.recv(1 << 16)
            except socket.timeout as error:
                raise VerbError("io_error", "the guardian of the clocks does not answer") from error
            except OSError:
                piece = b""
            if not piece:
                return None
            self._said += piece
        line, _, self._said = self._said.partition(b"\n")
        table: "Dict[str, Any]" = json.loads(line.decode("ascii"))
        return table
