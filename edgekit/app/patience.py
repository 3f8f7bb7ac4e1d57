"""How long a race may wait for turns that are believed: one budget for all of them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edgekit.bench.repeats import is_cool
from edgekit.core.events import EventSink, Note, StepProgress
from edgekit.core.validity import Reason

if TYPE_CHECKING:
    from edgekit.core.health import HealthSnapshot
    from edgekit.device import Device

_POLL_S: Final = 2.0
_PAUSE_S: Final = 2.0


@dataclass
class Patience:
    """Time that may be spent on waiting and measuring again.

    Attributes:
        left_s: what is left of it.
    """

    left_s: float = 0.0
    _cool: "HealthSnapshot | None" = field(default=None, init=False)

    def begin(self, device: "Device") -> None:
        """Take the device as it is now for a cool one."""
        self._cool = device.health() if self.left_s > 0 else None

    def waited(
        self,
        doubts: Sequence[Reason],
        took_s: float,
        device: "Device",
        emit: EventSink,
        step: str,
    ) -> bool:
        """Wait for what was doubted to pass; false at once where there is no time for it.

        Args:
            doubts: what spoke against a turn.
            took_s: how long the turn took: as much again is taken from the budget.
            device: on which it was.
            emit: told of the wait.
            step: that the wait is part of.
        """
        if not doubts or self._cool is None or self.left_s <= took_s:
            return False
        self.left_s -= took_s
        why = "; ".join(reason.text for reason in doubts)
        began = time.monotonic()
        if any(reason.cools for reason in doubts):
            emit(Note(f"not believed: {why}; measured again once it has cooled", warning=True))
            wait_until_cool(device, self._cool, self.left_s, emit, step)
        else:
            emit(Note(f"not believed: {why}; measured again", warning=True))
            time.sleep(min(_PAUSE_S, self.left_s))
        self.left_s -= time.monotonic() - began
        return True


def wait_until_cool(
    device: "Device", before: "HealthSnapshot", seconds: float, emit: EventSink, step: str
) -> None:
    """Wait until a device is about as cool as it was, so long at most."""
    end = time.monotonic() + seconds
    while time.monotonic() + _POLL_S < end:
        time.sleep(_POLL_S)
        now = device.health()
        if is_cool(now, before):
            return
        heat = max((zone.temperature_c for zone in now.zones), default=None)
        told = "cooling down" if heat is None else f"cooling down, {heat:.0f} degrees C"
        emit(StepProgress(step, 0, None, told))
