"""Counted instructions as a table."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgekit.report.table import Column, Table

if TYPE_CHECKING:
    from edgekit.board.counts import InstructionCount


def count_facts(counted: "InstructionCount") -> Mapping[str, Any]:
    """The count as plain JSON values."""
    return asdict(counted)


def count_table(counted: "InstructionCount") -> Table:
    """One row for each thing that was counted."""
    rows: list[tuple[str, int | None]] = [
        ("instructions", counted.instructions),
        ("  SIMD and floating point", counted.simd_fp),
        ("  branches", counted.branches),
        ("  loads and stores", counted.memory),
    ]
    if accesses := counted.accesses:
        rows += [
            ("memory: loads", accesses.loads),
            ("memory: bytes loaded", accesses.loaded_bytes),
            ("memory: stores", accesses.stores),
            ("memory: bytes stored", accesses.stored_bytes),
        ]
    if counted.uncounted_programs:
        rows.append(("programs it started, not counted", counted.uncounted_programs))
    shown = tuple((name, f"{value:,}") for name, value in rows if value is not None)
    return Table((Column("executed, emulated"), Column("count", numeric=True)), shown)
