"""What the device tells while a pipeline runs, as the page takes it: known keys, checked values.

The device is not trusted to be well: what is no number is left out, and no text of it is markup.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edgekit.core.camera import STAGES

Values = Mapping[str, Any]

SECOND: Final = "second"
PREVIEW: Final = "preview"
POWER: Final = "power"
STATE: Final = "state"

_FORMATS: Final = ("jpeg", "png")
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]+={0,2}", re.ASCII)
_BOX_FIELDS: Final = 6
_LABEL_FIELDS: Final = 2
_MOST_WORDS: Final = 300
_NS_PER_S: Final = 1e9


@dataclass(frozen=True)
class Message:
    """One thing for the page: ``second``, ``preview``, ``power`` or ``state``."""

    kind: str
    values: Values


def message_of(event: Values) -> Message | None:
    """Turn an event into what the page takes; ``None`` for one that it has no use for.

    Args:
        event: of the runner (``phase`` is ``second`` or ``preview``), or of the host: ``power``
            with ``watts`` and ``temperature_c``, ``gone`` (the link to the device) and ``ended``
            (the run), each with ``why``.
    """
    phase = event.get("phase")
    make = _MAKERS.get(phase) if isinstance(phase, str) else None
    return make(event) if make is not None else None


def _second(event: Values) -> Message | None:
    at_ns, captured = number(event.get("at_ns")), number(event.get("captured"))
    if at_ns is None or captured is None:
        return None
    stages = _mapping(event.get("stages"))
    named = [name for name in STAGES if name in stages]
    named += [name for name in stages if name not in STAGES]
    return Message(
        SECOND,
        {
            "at_s": at_ns / _NS_PER_S,
            "captured": captured,
            "delivered": number(event.get("delivered")),
            "lost": number(event.get("lost")),
            "fps_out": number(event.get("fps")),
            "latency_ms": number(event.get("latency_ms")),
            "dropped": _dropped(_mapping(event.get("dropped"))),
            "stages": [_stage(name, _mapping(stages[name])) for name in named],
            "bundle": number(event.get("bundle")),
            "away": _words(event.get("away")),
        },
    )


def _stage(name: str, told: Values) -> Values:
    return {
        "name": _words(name),
        "busy": number(told.get("busy")),
        "ms": number(told.get("ms")),
        "depth": number(told.get("depth")),
    }


def _dropped(by_stage: Values) -> Sequence[Values]:
    """One row for each stage and cause, in the order of the stages."""
    order = [*STAGES, *(name for name in by_stage if name not in STAGES)]
    rows = []
    for stage in order:
        for cause, told in _mapping(by_stage.get(stage)).items():
            frames = number(told)
            if frames:
                rows.append({"stage": _words(stage), "cause": _words(cause), "frames": frames})
    return rows


def _preview(event: Values) -> Message | None:
    form, data = event.get("format"), event.get("data")
    sizes = [number(event.get(key)) for key in ("number", "width", "height")]
    if form not in _FORMATS or not isinstance(data, str) or not _BASE64.fullmatch(data):
        return None
    if None in sizes:
        return None
    answers = event.get("answers")
    return Message(
        PREVIEW,
        {
            "number": sizes[0],
            "width": sizes[1],
            "height": sizes[2],
            "url": f"data:image/{form};base64,{data}",
            "boxes": [row for row in map(_box, _rows(answers)) if row is not None],
            "labels": [row for row in map(_label, _rows(answers)) if row is not None],
        },
    )


def _rows(answers: object) -> Sequence[Sequence[object]]:
    if not isinstance(answers, list | tuple):
        return ()
    return [row for row in answers if isinstance(row, list | tuple)]


def _box(row: Sequence[object]) -> Sequence[float] | None:
    """``x0, y0, x1, y1, score, class``."""
    fields = [value for value in map(number, row) if value is not None]
    return fields if len(row) == len(fields) == _BOX_FIELDS else None


def _label(row: Sequence[object]) -> Sequence[object] | None:
    """A class or a text, and its score."""
    if len(row) != _LABEL_FIELDS:
        return None
    label = _words(row[0]) if isinstance(row[0], str) else number(row[0])
    score = number(row[1])
    return None if label is None or score is None else [label, score]


def _power(event: Values) -> Message:
    return Message(POWER, {key: number(event.get(key)) for key in ("watts", "temperature_c")})


def _gone(event: Values) -> Message:
    return Message(STATE, {"state": "gone", "why": _words(event.get("why"))})


def _ended(event: Values) -> Message:
    return Message(STATE, {"state": "ended", "why": _words(event.get("why"))})


_MAKERS: Final[Mapping[str, Callable[[Values], Message | None]]] = {
    "second": _second,
    "preview": _preview,
    "power": _power,
    "gone": _gone,
    "ended": _ended,
}


def number(value: object) -> float | None:
    """Return a number that JSON has a way to write; ``None`` for all else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return value if math.isfinite(value) else None
    except OverflowError:  # an integer beyond what a float holds
        return None


def _mapping(value: object) -> Values:
    return value if isinstance(value, Mapping) else {}


def _words(value: object) -> str:
    return str(value)[:_MOST_WORDS] if value is not None else ""
