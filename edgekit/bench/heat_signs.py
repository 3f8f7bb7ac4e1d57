"""Signs of throttling, of too little voltage, and of heat, in a row of snapshots."""

import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

from edgekit.core.health import HealthSnapshot

# Cooling devices that slow the device down; a fan does not, Orin's hot-surface-alert is a warning,
# and Intel's "TCC Offset" is a setting that is never 0. Source: the names that the kernel's
# cpufreq_cooling, devfreq_cooling, cpuidle_cooling, intel_powerclamp and processor_thermal give,
# and those of NVIDIA's device trees (*-throttle-alert; tegra-heavy and *-balanced on Nano).
_LIMITER: Final = re.compile(
    r"cpufreq|cpuidle|thermal-idle|devfreq|^Processor|powerclamp|throttle|balanced|heavy"
)

# Source: Raspberry Pi documentation, vcgencmd get_throttled; 16 higher: has happened since boot.
_PI_UNDER_VOLTAGE: Final = 1 << 0
_PI_SLOWED: Final = {
    1 << 1: "the clock was capped",
    1 << 2: "the processor was throttled",
    1 << 3: "the soft temperature limit was active",
}
_PI_SINCE_BOOT: Final = 16


class Sign(NamedTuple):
    """Something seen, in words with numbers; ``cools``: it comes of heat."""

    text: str
    cools: bool


def inside(seen: Sequence[HealthSnapshot]) -> Sequence[HealthSnapshot]:
    """Return the snapshots that tell of the run itself: the first one is only its beginning.

    With nothing seen meanwhile, the beginning is the best witness there is, beside the end.
    """
    return seen[1:] if len(seen) > 2 else seen  # noqa: PLR2004 - before and after alone


def throttling(seen: Sequence[HealthSnapshot]) -> Iterator[Sign]:
    """Find what slowed the device down."""
    yield from _limiting_coolers(seen)
    yield from _pi(seen, _PI_SLOWED)
    for name, words, cools in (
        ("oc2_events", "average over-current throttled it", False),
        ("oc3_events", "momentary over-current throttled it", False),
        ("core_throttle_count", "cores were throttled for heat", True),
        ("package_throttle_count", "the package was throttled for heat", True),
    ):
        count = _increase(seen, name)
        if count:
            yield Sign(f"{words} {count} times ({name})", cools)
    looks = inside(seen)
    raised = [one.throttle.over_current_alarms or () for one in looks]
    for rail in sorted(set().union(*raised)):
        times = sum(rail in rails for rails in raised)
        yield Sign(f"over-current on {rail} in {times} of {len(looks)} readings", cools=False)


def under_voltage(seen: Sequence[HealthSnapshot]) -> Iterator[Sign]:
    """Find a supply that was too weak; no cool-down helps that."""
    yield from _pi(seen, {_PI_UNDER_VOLTAGE: "the supply's voltage was too low"})
    looks = inside(seen)
    times = sum(one.throttle.under_voltage == 1 for one in looks)
    if times:
        yield Sign(
            f"rpi_volt's under-voltage alarm was raised in {times} of {len(looks)} readings",
            cools=False,
        )
    count = _increase(seen, "oc1_events")
    if count:
        yield Sign(f"the supply's voltage was too low {count} times (oc1_events)", cools=False)


def hot_zones(seen: Sequence[HealthSnapshot]) -> Iterator[Sign]:
    """Find temperatures at a passive trip that sets a limiting cooling device going.

    A passive trip that moves a fan, or merely warns, slows nothing down.
    """
    looks = inside(seen)
    hottest: dict[tuple[int, str, float], list[float]] = {}
    for one in looks:
        for zone in one.zones:
            limits = [
                trip.temperature_c
                for trip in zone.trips
                if trip.type == "passive" and any(map(_LIMITER.search, trip.cooling))
            ]
            if limits and zone.temperature_c >= min(limits):
                key = (zone.zone, zone.type, min(limits))
                hottest.setdefault(key, []).append(zone.temperature_c)
    for (_, kind, limit), values in hottest.items():
        yield Sign(
            f"{kind} reached {max(values):.1f} degrees C, at {limit:.1f} the kernel lowers the "
            f"clocks, in {len(values)} of {len(looks)} readings",
            cools=True,
        )


def _limiting_coolers(seen: Sequence[HealthSnapshot]) -> Iterator[Sign]:
    looks = inside(seen)
    states: dict[tuple[int, str, int | None], list[int]] = {}
    for one in looks:
        for cooler in one.cooling:
            if cooler.state > 0 and _LIMITER.search(cooler.type):
                key = (cooler.device, cooler.type, cooler.max_state)
                states.setdefault(key, []).append(cooler.state)
    for (_, kind, most), found in states.items():
        of = "" if most is None else f" of {most}"
        times = f"{len(found)} of {len(looks)} readings"
        yield Sign(f"{kind} limited the device, up to state {max(found)}{of}, in {times}", True)


def _pi(seen: Sequence[HealthSnapshot], meanings: dict[int, str]) -> Iterator[Sign]:
    """Find bits that are set now, and such as say that something happened since the beginning."""
    looks = [one.throttle.pi_bits for one in inside(seen) if one.throttle.pi_bits is not None]
    start = seen[0].throttle.pi_bits
    for bit, words in meanings.items():
        sticky = bit << _PI_SINCE_BOOT
        now = [bits for bits in looks if bits & bit]
        newly = [bits for bits in looks if start is not None and bits & sticky & ~start]
        if now or newly:
            shown = (now or newly)[0]
            weak = (shown | shown >> _PI_SINCE_BOOT) & _PI_UNDER_VOLTAGE
            where = f"in {len(now)} of {len(looks)} readings" if now else "between two readings"
            yield Sign(f"{words} {where} (get_throttled 0x{shown:x})", cools=not weak)


def _increase(seen: Sequence[HealthSnapshot], name: str) -> int:
    values = [getattr(one.throttle, name) for one in seen]
    known = [value for value in values if value is not None]
    # A counter that went back was reset; what it counts from there on still happened.
    return sum(max(later - earlier, 0) for earlier, later in itertools.pairwise(known))
