"""From a watched run's readings of power to what an inference took."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from edgekit.bench.board_energy import board_energy
from edgekit.bench.clocks import (
    ClockOffset,
    RoundTrip,
    clock_offset,
    offset_of_run,
    on_device_clock,
)
from edgekit.bench.energy import Limits
from edgekit.bench.run_power import RailEnergy, power_of_run
from edgekit.core.bench import PowerFigures
from edgekit.core.power import PowerRecord

if TYPE_CHECKING:
    from edgekit.device import Device, RunResult

# Without a look at idle nothing above it can be told, and power_of_run says so.
_NOTHING: Final = (0, 0)
STUCK_AFTER_S: Final = Limits.max_unchanged_s


@dataclass
class MeterRun:
    """What a meter on the host read around one run.

    Attributes:
        record: by the device's clock; ``None`` until the run is over.
        uncertainty_ns: how far its moments may be off.
    """

    record: PowerRecord | None = None
    uncertainty_ns: int = 0


@dataclass
class Meters:
    """Meters on the host, and what they read around the latest run."""

    addresses: Sequence[str] = ()
    latest: list[MeterRun] = field(default_factory=list)

    @contextmanager
    def around(self, device: "Device") -> Iterator[None]:
        """Read them for the length of a ``with`` block.

        Raises:
            UsageError: an address cannot be meant.
            EdgekitError: a meter cannot be reached, or does not answer with watts.
        """
        if not self.addresses:
            yield
            return
        from edgekit.meters.address import parse_meter
        from edgekit.meters.meter import Meter

        self.latest = []
        meters = [Meter(parse_meter(address)) for address in self.addresses]
        started: list[Meter] = []
        try:
            for meter in meters:
                meter.start()
                started.append(meter)
            before = _offset(device)
            yield
            offset = offset_of_run(before, _offset(device))
        finally:
            readings = [meter.stop() for meter in started]
        for each in readings:
            self.latest.append(
                MeterRun(*on_device_clock(each.record, offset, each.half_reading_ns))
            )


def _offset(device: "Device") -> ClockOffset:
    trips = device.clock_trips()
    return clock_offset(
        [
            RoundTrip(trip.host_sent_ns, trip.device_ns, trip.device_ns, trip.host_received_ns)
            for trip in trips
        ]
    )


def reading_disturbs(run: "RunResult") -> bool:
    """Tell whether a sensor was read whose reading takes time from what is measured.

    Raises:
        AgentError: the device's answer is not of the form that it should be.
    """
    record = PowerRecord.from_json(run.power)
    return any(series.rail.most_hz is not None for series in record.series)


def power_figures(
    run: "RunResult", meters: Sequence[MeterRun] = (), stuck_after_s: float = STUCK_AFTER_S
) -> PowerFigures:
    """Tell what an inference took, or why that cannot be told.

    Args:
        run: watched with ``power_hz``.
        meters: what meters on the host read meanwhile.
        stuck_after_s: a reading that stays the same for longer, to the last digit, is no reading.

    Raises:
        AgentError: the device's answer is not of the form that it should be.
    """
    own = PowerRecord.from_json(run.power)
    records = [(own, 0)]
    records += [(each.record, each.uncertainty_ns) for each in meters if each.record is not None]
    rails: list[RailEnergy] = []
    for record, uncertainty_ns in records:
        if record.series:
            rails += power_of_run(
                record,
                run.spans_ns["model"],
                len(run.model_ns),
                own.idle_before_ns or _NOTHING,
                own.idle_after_ns or _NOTHING,
                uncertainty_ns,
                Limits(max_unchanged_s=stuck_after_s),
            )
    whole = board_energy(rails, own.unused)
    energy = whole.energy
    # One rail that stands for the device says so itself, by its scope.
    summed = () if energy is not None and len(whole.rails) == 1 else (whole.words(),)
    return PowerFigures(
        name=whole.name,
        j_per_inference=energy.j_per_inference if energy else None,
        above_idle_j_per_inference=energy.above_idle_j_per_inference if energy else None,
        mean_w=energy.run.mean_w if energy else None,
        words=(*summed, *(rail.words() for rail in rails)),
        details={
            "stands_for_device": whole.as_json(),
            "rails": [rail.as_json() for rail in rails],
        },
    )
