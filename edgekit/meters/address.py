"""What ``--meter`` says: which meter, how it is asked, and what it measures.

::

    scpi[,NAME=VALUE...]:RESOURCE?QUERY     scpi:TCPIP::192.168.1.50::INSTR?MEAS:POW?
    command[,NAME=VALUE...]:COMMAND         command,scope=board,scale=0.001:./read-milliwatts
"""

import math
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edgekit.core.errors import UsageError
from edgekit.core.power import SCOPES

SCPI: Final = "scpi"
COMMAND: Final = "command"

_EXAMPLES: Final = (
    "write scpi:RESOURCE?QUERY, as in scpi:TCPIP::192.168.1.50::INSTR?MEAS:POW?, or "
    "command:COMMAND, as in command:./read-watts"
)
_DEFAULT_RATE_HZ: Final[Mapping[str, float]] = {SCPI: 10.0, COMMAND: 2.0}
_DEFAULT_TIMEOUT_S: Final[Mapping[str, float]] = {SCPI: 1.0, COMMAND: 5.0}
_MOST_RATE_HZ: Final = 1000.0
_MOST_TIMEOUT_S: Final = 60.0


@dataclass(frozen=True)
class MeterAddress:
    """A meter on the host.

    Attributes:
        kind: ``SCPI`` or ``COMMAND``.
        target: the VISA resource, or the command.
        query: what a SCPI instrument is asked; empty for a command.
        scope: ``wall`` for a meter before the board's supply, ``board`` for one behind it,
            ``rail`` for a part.
        scale: what its numbers are multiplied by to be watts.
        rate_hz: how often it is asked; ``None`` where it was left open.
        timeout_s: how long a reading may take.
        label: what it is called in a report.
        visa: which VISA library, as PyVISA names it.
    """

    kind: str
    target: str
    query: str = ""
    scope: str = "wall"
    scale: float = 1.0
    rate_hz: float | None = None
    timeout_s: float = 1.0
    label: str = "meter"
    visa: str = "@py"

    @property
    def asked_hz(self) -> float:
        """How often it is asked: as said, else as suits its kind."""
        return self.rate_hz or _DEFAULT_RATE_HZ[self.kind]

    @property
    def argv(self) -> tuple[str, ...]:
        """The command's words."""
        return tuple(shlex.split(self.target))


def parse_meter(text: str) -> MeterAddress:
    """Read an address.

    Raises:
        UsageError: it is none; the message says what is wrong and shows one that is right.
    """
    head, colon, target = text.strip().partition(":")
    kind, *pairs = head.split(",")
    if kind not in {SCPI, COMMAND} or not colon:
        raise _wrong(text, f"{kind!r} is no kind of meter" if colon else "no kind of meter")
    options = _options(text, kind, pairs)
    query = ""
    if kind == SCPI:
        # A resource holds no question mark, and a query ends with one.
        target, question, query = target.partition("?")
        if not question or not query.strip():
            raise _wrong(text, "it lacks the query that asks for the power")
    target = target.strip()
    if not target:
        raise _wrong(text, "it names no resource" if kind == SCPI else "it names no command")
    if kind == COMMAND:
        try:
            shlex.split(target)
        except ValueError as error:
            raise _wrong(text, str(error).lower()) from error
    return MeterAddress(kind=kind, target=target, query=query.strip(), **options)  # type: ignore[arg-type]


def _options(text: str, kind: str, pairs: list[str]) -> dict[str, object]:
    read: Mapping[str, tuple[str, Callable[[str], object]]] = {
        "scope": ("scope", _scope),
        "scale": ("scale", lambda value: _between(value, 1e-12, 1e12)),
        "rate": ("rate_hz", lambda value: _between(value, 1e-3, _MOST_RATE_HZ)),
        "timeout": ("timeout_s", lambda value: _between(value, 1e-3, _MOST_TIMEOUT_S)),
        "label": ("label", _label),
    }
    if kind == SCPI:
        read = {**read, "visa": ("visa", str)}
    options: dict[str, object] = {"timeout_s": _DEFAULT_TIMEOUT_S[kind]}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if name not in read or not equals:
            raise _wrong(text, f"{pair!r} is none of {', '.join(f'{key}=' for key in read)}")
        field, make = read[name]
        try:
            options[field] = make(value)
        except ValueError as error:
            raise _wrong(text, f"{name}={value}: {error}") from error
    return options


def _between(value: str, least: float, most: float) -> float:
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not least <= number <= most:
        raise ValueError(f"it is to be a number from {least:g} to {most:g}")
    return number


def _scope(value: str) -> str:
    if value not in SCOPES:
        raise ValueError(f"it is to be one of {', '.join(SCOPES)}")
    return value


def _label(value: str) -> str:
    if not value.strip():
        raise ValueError("it is empty")
    return value.strip()


def _wrong(text: str, why: str) -> UsageError:
    return UsageError(f"--meter {text!r}: {why}", hint=_EXAMPLES)
