"""What is written down of a running board."""

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final

from edgekit.board.process import ProcessMark
from edgekit.catalog.cache import write_atomically

STATE_FILE: Final = "state.json"


@dataclass(frozen=True)
class BoardState:
    """A board that was started.

    Attributes:
        fingerprint: of everything it was started from; another one is another board.
        process: what holds its namespaces, or is its machine; with it dies everything on the board.
        kind: ``user`` or ``system``.
    """

    name: str
    target: str
    port: int
    fingerprint: str
    process: ProcessMark
    kind: str = "user"


def write_state(folder: Path, state: BoardState) -> None:
    """Write down a running board in its folder.

    Raises:
        OSError: the folder cannot be written.
    """
    text = json.dumps(asdict(state), indent=2, sort_keys=True) + "\n"
    write_atomically(folder / STATE_FILE, text.encode())


def read_state(folder: Path) -> BoardState | None:
    """Return what was written down; ``None`` for nothing, and for what makes no sense."""
    try:
        table = json.loads((folder / STATE_FILE).read_bytes())
        process = ProcessMark(**table.pop("process"))
        state = BoardState(process=process, **table)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return None
    return state if _well_typed(state) and _well_typed(process) else None


def forget_state(folder: Path) -> None:
    """Remove what was written down; the board's own files stay."""
    (folder / STATE_FILE).unlink(missing_ok=True)


def _well_typed(value: BoardState | ProcessMark) -> bool:
    return all(
        type(getattr(value, entry.name)) is entry.type
        for entry in fields(value)
        if entry.type in {int, str}
    )
