"""How far a disk is, how fast, and how long it will take."""

import time
from typing import Final

from edgekit.core.events import EventSink, StepFinished, StepProgress, StepStarted

_EVERY_S: Final = 0.25
_SETTLED_S: Final = 0.5  # a rate of less is noise


class Progress:
    """Tells of one step of one disk: a start, moves that are not too many, an end."""

    def __init__(self, step: str, title: str, emit: EventSink) -> None:
        self._step = step
        self._emit = emit
        self._began_s = self._told_s = time.monotonic()
        emit(StepStarted(step, title))

    def move(self, done: int, total: int | None, fraction: float | None = None) -> None:
        """Tell that ``done`` bytes of ``total`` are through.

        ``fraction`` says how much that is where the total is not known.
        """
        now_s = time.monotonic()
        if now_s - self._told_s < _EVERY_S:
            return
        self._told_s = now_s
        passed_s = now_s - self._began_s
        share = done / total if total else fraction
        rate = left_s = None
        if passed_s > _SETTLED_S:
            rate = done / passed_s
            left_s = passed_s * (1 - share) / share if share else None
        self._emit(StepProgress(self._step, done, total, "B", rate, left_s))

    def end(self, detail: str, *, ok: bool = True) -> float:
        """Tell that it is over; return how long it took in seconds."""
        self._emit(StepFinished(self._step, detail, ok))
        return time.monotonic() - self._began_s
