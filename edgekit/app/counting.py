"""Instructions counted on a virtual board: of any program there."""

import shutil
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgekit.core.events import EventSink, ignore

if TYPE_CHECKING:
    from edgekit.board.instructions import InstructionCount


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
