"""Making a bundle the device's current one, with a check and the way back."""

import contextlib
from typing import TYPE_CHECKING

from edgekit.core.errors import DeviceError, EdgekitError, RolledBackError, RunnerError
from edgekit.core.events import StepFinished, StepStarted
from edgekit.core.report import Activation, Choice

if TYPE_CHECKING:
    from edgekit.app.trial import Bench


def activate_checked(bench: "Bench", choice: Choice) -> Activation:
    """Activate the choice; run it once as the device's current bundle; take it back if it fails.

    A bundle that was current already is neither switched nor checked again.

    Raises:
        RolledBackError: it did not answer as it did before; what was current is so again.
    """
    step = "activate"
    bench.emit(StepStarted(step, f"Activate {choice.candidate} on the device"))
    activation = bench.device.activate(choice.bundle)
    if activation.changed:
        fault = _fault(bench, choice)
        if fault is not None:
            bench.emit(StepFinished(step, "taken back", ok=False))
            _take_back(bench, choice, fault)
    bench.emit(
        StepFinished(
            step,
            f"generation {activation.generation}" if activation.changed else "was active already",
        )
    )
    return activation


def _fault(bench: "Bench", choice: Choice) -> EdgekitError | None:
    from edgekit.device import RunRequest
    from edgekit.prepare.compare import compare_answers

    request = RunRequest(
        kind="infer",
        frames=tuple(frame.sha256 for frame in bench.frames),
        plan=bench.plan,
    )
    try:
        result = bench.device.run(choice.bundle, request, bench.emit)
        accuracy = compare_answers(bench.reference, result.answers, result.outputs)
    except RunnerError as error:
        return error
    if accuracy.drop > bench.max_drop:
        return RunnerError(
            f"{choice.candidate} agrees to only {accuracy.value:.4f} after its activation"
        )
    return None


def _take_back(bench: "Bench", choice: Choice, fault: EdgekitError) -> None:
    # With nothing before it there is nothing to bring back: the message says so.
    before = None
    with contextlib.suppress(DeviceError):
        before = bench.device.rollback().current
    outcome = f"{before[:12]} is active again" if before else "nothing was active before it"
    raise RolledBackError(
        f"{choice.candidate} failed its check after activation: {fault.message}; {outcome}",
        hint=fault.hint or "run the same command again; edgekit doctor looks at the device",
    ) from fault
