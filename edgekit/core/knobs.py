"""What can be turned on a device without building anew."""

from dataclasses import dataclass
from typing import Final

KnobValue = str | int
Knobs = tuple[tuple[str, KnobValue], ...]  # sorted by name

THREADS: Final = "threads"
# Which cores the runner may use, as Linux writes a list of them: ``4-5`` or ``0,2``.
AFFINITY: Final = "affinity"


@dataclass(frozen=True)
class Knob:
    """A name, and the values worth trying; the first is what happens when nobody turns it.

    Attributes:
        shared: the value for a process whose other threads want the cores too, such as a camera's
            pipeline; ``None`` where that makes no difference.
    """

    name: str
    values: tuple[KnobValue, ...]
    shared: KnobValue | None = None


def turned(knobs: Knobs, name: str, value: KnobValue) -> Knobs:
    """Return ``knobs`` with one of them set to ``value``."""
    return tuple(sorted({**dict(knobs), name: value}.items()))
