"""``deploy``: a model in, the winner running on the device, with its numbers and the way back."""

from contextlib import ExitStack

from edgekit.app.activation import activate_checked
from edgekit.app.options import DeployOptions
from edgekit.app.race import Race, run_race
from edgekit.core.events import EventSink, ignore
from edgekit.core.report import Activation, Report
from edgekit.report.runs import write_run


def deploy(options: DeployOptions, *, emit: EventSink = ignore) -> Report:
    """Deploy a model: every candidate built, sent, measured and judged; the best activated.

    A candidate that breaks is a row of the report. If none passes the gate and the goals,
    the report has no ``chosen`` and the device keeps what it has.

    Raises:
        UsageError: what was asked for cannot be meant.
        DeviceError: the device cannot be reached, was lost, or is not what the target says;
            the next call resumes, and the device's current bundle is what it was.
        RolledBackError: the winner failed its check after activation and was taken back.
    """
    with ExitStack() as stack:
        run = run_race(options, stack, emit=emit)
        report = run.report(_activate(run, options))
    write_run(report, asked=options.as_json())
    return report


def _activate(run: Race, options: DeployOptions) -> Activation | None:
    arena, best, lane = run.arena, run.best, run.winner()
    if best is None or best.missed or lane is None or not options.activate:
        return arena.device.status().activation
    with arena.stopwatch.lap("activate"):
        held = arena.device.status().activation
        if held is not None and held.current == best.bundle:
            return held
        arena.deliver(lane.bundle())
        activation = activate_checked(lane, best)
        if activation.changed:
            # Losers of earlier races would fill a small disk; a day's grace keeps what another
            # deployment may be about to use.
            arena.device.gc()
        return activation
