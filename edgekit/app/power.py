"""From a watched run's readings of power to what an inference took."""

from typing import TYPE_CHECKING, Final

from edgekit.bench.board_energy import board_energy
from edgekit.bench.run_power import RailEnergy, power_of_run
from edgekit.core.bench import PowerFigures
from edgekit.core.power import PowerRecord

if TYPE_CHECKING:
    from edgekit.device import RunResult

# Without a look at idle nothing above it can be told, and power_of_run says so.
_NOTHING: Final = (0, 0)


def power_figures(run: "RunResult") -> PowerFigures:
    """Tell what an inference took, or why that cannot be told.

    Raises:
        AgentError: the device's answer is not of the form that it should be.
    """
    record = PowerRecord.from_json(run.power)
    rails: tuple[RailEnergy, ...] = ()
    if record.series:
        rails = power_of_run(
            record,
            run.spans_ns["model"],
            len(run.model_ns),
            record.idle_before_ns or _NOTHING,
            record.idle_after_ns or _NOTHING,
        )
    whole = board_energy(rails, record.unused)
    energy = whole.energy
    return PowerFigures(
        name=whole.name,
        j_per_inference=energy.j_per_inference if energy else None,
        above_idle_j_per_inference=energy.above_idle_j_per_inference if energy else None,
        mean_w=energy.run.mean_w if energy else None,
        words=(whole.words(), *(rail.words() for rail in rails)),
        details={"stands_for_device": whole.as_json(), "rails": [rail.as_json() for rail in rails]},
    )
