"""The state of a device at one moment, as its agent read it. What it could not read is ``None``.

Clocks, temperatures, throttling, load and memory decide whether what was measured meanwhile may
be believed; ``edgekit.bench.validity`` judges it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Self, TypeVar

from edgekit.core.errors import AgentError

_Item = TypeVar("_Item")
_Table = Mapping[str, Any]
_MOST_ITEMS: Final = 8192  # no device has as many cores, zones or coolers
_MOST: Final = 1e18


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
    def from_json(cls, table: _Table) -> Self:
        """Take one cluster out of a snapshot."""
        clocks = ("current_khz", "limit_min_khz", "limit_max_khz", "hardware_max_khz")
        return cls(
            policy=_needed(_whole(table, "policy"), "policy"),
            cpus=_many(table, "cpus", _cpu),
            **{name: _whole(table, name, least=1) for name in clocks},
            governor=_text(table, "governor"),
            driver=_text(table, "driver"),
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
    def from_json(cls, table: _Table) -> Self:
        """Take one trip point out of a snapshot."""
        return cls(
            type=_needed(_text(table, "type"), "type"),
            temperature_c=_needed(_number(table, "temperature_c"), "temperature_c"),
            cooling=_many(table, "cooling", _word),
        )


@dataclass(frozen=True)
class ThermalZone:
    """A temperature, and the trips that hang on it."""

    zone: int
    type: str
    temperature_c: float
    trips: tuple[Trip, ...] = ()

    @classmethod
    def from_json(cls, table: _Table) -> Self:
        """Take one zone out of a snapshot."""
        return cls(
            zone=_needed(_whole(table, "zone"), "zone"),
            type=_text(table, "type") or "",
            temperature_c=_needed(_number(table, "temperature_c"), "temperature_c"),
            trips=_tables(table, "trips", Trip.from_json),
        )


@dataclass(frozen=True)
class CoolingDevice:
    """A fan, or a limit on a clock; state 0 does nothing."""

    device: int
    type: str
    state: int
    max_state: int | None = None

    @classmethod
    def from_json(cls, table: _Table) -> Self:
        """Take one cooling device out of a snapshot."""
        return cls(
            device=_needed(_whole(table, "device"), "device"),
            type=_text(table, "type") or "",
            state=_needed(_whole(table, "state"), "state"),
            max_state=_whole(table, "max_state"),
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
    def from_json(cls, table: _Table) -> Self:
        """Take the signs out of a snapshot."""
        alarms = "over_current_alarms"
        counts = (name for name in cls.__dataclass_fields__ if name != alarms)
        return cls(
            **{name: _whole(table, name) for name in counts},
            over_current_alarms=_many(table, alarms, _word) if alarms in table else None,
        )


@dataclass(frozen=True)
class Load:
    """Seconds of all cores together since boot: busy, idle, and busy with our own work."""

    busy_s: float | None = None
    idle_s: float | None = None
    own_s: float | None = None
    load_1min: float | None = None

    @classmethod
    def from_json(cls, table: _Table) -> Self:
        """Take the load out of a snapshot."""
        return cls(**{name: _number(table, name, least=0) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class MemoryState:
    """Memory that is to be had, and what was swapped since boot."""

    available_bytes: int | None = None
    swapped_in_bytes: int | None = None
    swapped_out_bytes: int | None = None

    @classmethod
    def from_json(cls, table: _Table) -> Self:
        """Take the memory's state out of a snapshot."""
        return cls(**{name: _whole(table, name) for name in cls.__dataclass_fields__})


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
        table = _as_table(value, "a snapshot")
        unread = _as_table(table.get("unread", {}), "unread")
        return cls(
            monotonic_ns=_needed(_whole(table, "monotonic_ns"), "monotonic_ns"),
            cpus_online=_many(table, "cpus_online", _cpu),
            clusters=_tables(table, "clusters", ClusterClock.from_json),
            zones=_tables(table, "zones", ThermalZone.from_json),
            cooling=_tables(table, "cooling", CoolingDevice.from_json),
            throttle=ThrottleSigns.from_json(_as_table(table.get("throttle", {}), "throttle")),
            load=Load.from_json(_as_table(table.get("load", {}), "load")),
            memory=MemoryState.from_json(_as_table(table.get("memory", {}), "memory")),
            unread=tuple((_word(path), _word(why)) for path, why in unread.items()),
            cost_cpu_us=_whole(table, "cost_cpu_us"),
        )


def _wrong(name: str, value: object, wanted: str) -> AgentError:
    shown = repr(value)[:60]
    return AgentError(
        f"the agent's state of the device holds {name} = {shown}, not {wanted}", code="protocol"
    )


def _as_table(value: object, name: str) -> _Table:
    if not isinstance(value, Mapping):
        raise _wrong(name, value, "a table")
    return value


def _tables(table: _Table, name: str, make: Callable[[_Table], _Item]) -> tuple[_Item, ...]:
    return _many(table, name, lambda entry: make(_as_table(entry, f"an entry of {name}")))


def _many(table: _Table, name: str, make: Callable[[object], _Item]) -> tuple[_Item, ...]:
    entries = table.get(name, ())
    if not isinstance(entries, list | tuple) or len(entries) > _MOST_ITEMS:
        raise _wrong(name, entries, "a list")
    return tuple(make(entry) for entry in entries)


def _whole(table: _Table, name: str, least: int = 0) -> int | None:
    value = table.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise _wrong(name, value, f"a whole number of at least {least}")
    return value


def _number(table: _Table, name: str, least: float = -_MOST) -> float | None:
    value = table.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong(name, value, "a number")
    if not least <= value <= _MOST:  # nor is a NaN
        raise _wrong(name, value, f"a number from {least:g} to {_MOST:g}")
    return float(value)


def _text(table: _Table, name: str) -> str | None:
    value = table.get(name)
    return None if value is None else _word(value)


def _word(value: object) -> str:
    if not isinstance(value, str):
        raise _wrong("a name", value, "a text")
    return value


def _cpu(value: object) -> int:
    return _needed(_whole({"cpus": value}, "cpus"), "cpus")


def _needed(value: _Item | None, name: str) -> _Item:
    if value is None:
        raise _wrong(name, value, "a value")
    return value
