"""What power sensors read over time, as the agent's sampler or a meter of the host took it down.

``edgekit.bench.run_power`` makes joules of it.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Self

from edgekit.core.agent_json import (
    Table,
    as_table,
    needed,
    number,
    tables,
    text,
    whole,
    wholes,
    word,
    wrong,
)

POWER: Final = "power_uw"
ENERGY: Final = "energy_uj"
SCOPES: Final = ("rail", "board", "wall")
HOST_SOURCES: Final = ("scpi", "command")
"""Meters that hang on the host: sampling them costs the device nothing."""

Span = tuple[int, int]
"""First and last moment, in nanoseconds of one clock."""

NO_SENSOR: Final = "no sensor"
"""What stands in place of a scope where nothing measures power."""

_NS_PER_S: Final = 1e9
_INT64: Final = 1 << 63


def sensor_kind(source: str, sensor: str) -> str:
    """Return what measures: rails of two kinds may hold the same power twice.

    Args:
        source: as in :class:`RailFacts`.
        sensor: chip and address, or a zone's or supply's name.
    """
    return sensor.partition(" ")[0] if source in {"hwmon", "iio"} else source


@dataclass(frozen=True)
class RailFacts:
    """What a series of readings is of.

    Attributes:
        source: how it was read: ``hwmon``, ``iio``, ``power_supply``, ``rapl``, ``pmic``,
            ``scpi`` or ``command``.
        sensor: chip and address, or the instrument.
        label: the rail's name.
        scope: ``board`` for all that the board draws, ``wall`` for its supply's losses too,
            else ``rail``.
        quantity: ``POWER``, or ``ENERGY`` of a counter that starts again at ``range_uj``.
        within: the label of another rail that this one's power is already part of.
        update_interval_ns: how often the sensor has a new value, where it tells.
        most_hz: how often it may be read, where reading it disturbs what is measured.
    """

    source: str
    sensor: str
    label: str
    scope: str = "rail"
    quantity: str = POWER
    range_uj: int | None = None
    within: str | None = None
    update_interval_ns: int | None = None
    most_hz: float | None = None

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take a rail out of a record."""
        facts = cls(
            source=needed(text(table, "source"), "source"),
            sensor=needed(text(table, "sensor"), "sensor"),
            label=needed(text(table, "label"), "label"),
            scope=needed(text(table, "scope"), "scope"),
            quantity=needed(text(table, "quantity"), "quantity"),
            range_uj=whole(table, "range_uj", least=1),
            within=text(table, "within"),
            update_interval_ns=whole(table, "update_interval_ns"),
            most_hz=number(table, "most_hz", least=1e-6),
        )
        if facts.scope not in SCOPES:
            raise wrong("scope", facts.scope, f"one of {', '.join(SCOPES)}")
        if facts.quantity not in {POWER, ENERGY}:
            raise wrong("quantity", facts.quantity, f"{POWER} or {ENERGY}")
        if facts.quantity == ENERGY and not (facts.range_uj or _INT64) < _INT64:
            raise wrong("range_uj", facts.range_uj, "the range of a counter")
        return facts


@dataclass(frozen=True)
class PowerFault:
    """Readings that were none.

    Attributes:
        kind: ``vanished``, ``unreadable``, ``garbage``, ``negative``, ``timeout`` or
            ``not-discharging``.
        detail: what the first of them read, or the kernel's word for it.
    """

    kind: str
    count: int
    first_ns: int
    last_ns: int
    detail: str = ""

    @classmethod
    def from_json(cls, kind: object, table: Table) -> Self:
        """Take a kind of fault out of a record."""
        return cls(
            kind=word(kind),
            count=needed(whole(table, "count", least=1), "count"),
            first_ns=needed(whole(table, "first_ns", least=-_INT64), "first_ns"),
            last_ns=needed(whole(table, "last_ns", least=-_INT64), "last_ns"),
            detail=text(table, "detail") or "",
        )

    def words(self) -> str:
        """Say how often it happened, over how long, and what it was."""
        times = "once" if self.count == 1 else f"{self.count} times"
        over_s = (self.last_ns - self.first_ns) / _NS_PER_S
        over = f" within {over_s:.2g} s" if self.count > 1 else ""
        return f"{self.kind} {times}{over}" + (f" ({self.detail})" if self.detail else "")


@dataclass(frozen=True)
class RailSeries:
    """One rail's readings, and what went wrong with it.

    Attributes:
        times_ns: of the middle of each reading, by the clock of who took it.
        values: microwatts, or a counter's microjoules.
        longest_unchanged_ns: for how long the reading stayed the same at most.
    """

    rail: RailFacts
    times_ns: tuple[int, ...] = ()
    values: tuple[int, ...] = ()
    longest_unchanged_ns: int = 0
    faults: tuple[PowerFault, ...] = ()

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take one series out of a record."""
        faults = as_table(table.get("faults", {}), "faults")
        times_ns, values = _times_ns(table), wholes(table, "values")
        if len(times_ns) != len(values):
            raise wrong("values", f"{len(values)} of them", f"{len(times_ns)}, one a time stamp")
        return cls(
            rail=RailFacts.from_json(as_table(table.get("rail"), "rail")),
            times_ns=times_ns,
            values=values,
            longest_unchanged_ns=whole(table, "longest_unchanged_ns") or 0,
            faults=tuple(
                PowerFault.from_json(kind, as_table(fault, "a fault"))
                for kind, fault in faults.items()
            ),
        )


@dataclass(frozen=True)
class UnusedSensor:
    """A sensor that is there and is not read, and why."""

    source: str
    sensor: str
    reason: str

    @classmethod
    def from_json(cls, table: Table) -> Self:
        """Take one out of a record."""
        return cls(**{name: needed(text(table, name), name) for name in cls.__dataclass_fields__})


@dataclass(frozen=True)
class PowerRecord:
    """Readings of every rail over a run, and what it cost to take them.

    Attributes:
        rate_hz: asked for.
        rounds: kept.
        missed_rounds: left out, as the round before took too long.
        ended_full: whether it stopped for want of room.
        wall_s: how long it sampled.
        cpu_s: processor time of the sampling thread.
        series: one a rail; none where there is no sensor.
        unused: sensors that are there and are not read.
        idle_before_ns: from when to when the device was idle before the run.
        idle_after_ns: the same, after it.
        loop: what the sampler's was written in, ``c`` or ``python``; empty where nobody tells.
    """

    rate_hz: float
    rounds: int
    missed_rounds: int
    ended_full: bool
    wall_s: float
    cpu_s: float
    series: tuple[RailSeries, ...] = ()
    unused: tuple[UnusedSensor, ...] = ()
    idle_before_ns: Span | None = None
    idle_after_ns: Span | None = None
    loop: str = ""

    @property
    def cpu_share(self) -> float | None:
        """What sampling took of one core, ``None`` where it never ran."""
        return self.cpu_s / self.wall_s if self.wall_s > 0 else None

    @classmethod
    def from_json(cls, value: object) -> Self:
        """Take what ``device_agent.watch`` wrote of ``device_agent.power.sampler.Sampler``.

        Raises:
            AgentError: it is not of that form; names that are not known are passed over, as a
                newer agent may send them.
        """
        table = as_table(value, "a record of power")
        unused = tables(table, "refused", UnusedSensor.from_json)
        if "series" not in table:  # nothing to sample, and so no sampler
            return cls(0.0, 0, 0, ended_full=False, wall_s=0.0, cpu_s=0.0, unused=unused)
        ended_full = table.get("ended_full", False)
        if not isinstance(ended_full, bool):
            raise wrong("ended_full", ended_full, "true or false")
        return cls(
            rate_hz=needed(number(table, "rate_hz", least=1e-6), "rate_hz"),
            rounds=needed(whole(table, "rounds"), "rounds"),
            missed_rounds=needed(whole(table, "missed_rounds"), "missed_rounds"),
            ended_full=ended_full,
            wall_s=needed(number(table, "wall_s", least=0), "wall_s"),
            cpu_s=needed(number(table, "cpu_s", least=0), "cpu_s"),
            series=tables(table, "series", RailSeries.from_json),
            unused=unused,
            idle_before_ns=_span(table, "idle_before_ns"),
            idle_after_ns=_span(table, "idle_after_ns"),
            loop=text(table, "loop") or "",
        )

    def as_json(self) -> Mapping[str, Any]:
        """Return the record as ``from_json`` takes it."""
        return {
            "rate_hz": self.rate_hz,
            "rounds": self.rounds,
            "missed_rounds": self.missed_rounds,
            "ended_full": self.ended_full,
            "wall_s": self.wall_s,
            "cpu_s": self.cpu_s,
            "cpu_share": self.cpu_share,
            "loop": self.loop,
            "series": [_series_json(series) for series in self.series],
            "refused": [vars(sensor) for sensor in self.unused],
            "idle_before_ns": self.idle_before_ns and list(self.idle_before_ns),
            "idle_after_ns": self.idle_after_ns and list(self.idle_after_ns),
        }

    def shifted(self, offset_ns: int) -> "PowerRecord":
        """Return the same record by a clock that is ``offset_ns`` ahead."""
        return replace(
            self,
            series=tuple(_shifted(series, offset_ns) for series in self.series),
            idle_before_ns=_moved(self.idle_before_ns, offset_ns),
            idle_after_ns=_moved(self.idle_after_ns, offset_ns),
        )


def _span(table: Table, name: str) -> Span | None:
    if table.get(name) is None:
        return None
    span = wholes(table, name)
    if len(span) != 2:  # noqa: PLR2004 - its two ends
        raise wrong(name, span, "two moments")
    return span


def _moved(span: Span | None, offset_ns: int) -> Span | None:
    return None if span is None else (span[0] + offset_ns, span[1] + offset_ns)


def _times_ns(table: Table) -> tuple[int, ...]:
    start_ns = whole(table, "start_ns", least=-_INT64)
    steps = wholes(table, "steps_ns")
    if start_ns is None:
        if steps:
            raise wrong("start_ns", None, "the first time stamp")
        return ()
    times = tuple(itertools.accumulate((start_ns, *steps)))
    if not -_INT64 <= min(times) <= max(times) < _INT64:
        raise wrong("steps_ns", steps[:8], "steps between moments of 64 bits")
    return times


def _series_json(series: RailSeries) -> Mapping[str, Any]:
    times = series.times_ns
    return {
        "rail": vars(series.rail),
        "start_ns": times[0] if times else None,
        "steps_ns": [after - before for before, after in itertools.pairwise(times)],
        "values": list(series.values),
        "longest_unchanged_ns": series.longest_unchanged_ns,
        "faults": {
            fault.kind: {name: value for name, value in vars(fault).items() if name != "kind"}
            for fault in series.faults
        },
    }


def _shifted(series: RailSeries, offset_ns: int) -> RailSeries:
    moved = (
        replace(fault, first_ns=fault.first_ns + offset_ns, last_ns=fault.last_ns + offset_ns)
        for fault in series.faults
    )
    times_ns = tuple(time_ns + offset_ns for time_ns in series.times_ns)
    return replace(series, times_ns=times_ns, faults=tuple(moved))
