"""Making a bundle the device's current one, with a check and the way back."""

import contextlib
from typing import TYPE_CHECKING

from edgekit.core.errors import DeviceError, EdgekitError, RolledBackError, RunnerError
from edgekit.core.events import StepFinished, StepStarted
from edgekit.core.report import Activation, Choice

if TYPE_CHECKING:
    from edgekit.app.arena import Arena
    from edgekit.app.lanes import Lane


def activate_checked(lane: "Lane", choice: Choice) -> Activation:
    """Activate the choice; run it once as the device's current bundle; take it back if it fails.

    A bundle that was current already is neither switched nor checked again.

    Args:
        lane: the winner's.
        choice: what to activate; it is installed.

    Raises:
        RolledBackError: it did not answer as it did before; what was current is so again.
    """
    arena, step = lane.arena, "activate"
    arena.emit(StepStarted(step, f"Activate {choice.candidate} on the device"))
    activation = arena.device.activate(choice.bundle)
    if activation.changed:
        fault = _fault(lane, choice)
        if fault is not None:
            arena.emit(StepFinished(step, "taken back", ok=False))
            _take_back(arena, choice, fault)
    arena.emit(
        StepFinished(
            step,
            f"generation {activation.generation}" if activation.changed else "was active already",
        )
    )
    return activation


def _fault(lane: "Lane", choice: Choice) -> EdgekitError | None:
    from edgekit.app.entries import run
    from edgekit.device import RunRequest
    from edgekit.prepare.compare import compare_answers

    arena, agreed = lane.arena, lane.agreed
    assert arena.reference is not None  # noqa: S101 - who activates has judged
    request = RunRequest(
        kind="infer",
        frames=tuple(frame.sha256 for frame in arena.frames),
        timeout_s=arena.limits.timeout_s,
    )
    arena.deliver_frames(arena.frames)
    try:
        result = run(arena, lane.entry(), request, arena.emit)
        accuracy = compare_answers(arena.reference, result.answers, result.outputs)
    except RunnerError as error:
        return error
    if accuracy.value < agreed - arena.limits.max_drop:
        return RunnerError(
            f"{choice.candidate} agrees to only {accuracy.value:.4f} after its activation, "
            f"to {agreed:.4f} before"
        )
    return None


def _take_back(arena: "Arena", choice: Choice, fault: EdgekitError) -> None:
    # With nothing before it there is nothing to bring back: the message says so.
    before = None
    with contextlib.suppress(DeviceError):
        before = arena.device.rollback().current
    outcome = f"{before[:12]} is active again" if before else "nothing was active before it"
    raise RolledBackError(
        f"{choice.candidate} failed its check after activation: {fault.message}; {outcome}",
        hint=fault.hint or "run the same command again; edgekit doctor looks at the device",
    ) from fault
