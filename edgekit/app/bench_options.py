"""What ``bench`` was asked: how long it measures, and what it reads meanwhile."""

from dataclasses import dataclass
from typing import Final

from edgekit.app.power import STUCK_AFTER_S
from edgekit.bench.energy import Limits
from edgekit.bench.validity import MEDIAN_WIDTH
from edgekit.core.measurement import BenchPlan

# Long enough that noise can be told from a slower engine, short enough to wait for.
_SECONDS: Final = 10.0
_RUNS: Final = 30
_IDLE_S: Final = 3.0
# One may be lost at either end.
_READINGS: Final = Limits.min_samples + 2


@dataclass(frozen=True)
class BenchOptions:
    """How candidates are measured.

    Attributes:
        seconds: at least so long, once for the engine's call and once for the whole way of a
            frame; ``None``: 10, or a single run where the device is emulated; longer where a meter
            on the host is slow.
        runs: and at least so many inferences.
        budget_s: for repeats of a run that is not believed, cool-downs included; ``None``: two
            minutes, or none where the device is emulated.
        median_width: widest 95 % interval of the median, as a share of it.
        soak_s: measure once, for so long, how speed holds out; 0 for no soak.
        power_hz: readings of power each second; 0 to read none.
        idle_s: how long power is read before and after each run; ``None``: 3 seconds, or longer
            where a meter on the host is asked so seldom that they would not do.
        meters: addresses of power meters on the host.
        scopes: what a rail of this label covers (``board``, ``wall``, ``rail``), where its owner
            knows.
        stuck_after_s: a power reading that stays the same for longer is not believed.
        fixed_clocks: whether the device's clocks are pinned meanwhile.
    """

    seconds: float | None = None
    runs: int | None = None
    budget_s: float | None = None
    median_width: float = MEDIAN_WIDTH
    soak_s: float = 0.0
    power_hz: float = 100.0
    idle_s: float | None = None
    meters: tuple[str, ...] = ()
    scopes: tuple[tuple[str, str], ...] = ()
    stuck_after_s: float = STUCK_AFTER_S
    fixed_clocks: bool = False

    def plan(self, *, emulated: bool) -> BenchPlan:
        """How long the runner measures."""
        if self.soak_s:
            return BenchPlan(
                warmup_seconds=0.0,
                min_runs=1,
                min_seconds=self.soak_s,
                max_seconds=2 * self.soak_s,
                end_to_end=False,
            )
        seconds = self.seconds
        if seconds is None:
            seconds = 0.0 if emulated else max(_SECONDS, self._for_meters_s)
        return BenchPlan(
            warmup_runs=0 if emulated else BenchPlan.warmup_runs,
            warmup_seconds=0.0 if emulated else 1.0,
            min_runs=self.runs or (1 if emulated else _RUNS),
            min_seconds=seconds,
            max_seconds=max(4 * seconds, BenchPlan.max_seconds),
        )

    @property
    def idle_for_s(self) -> float:
        """How long the device is left idle before and after each run."""
        return max(_IDLE_S, self._for_meters_s) if self.idle_s is None else self.idle_s

    @property
    def _for_meters_s(self) -> float:
        """Return how long each meter takes for as many readings as are needed at least."""
        from edgekit.meters.address import parse_meter

        rates = [parse_meter(address).asked_hz for address in self.meters]
        return max((_READINGS / rate_hz for rate_hz in rates), default=0.0)
