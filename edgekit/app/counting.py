"""Instructions counted on a virtual board: of any program there, and of one inference."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.app.devices import Located, board_address
from edgekit.core.errors import DeviceError, UsageError
from edgekit.core.events import EventSink, StepFinished, StepStarted, ignore
from edgekit.core.knobs import Knobs
from edgekit.core.measurement import BenchPlan
from edgekit.core.target import Target

if TYPE_CHECKING:
    from edgekit.board.counting_launcher import Launcher
    from edgekit.board.counts import InstructionCount
    from edgekit.board.user_mode import RunningBoard
    from edgekit.device import Device


@dataclass(frozen=True)
class Inference:
    """What is inferred, and how its instructions are counted.

    Attributes:
        bundle: identity of what is installed on the board.
        frame: sha256 of a frame that was pushed.
        knobs: instead of the bundle's own of these names. With several threads the count differs
            from run to run.
        rounds: over how many inferences the difference is taken.
        timeout_s: for each of the two runs.
    """

    bundle: str
    frame: str
    knobs: Knobs = (("threads", 1),)
    rounds: int = 2
    timeout_s: float = 3600.0


def count_on_board(
    name: str,
    command: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    memory: bool = False,
    emit: EventSink = ignore,
) -> "InstructionCount":
    """Count what a program executes on a virtual board that is up.

    Args:
        name: the board's.
        command: the program and its arguments, as the board has them.
        environment: the program's own, besides the few names it always finds.
        memory: whether memory accesses are counted too.
        emit: told of each step.

    Raises:
        UnknownNameError: no board of this name was ever up.
        DeviceError: it is not up, or the program did not end well.
    """
    from edgekit.board.instructions import count
    from edgekit.board.user_mode import find_board

    return count(
        find_board(name),
        command,
        compiler=lambda: host_compiler(emit=emit),
        environment=environment,
        memory=memory,
        emit=emit,
    )


def host_compiler(*, emit: EventSink) -> tuple[str, ...]:
    """Return the command that compiles C for this host: its own, or the toolbox's.

    Raises:
        ToolboxError: there is none, and the toolbox cannot be made.
    """
    if own := shutil.which("cc"):
        return (own,)
    from edgekit.toolbox.environments import environment
    from edgekit.toolbox.native import COMPILER

    return (str(environment(COMPILER, emit=emit).python), "-m", "ziglang", "cc")


def count_active(
    name: str,
    image: Path,
    *,
    memory: bool = False,
    emit: EventSink = ignore,
) -> "InstructionCount":
    """Count one inference of what is active on a virtual board.

    Args:
        name: the board's.
        image: what is inferred.
        memory: whether memory accesses are counted too.
        emit: told of each step.

    Raises:
        UsageError: the image cannot be read.
        DeviceError: the board is not up, or nothing is active there.
        RunnerError: the runner failed.
    """
    from edgekit.app.arena import frame_content
    from edgekit.board.user_mode import find_board
    from edgekit.device import connect
    from edgekit.prepare.frames import frames_of

    board = find_board(name)
    frames = frames_of([image])
    with connect(board_address(board), emit=emit) as device:
        active = device.status().current
        if active is None:
            raise DeviceError(
                f"nothing is active on virtual board {name}",
                hint=f"edgekit deploy MODEL --target {board.target} --device virtual",
            )
        device.push(frame_content(frames), emit)
        inference = Inference(active.bundle, frames[0].sha256)
        return count_inference(device, board, inference, memory=memory, emit=emit)


def count_inference(
    device: "Device",
    board: "RunningBoard",
    inference: Inference,
    *,
    memory: bool = False,
    emit: EventSink = ignore,
) -> "InstructionCount":
    """Count one inference of a bundle: the engine's call alone, by its own runner.

    The runner is run twice by the board's agent, the second time with more inferences; what both
    did, loading the model and warming up, is not in the difference.

    Args:
        device: the board, connected.
        board: the same board, as this host sees it.
        inference: of what, and how.
        memory: whether memory accesses are counted too.
        emit: told of the two runs.

    Raises:
        RunnerError: the runner crashed, or took too long.
        DeviceError: qemu-user is missing, or the board was lost.
    """
    from edgekit.board.counting_launcher import counting_launcher
    from edgekit.board.counts import per_round
    from edgekit.device import RunRequest

    def plan(runs: int) -> BenchPlan:
        return BenchPlan(
            warmup_runs=1,
            warmup_seconds=0.0,
            min_runs=runs,
            min_seconds=0.0,
            max_seconds=inference.timeout_s,
            end_to_end=False,
        )

    step = f"count:{inference.bundle[:12]}"
    emit(StepStarted(step, f"Count the instructions of an inference on {board.name}"))
    ok = False
    try:
        with counting_launcher(
            board, compiler=lambda: host_compiler(emit=emit), memory=memory, emit=emit
        ) as launcher:
            counts = []
            for runs in (1, 1 + inference.rounds):
                request = RunRequest(
                    kind="time",
                    frames=(inference.frame,),
                    plan=plan(runs),
                    knobs=inference.knobs,
                    timeout_s=inference.timeout_s,
                    step=step,
                    launcher=launcher.words,
                )
                device.run(inference.bundle, request, emit)
                counts.append(launcher.take())
        counted = per_round(counts[0], counts[1], inference.rounds)
        ok = True
    finally:
        emit(StepFinished(step, "" if ok else "failed", ok=ok))
    return counted


def check_countable(located: Located) -> None:
    """Refuse a device on which instructions cannot be counted.

    Raises:
        UsageError: it is no virtual board of this machine.
    """
    if located.address is not None and _board_at(located) is None:
        raise UsageError(
            f"instructions are counted on virtual boards, and {located.name} is none",
            hint="--device virtual counts on an emulated board; without --cost instructions "
            f"{located.name} itself tells how long a candidate takes",
        )


@contextmanager
def counting_on(
    located: Located, target: Target, *, emit: EventSink = ignore
) -> "Iterator[Launcher]":
    """Make a virtual board that is up able to start counted programs itself.

    Raises:
        DeviceError: the board is not up, or qemu-user is missing.
    """
    from edgekit.board.counting_launcher import counting_launcher
    from edgekit.board.user_mode import find_board

    board = _board_at(located) or find_board(located.board or target.name)
    with counting_launcher(board, compiler=lambda: host_compiler(emit=emit), emit=emit) as made:
        yield made


def _board_at(located: Located) -> "RunningBoard | None":
    """Return the virtual board that is up at an address; its name here is the user's own."""
    from edgekit.board.user_mode import list_boards
    from edgekit.device.address import SshAddress

    place = located.address
    if not isinstance(place, SshAddress):
        return None
    where = (place.host, place.port)
    return next((each for each in list_boards() if (each.host, each.port) == where), None)
