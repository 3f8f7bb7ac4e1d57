"""What the page shows now, so that a tab that opens later, or comes back, sees the same."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, Final

from edgekit.camera.page.messages import POWER, PREVIEW, SECOND, STATE, Message, Values

SECONDS: Final = 60
"""How far back the page's lines go."""


class PageState:
    """The last minute of a run.

    Args:
        facts: what does not change: ``title``, ``classes``, ``bundles``, ``emulated``.
    """

    def __init__(self, facts: Values) -> None:
        self._facts = dict(facts)
        self._seconds: deque[Values] = deque(maxlen=SECONDS + 1)
        self._last: dict[str, Values | None] = {PREVIEW: None, POWER: None}
        self._state: Values = {"state": "waiting", "why": ""}

    @property
    def has_ended(self) -> bool:
        """Whether the run is over."""
        return bool(self._state["state"] == "ended")

    def take(self, message: Message) -> Sequence[Message]:
        """Take in a message; return what the tabs are to be told."""
        if message.kind == SECOND:
            second = {**message.values, "fps_in": self._fps_in(message.values)}
            self._seconds.append(second)
            told = [Message(SECOND, second)]
            if self._state["state"] in {"waiting", "gone"}:
                self._state = {"state": "running", "why": ""}
                told.insert(0, Message(STATE, self._state))
            return told
        if message.kind == STATE:
            self._state = message.values
        else:
            self._last[message.kind] = message.values
        return [message]

    def hello(self) -> Mapping[str, Any]:
        """All that a tab needs to begin."""
        return {**self._facts, **self._last, **self._state, "seconds": list(self._seconds)}

    def _fps_in(self, second: Values) -> float | None:
        """Frames that came since the second before; unknown for the first, and after a restart."""
        if not self._seconds:
            return None
        before = self._seconds[-1]
        span_s = second["at_s"] - before["at_s"]
        frames = second["captured"] - before["captured"]
        return float(frames / span_s) if span_s > 0 and frames >= 0 else None
