"""Which of the rails stands for the whole device, called what it is.

A rail of scope ``board`` does, else one of scope ``wall``. Else the rails of one kind of sensor are
added: that sum is less than the board draws, and is called a sum of rails.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from edgekit.bench.energy import Energy
from edgekit.bench.inference_energy import Idle, InferenceEnergy
from edgekit.bench.run_power import RailEnergy, energy_json
from edgekit.core.power import NO_SENSOR, UnusedSensor, sensor_kind

SUM_OF_RAILS: Final = "sum of rails"

ATTACH: Final = (
    "attach one: an INA226 or INA219 in the board's supply on its I2C bus (kernel driver ina2xx), "
    "a meter or supply that speaks SCPI (--meter scpi:...), or any that a command can read "
    "(--meter command:...)"
)

_NOTES: Final[Mapping[str, str]] = {
    "board": "all that the board draws",
    "wall": "all that the board draws, and its supply's losses",
    SUM_OF_RAILS: "less than the board draws: not all of it runs over these rails",
}


@dataclass(frozen=True)
class BoardEnergy:
    """The energy that stands for the device.

    Attributes:
        name: ``board``, ``wall``, ``sum of rails``, or ``no sensor``.
        rails: those that were added, or the one.
        energy: ``None`` where it cannot be told.
        reason: why it cannot; empty where it can.
    """

    name: str
    rails: tuple[RailEnergy, ...]
    energy: InferenceEnergy | None
    reason: str = ""

    @property
    def note(self) -> str:
        """What the figure covers; empty where there is no sensor."""
        return _NOTES.get(self.name, "")

    def words(self) -> str:
        """Say the figure, what it covers, and by which sensors; or why there is none."""
        if self.energy is None:
            return f"{self.name}: {self.reason}"
        rails = ", ".join(f"{entry.rail.label} ({entry.rail.sensor})" for entry in self.rails)
        return f"{self.name} of {rails} ({self.note}): {self.energy.statement()}"

    def as_json(self) -> Mapping[str, Any]:
        """Return all of it under names that carry their units."""
        return {
            "name": self.name,
            "note": self.note or None,
            "rails": [entry.rail.label for entry in self.rails],
            "sensors": sorted({entry.rail.sensor for entry in self.rails}),
            "energy": None if self.energy is None else energy_json(self.energy),
            "reason": self.reason or None,
        }


def board_energy(rails: Sequence[RailEnergy], unused: Sequence[UnusedSensor] = ()) -> BoardEnergy:
    """Choose what stands for the device; sums only what is known not to count twice.

    Args:
        rails: of every record of the run, those of a meter on the host too.
        unused: sensors that are there and are not read: named where no other is.
    """
    if not rails:
        return BoardEnergy(NO_SENSOR, (), None, _nothing(unused))
    named = [entry for scope in ("board", "wall") for entry in rails if entry.rail.scope == scope]
    told = [entry for entry in named if entry.energy is not None]
    if told:
        return BoardEnergy(told[0].rail.scope, (told[0],), told[0].energy)
    parts = tuple(
        entry for entry in rails if entry.rail.scope == "rail" and entry.rail.within is None
    )
    # Beside a rail for the whole board all others are part of it, and their sum is no stand-in.
    if not parts or any(entry.rail.scope == "board" for entry in named):
        first = (named or list(rails))[0]
        return BoardEnergy(first.rail.scope, (first,), None, first.reason or _PART_OF_ANOTHER)
    return _sum(parts)


_PART_OF_ANOTHER: Final = "every rail is part of another that is not measured"


def _sum(parts: tuple[RailEnergy, ...]) -> BoardEnergy:
    kinds = sorted({sensor_kind(entry.rail.source, entry.rail.sensor) for entry in parts})
    if len(kinds) > 1:
        reason = (
            f"rails of {' and '.join(kinds)} may hold the same power twice and are not added: "
            "say which of them covers the board (--scope 'RAIL=board')"
        )
        return BoardEnergy(SUM_OF_RAILS, parts, None, reason)
    energies = []
    for entry in parts:
        if entry.energy is None:
            return BoardEnergy(SUM_OF_RAILS, parts, None, f"{entry.rail.label}: {entry.reason}")
        energies.append(entry.energy)
    return BoardEnergy(SUM_OF_RAILS, parts, added(energies))


def added(energies: Sequence[InferenceEnergy]) -> InferenceEnergy:
    """Add the rails of one run; their uncertainties add too, as a load moves all of them at once.

    Args:
        energies: of the same run, at least one.
    """
    return InferenceEnergy(
        run=Energy(
            joules=sum(energy.run.joules for energy in energies),
            sampling_sd_j=sum(energy.run.sampling_sd_j for energy in energies),
            samples=min(energy.run.samples for energy in energies),
            seconds=energies[0].run.seconds,
        ),
        before=_added_idle([energy.before for energy in energies]),
        after=_added_idle([energy.after for energy in energies]),
        inferences=energies[0].inferences,
        edge_uncertainty_ns=max(energy.edge_uncertainty_ns for energy in energies),
    )


def _added_idle(idles: Sequence[Idle]) -> Idle:
    return Idle(
        mean_w=sum(idle.mean_w for idle in idles),
        spread_w=sum(idle.spread_w for idle in idles),
        updates=min(idle.updates for idle in idles),
        seconds=idles[0].seconds,
    )


def _nothing(unused: Sequence[UnusedSensor]) -> str:
    seen = "; ".join(f"{sensor.sensor} is not read: {sensor.reason}" for sensor in unused)
    return f"{seen}; {ATTACH}" if seen else ATTACH
