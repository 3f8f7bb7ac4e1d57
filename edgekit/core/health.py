"""The state of a device at one moment, as its agent read it. What it could not read is ``None``.

Clocks, temperatures, throttling, load and memory decide whether what was measured meanwhile may
be believed; ``edgekit.bench.validity`` judges it.
"""

from dataclasses import asdict, dataclass, field
from typing import Any, Self

from edgekit.core.agent_json import (
    Table,
    as_table,
    many,
    needed,
    number,
    tables,
    text,
    whole,
    word,
)


@dataclass(frozen=True)
class ClusterClock:
    """One cpufreq policy: cores that share a clock.

    Attributes:
        policy: the kernel's number of it.
        cpus: its cores, whether they are online or not.
        limit_min_khz, limit_max_khz: between which the governor may choose now.
        hardware_max_khz: what the hardware could do.
    """

    policy: int
    cpus: tuple[int, ...] = ()
    current_khz: int | None = None
    limit_min_khz: int | None = None
    limit_max_khz: int | None = None
    hardware_max_khz: int | None = None
    governor: str | None = None
    driver: str | None = None

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take one cluster out of a snapshot."""
        clocks = ("current_khz", "limit_min_khz", "limit_max_khz", "hardware_max_khz")
        return cls(
            policy=needed(whole(table, "policy"), "policy"),
            cpus=many(table, "cpus", _cpu),
            **{name: whole(table, name, least=1) for name in clocks},
            governor=text(table, "governor"),
            driver=text(table, "driver"),
        )


@dataclass(frozen=True)
class Trip:
    """A temperature at which the kernel acts.

    Attributes:
        type: ``passive``, ``active``, ``hot`` or ``critical``.
        cooling: types of the cooling devices that it sets going.
    """

    type: str
    temperature_c: float
    cooling: tuple[str, ...] = ()

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take one trip point out of a snapshot."""
        return cls(
            type=needed(text(table, "type"), "type"),
            temperature_c=needed(number(table, "temperature_c"), "temperature_c"),
            cooling=many(table, "cooling", word),
        )


@dataclass(frozen=True)
class ThermalZone:
    """A temperature, and the trips that hang on it."""

    zone: int
    type: str
    temperature_c: float
    trips: tuple[Trip, ...] = ()

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take one zone out of a snapshot."""
        return cls(
            zone=needed(whole(table, "zone"), "zone"),
            type=text(table, "type") or "",
            temperature_c=needed(number(table, "temperature_c"), "temperature_c"),
            trips=tables(table, "trips", Trip.from_json),
        )


@dataclass(frozen=True)
class CoolingDevice:
    """A fan, or a limit on a clock; state 0 does nothing."""

    device: int
    type: str
    state: int
    max_state: int | None = None

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take one cooling device out of a snapshot."""
        return cls(
            device=needed(whole(table, "device"), "device"),
            type=text(table, "type") or "",
            state=needed(whole(table, "state"), "state"),
            max_state=whole(table, "max_state"),
        )


@dataclass(frozen=True)
class ThrottleSigns:
    """What firmware and hardware say; each is ``None`` on a device without it.

    Attributes:
        pi_bits: Raspberry Pi's ``get_throttled``.
        under_voltage: 1 where ``rpi_volt`` raises its alarm.
        oc1_events, oc2_events, oc3_events: of Jetson Orin since boot: under-voltage, average
            and momentary over-current.
        over_current_alarms: rails of an INA3221 over their critical current now.
        core_throttle_count, package_throttle_count: of x86 since boot, all cores together.
    """

    pi_bits: int | None = None
    under_voltage: int | None = None
    oc1_events: int | None = None
    oc2_events: int | None = None
    oc3_events: int | None = None
    over_current_alarms: tuple[str, ...] | None = None
    core_throttle_count: int | None = None
    package_throttle_count: int | None = None

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take the signs out of a snapshot."""
        alarms = "over_current_alarms"
        counts = (name for name in cls.__dataclass_fields__ if name != alarms)
        return cls(
            **{name: whole(table, name) for name in counts},
            over_current_alarms=many(table, alarms, word) if alarms in table else None,
        )


@dataclass(frozen=True)
class Load:
    """Seconds of all cores together since boot: busy, idle, and busy with our own work."""

    busy_s: float | None = None
    idle_s: float | None = None
    own_s: float | None = None
    load_1min: float | None = None

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take the load out of a snapshot."""
        return cls(**{name: number(table, name, least=0) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class MemoryState:
    """Memory that is to be had, and what was swapped since boot."""

    available_bytes: int | None = None
    swapped_in_bytes: int | None = None
    swapped_out_bytes: int | None = None

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take the memory's state out of a snapshot."""
        return cls(**{name: whole(table, name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class HealthSnapshot:
    """Everything at one moment of the device's monotonic clock.

    Attributes:
        cpus_online: cores that run; empty where that could not be read.
        unread: files that are there and gave no value, and why.
        cost_cpu_us: processor time that reading took.
    """

    monotonic_ns: int
    cpus_online: tuple[int, ...] = ()
    clusters: tuple[ClusterClock, ...] = ()
    zones: tuple[ThermalZone, ...] = ()
    cooling: tuple[CoolingDevice, ...] = ()
    throttle: ThrottleSigns = field(default_factory=ThrottleSigns)
    load: Load = field(default_factory=Load)
    memory: MemoryState = field(default_factory=MemoryState)
    unread: tuple[tuple[str, str], ...] = ()
    cost_cpu_us: int | None = None

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Take what ``device_agent.health.snapshot`` returned.

        Raises:
            AgentError: it is not of that form; names that are not known are passed over, as a
                newer agent may send them.
        """
        table = as_table(value, "a snapshot")
        unread = as_table(table.get("unread", {}), "unread")
        return cls(
            monotonic_ns=needed(whole(table, "monotonic_ns"), "monotonic_ns"),
            cpus_online=many(table, "cpus_online", _cpu),
            clusters=tables(table, "clusters", ClusterClock.from_json),
            zones=tables(table, "zones", ThermalZone.from_json),
            cooling=tables(table, "cooling", CoolingDevice.from_json),
            throttle=ThrottleSigns.from_json(as_table(table.get("throttle", {}), "throttle")),
            load=Load.from_json(as_table(table.get("load", {}), "load")),
            memory=MemoryState.from_json(as_table(table.get("memory", {}), "memory")),
            unread=tuple((word(path), word(why)) for path, why in unread.items()),
            cost_cpu_us=whole(table, "cost_cpu_us"),
        )

    def as_json(self) -> dict[str, Any]:
        """Plain values that :meth:`from_json` takes; what was not read is left out."""
        table: dict[str, Any] = _without_none({**asdict(self), "unread": dict(self.unread)})
        return table


def _without_none(value: Any) -> Any:  # noqa: ANN401 - plain JSON values
    if isinstance(value, dict):
        return {name: _without_none(each) for name, each in value.items() if each is not None}
    if isinstance(value, list | tuple):
        return [_without_none(each) for each in value]
    return value


def _cpu(value: object) -> int:
    return needed(whole({"cpus": value}, "cpus"), "cpus")
