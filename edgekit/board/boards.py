"""Virtual boards of either kind under one name: asked for again, a board is of the kind it was."""

from edgekit.board.instances import BoardKind, RunningBoard, kind_of
from edgekit.core.events import EventSink, ignore
from edgekit.core.names import check_name
from edgekit.core.target import Target


def up(
    target: Target,
    *,
    name: str | None = None,
    kind: BoardKind | None = None,
    emit: EventSink = ignore,
) -> RunningBoard:
    """Return a running virtual board; start it, make it, if need be.

    Args:
        target: the kind of board.
        name: the board's name; ``None`` for the target's.
        kind: ``None`` for what the board of this name was at last, and ``user`` for a new one.
        emit: told of each step.

    Raises:
        UsageError: there is no such board, or the name is taken by another.
        DeviceError: the host lacks something, or the board did not start.
    """
    kind = kind or kind_of(check_name(name or target.name, "virtual board")) or "user"
    if kind == "system":
        from edgekit.board import system_mode

        return system_mode.up(target, name=name, emit=emit)
    from edgekit.board import user_mode

    return user_mode.up(target, name=name, emit=emit)
