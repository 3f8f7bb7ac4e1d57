"""Each engine's int8 as a table."""

from collections.abc import Mapping, Sequence

from edgekit.core.candidate import CandidateResult
from edgekit.core.names import EngineName
from edgekit.core.quantisation import ChosenQuantisation
from edgekit.report.table import Column, Table

_BYTES_PER_MB = 1e6


def int8_table(
    rows: Sequence[CandidateResult], chosen: Mapping[EngineName, ChosenQuantisation]
) -> Table:
    """One row for each engine: how its int8 is made, what it loses, why."""
    columns = (
        Column("engine"),
        Column("status"),
        Column("made by"),
        Column("drop", numeric=True),
        Column("MB", numeric=True),
        Column("remark"),
    )
    return Table(columns, tuple(_row(row, chosen.get(row.candidate.engine)) for row in rows))


def _row(row: CandidateResult, found: ChosenQuantisation | None) -> tuple[str, ...]:
    drop = found.drop if found is not None else None
    return (
        row.candidate.engine,
        row.status,
        str(row.candidate.quantisation or ""),
        "" if drop is None else f"{drop:.4f}",
        "" if row.size_bytes is None else f"{row.size_bytes / _BYTES_PER_MB:.1f}",
        row.reason,
    )


def tried_lines(chosen: Mapping[EngineName, ChosenQuantisation]) -> tuple[str, ...]:
    """Every way that was tried, and what it lost on the calibration side."""
    return tuple(
        f"{engine}: {each.quantisation}: {_outcome(each.drop, each.error)}"
        for engine, found in chosen.items()
        for each in found.tried
    )


def _outcome(drop: float | None, error: str) -> str:
    return f"drop {drop:.4f}" if drop is not None else " ".join(error.split())
