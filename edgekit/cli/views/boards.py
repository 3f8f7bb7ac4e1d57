"""Virtual boards as tables and lines."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.report.table import Column, Table

if TYPE_CHECKING:
    from edgekit.board.user_mode import RunningBoard


def board_facts(board: "RunningBoard") -> Mapping[str, Any]:
    """The board as plain JSON values."""
    return {
        "name": board.name,
        "target": board.target,
        "kind": board.kind,
        "host": board.host,
        "port": board.port,
        "user": board.user,
        "identity_file": str(board.identity_file),
        "known_hosts": str(board.known_hosts),
        "pid": board.pid,
    }


def board_lines(board: "RunningBoard") -> tuple[str, ...]:
    """How to reach a board that is up."""
    device = "virtual" if board.name == board.target else f"virtual:{board.name}"
    return (
        f"{board.name} is up at {board.user}@{board.host}:{board.port}",
        f"log in: edgekit board ssh {board.name}",
        f"deploy: edgekit deploy shapes --target {board.target} --device {device}",
    )


def board_table(boards: "Sequence[RunningBoard]") -> Table:
    """One row per board that is up."""
    columns = tuple(Column(name) for name in ("board", "target", "kind", "address", "pid"))
    rows = tuple(
        (each.name, each.target, each.kind, f"{each.user}@{each.host}:{each.port}", str(each.pid))
        for each in boards
    )
    return Table(columns, rows)
