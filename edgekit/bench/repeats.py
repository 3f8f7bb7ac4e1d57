"""A run again, until it may be believed or its time is over."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

from edgekit.core.health import HealthSnapshot
from edgekit.core.validity import Validity

Run = TypeVar("Run")

COOL_MARGIN_C: Final = 3.0
"""A device is cool again within this of its temperature before the first run. Our choice: the
noise of the boards' sensors is 1 to 2 degrees, and the last degrees take the longest."""

_FIRST_PAUSE_S: Final = 1.0
_PAUSE_FACTOR: Final = 2.0


@dataclass(frozen=True)
class Tried(Generic[Run]):
    """A run, what was thought of it, and how long was waited after it."""

    run: Run
    validity: Validity
    waited_s: float = 0.0


class Repeats(Generic[Run]):
    """Runs until one is believed, within a budget.

    Args:
        run: measures once.
        judge: tells whether to believe it.
        cool: waits for the device to cool, so many seconds at most.
        budget_s: beyond the first run, for repeats and for what is waited between them.
        clock, sleep: of this machine, in seconds.
    """

    def __init__(
        self,
        run: Callable[[], Run],
        judge: Callable[[Run], Validity],
        cool: Callable[[float], None],
        budget_s: float,
        *,
        clock: Callable[[], float],
        sleep: Callable[[float], None],
    ) -> None:
        self._run = run
        self._judge = judge
        self._cool = cool
        self._budget_s = budget_s
        self._clock = clock
        self._sleep = sleep

    def tries(self, tell: Callable[[Validity], None]) -> tuple[Tried[Run], ...]:
        """Return every try; the last one is believed, or the budget was used up.

        Args:
            tell: hears why a run is repeated.
        """
        tried: list[Tried[Run]] = []
        began = self._clock()
        found = self._run()
        first_s = self._clock() - began
        began = self._clock()
        pause_s = _FIRST_PAUSE_S
        while True:
            validity = self._judge(found)
            left_s = self._budget_s - (self._clock() - began) - first_s
            if validity.valid or left_s < pause_s:
                return (*tried, Tried(found, validity))
            tell(validity)
            waiting = self._clock()
            if validity.cool_down_helps:
                self._cool(left_s)
            else:
                self._sleep(pause_s)
                pause_s *= _PAUSE_FACTOR
            tried.append(Tried(found, validity, self._clock() - waiting))
            found = self._run()


def is_cool(now: HealthSnapshot, before: HealthSnapshot) -> bool:
    """Tell whether every zone is about as cool as it was, and nothing limits the device more."""
    was = {(zone.zone, zone.type): zone.temperature_c for zone in before.zones}
    for zone in now.zones:
        start_c = was.get((zone.zone, zone.type))
        if start_c is not None and zone.temperature_c > start_c + COOL_MARGIN_C:
            return False
    states = {(one.device, one.type): one.state for one in before.cooling}
    if any(one.state > states.get((one.device, one.type), 0) for one in now.cooling):
        return False
    limits = {one.policy: one.limit_max_khz for one in before.clusters}
    for cluster in now.clusters:
        top = limits.get(cluster.policy)
        if top is not None and cluster.limit_max_khz is not None and cluster.limit_max_khz < top:
            return False
    return True
