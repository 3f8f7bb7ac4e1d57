"""The host's clock against the device's: how far apart they are, and how sure that is.

Source: RFC 5905 (NTP), section 8: offset and delay of four time stamps.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from edgekit.core.errors import MeasurementInvalidError
from edgekit.core.power import PowerRecord

_HINT = "measure again on a quiet link"


@dataclass(frozen=True)
class RoundTrip:
    """One question and its answer: two time stamps of either clock."""

    host_sent_ns: int
    device_received_ns: int
    device_sent_ns: int
    host_received_ns: int

    @property
    def delay_ns(self) -> int:
        """How long the two ways took together."""
        return (self.host_received_ns - self.host_sent_ns) - (
            self.device_sent_ns - self.device_received_ns
        )


@dataclass(frozen=True)
class ClockOffset:
    """What to add to a moment of the host's clock to get it by the device's.

    Attributes:
        offset_ns: the best guess, as if both ways took equally long.
        uncertainty_ns: how far off it can be at most: half the smallest round trip.
        round_trips: how many were looked at.
    """

    offset_ns: int
    uncertainty_ns: int
    round_trips: int

    def to_device_ns(self, host_ns: int) -> int:
        """Return a moment of the host's clock by the device's."""
        return host_ns + self.offset_ns


def clock_offset(trips: Sequence[RoundTrip]) -> ClockOffset:
    """Estimate the offset from the quickest round trip: the least room for unequal ways.

    Raises:
        MeasurementInvalidError: there is none, or a clock ran backwards in one.
    """
    if not trips:
        raise MeasurementInvalidError("no round trip tells how the clocks stand", hint=_HINT)
    for trip in trips:
        if trip.delay_ns < 0 or trip.device_sent_ns < trip.device_received_ns:
            raise MeasurementInvalidError(
                f"a round trip of {trip.delay_ns} ns: a clock was set in mid-run", hint=_HINT
            )
    best = min(trips, key=lambda trip: trip.delay_ns)
    there_ns = best.device_received_ns - best.host_sent_ns
    back_ns = best.device_sent_ns - best.host_received_ns
    return ClockOffset((there_ns + back_ns) // 2, (best.delay_ns + 1) // 2, len(trips))


def offset_of_run(before: ClockOffset, after: ClockOffset) -> ClockOffset:
    """Return the offset that holds from one estimate to the other.

    Clocks that run at unlike speeds drift apart meanwhile: halfway, and off by up to half of it.
    """
    drift_ns = abs(after.offset_ns - before.offset_ns)
    return ClockOffset(
        offset_ns=(before.offset_ns + after.offset_ns) // 2,
        uncertainty_ns=max(before.uncertainty_ns, after.uncertainty_ns) + (drift_ns + 1) // 2,
        round_trips=before.round_trips + after.round_trips,
    )


def on_device_clock(
    record: PowerRecord, offset: ClockOffset, half_reading_ns: int = 0
) -> tuple[PowerRecord, int]:
    """Return a record of the host by the device's clock, and how far it may be off.

    Args:
        record: by the host's monotonic clock.
        offset: of the two clocks, by stamps of ``time.monotonic_ns`` on the host.
        half_reading_ns: within which of each reading's moment its value was true.
    """
    return record.shifted(offset.offset_ns), offset.uncertainty_ns + half_reading_ns
