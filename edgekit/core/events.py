"""What long work tells of itself while it runs.

The library never prints: it hands events to a sink that its caller gave. The command
line draws them; a program may ignore them with :func:`ignore`.
"""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class StepStarted:
    """A step began. ``step`` is a stable id such as ``"build:ncnn:fp16"``."""

    step: str
    title: str


@dataclass(frozen=True)
class StepProgress:
    """A step moved on: ``done`` of ``total`` ``unit`` (total ``None``: not known).

    Attributes:
        rate_per_s: how many ``unit`` a second, where that means something.
        left_s: how long the rest will take at this rate.
    """

    step: str
    done: int
    total: int | None = None
    unit: str = ""
    rate_per_s: float | None = None
    left_s: float | None = None


@dataclass(frozen=True)
class StepFinished:
    """A step ended. ``detail`` is one short phrase, such as ``"cached"`` or ``"3.8 MB"``."""

    step: str
    detail: str = ""
    ok: bool = True


@dataclass(frozen=True)
class Note:
    """Something the user should know, outside any step; ``warning`` if it may hurt."""

    text: str
    warning: bool = False


Event = StepStarted | StepProgress | StepFinished | Note
EventSink = Callable[[Event], None]


def ignore(_event: Event) -> None:
    """Take an event and do nothing with it."""
