"""Clocks that dropped, in a row of snapshots."""

import itertools
from collections.abc import Iterator, Sequence
from typing import Final

from edgekit.bench.heat_signs import Sign, inside
from edgekit.core.health import ClusterClock, HealthSnapshot

CLOCK_TOLERANCE: Final = 0.9
"""A pinned clock that reads less than this share of what it should be has dropped. Our choice:
Tegra's driver counts cycles over a short while and is a few percent off; the steps between
operating points of the boards' device trees are seldom below 10 %."""

SUCCESSIVE_READINGS: Final = 2
"""As many low readings in a row make a drop: one alone may be a change of clock in progress."""

# Here the hardware chooses the clock, by load and by how many cores are awake; what is read is
# what an idle core did last, and says nothing. Throttling shows in x86's own counters.
_CHOSEN_BY_HARDWARE: Final = frozenset(
    ("intel_pstate", "intel_cpufreq", "amd-pstate", "amd-pstate-epp", "acpi-cpufreq")
)
_KHZ_PER_MHZ: Final = 1000


def clock_drops(seen: Sequence[HealthSnapshot]) -> Iterator[Sign]:
    """Find limits that fell, pinned clocks that did not hold, and cores that were taken away.

    Where a governor follows the load, a low clock alone is no fault: an idle core is slow.
    """
    looks = inside(seen)
    for start in seen[0].clusters:
        later = [one for look in looks for one in look.clusters if one.policy == start.policy]
        yield from _lower_limit(start, later)
        yield from _pinned_drop(start, later)
    start_cpus = set(seen[0].cpus_online)
    lost = {cpu for one in looks if one.cpus_online for cpu in start_cpus - set(one.cpus_online)}
    if lost:
        names = ", ".join(map(str, sorted(lost)))
        yield Sign(f"cores were taken offline during the run: {names}", cools=True)


def _lower_limit(start: ClusterClock, later: Sequence[ClusterClock]) -> Iterator[Sign]:
    top = start.limit_max_khz
    limits = [one.limit_max_khz for one in later if one.limit_max_khz is not None]
    fallen = [limit for limit in limits if top is not None and limit < top]
    if top is not None and fallen:
        yield Sign(
            f"the highest clock allowed to {_name(start)} fell from {top // _KHZ_PER_MHZ} to "
            f"{min(fallen) // _KHZ_PER_MHZ} MHz in {len(fallen)} of {len(limits)} readings",
            cools=True,
        )


def _pinned_drop(start: ClusterClock, later: Sequence[ClusterClock]) -> Iterator[Sign]:
    if start.driver in _CHOSEN_BY_HARDWARE:
        return
    wanted = _pinned_khz(start)
    clocks = [one.current_khz for one in later if one.current_khz is not None]
    if wanted is None:
        return
    low = [clock < CLOCK_TOLERANCE * wanted for clock in clocks]
    longest = max(
        (sum(1 for _ in run) for is_low, run in itertools.groupby(low) if is_low), default=0
    )
    if longest >= SUCCESSIVE_READINGS:
        yield Sign(
            f"{_name(start)} should run at {wanted // _KHZ_PER_MHZ} MHz ({start.governor}) and "
            f"read {min(clocks) // _KHZ_PER_MHZ} MHz at the lowest, too low in {sum(low)} of "
            f"{len(clocks)} readings",
            cools=True,
        )


def _pinned_khz(start: ClusterClock) -> int | None:
    """Return the clock that the governor keeps whatever the load, if it keeps one."""
    if start.governor == "performance":
        return start.limit_max_khz
    if start.governor == "userspace":
        return start.current_khz
    return start.limit_max_khz if start.limit_min_khz == start.limit_max_khz else None


def _name(cluster: ClusterClock) -> str:
    if not cluster.cpus:
        return f"policy {cluster.policy}"
    first, last = min(cluster.cpus), max(cluster.cpus)
    return f"CPU {first}" if first == last else f"CPU {first}-{last}"
