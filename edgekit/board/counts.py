"""What was counted of a program: instructions and memory accesses, never a time."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.core.errors import UsageError

COUNTS_FILE: Final = "counts"  # the start script names it too
Line = Mapping[str, int | str]
"""What one process counted until it ended or became another program; see the plugin."""


@dataclass(frozen=True)
class MemoryAccesses:
    """What went to and came from memory, as the emulator does it.

    One access moves 8 bytes at most: an instruction that loads a pair, or a vector of 16 bytes,
    is two.

    Attributes:
        loads, stores: accesses.
        loaded_bytes, stored_bytes: what they moved.
    """

    loads: int
    stores: int
    loaded_bytes: int
    stored_bytes: int


@dataclass(frozen=True)
class InstructionCount:
    """How many instructions a program executed, in all its threads and forked processes.

    A number of instructions of the emulated processor, neither a time nor a rate. The kernel's
    own are not in it.

    Attributes:
        instructions: all of them.
        simd_fp: those that compute with vectors or floating point.
        branches: branches, calls, returns, system calls, and the like.
        memory: those that load or store, of vectors too. Like ``simd_fp`` and ``branches``, by
            the groups of the Arm manual; ``None`` for 32-bit programs, which it groups otherwise.
        accesses: ``None`` where they were not asked for.
        uncounted_programs: how many other programs it started; theirs are not in it.
    """

    instructions: int
    simd_fp: int | None
    branches: int | None
    memory: int | None
    accesses: MemoryAccesses | None = None
    uncounted_programs: int = 0


def per_round(fewer: InstructionCount, more: InstructionCount, rounds: int) -> InstructionCount:
    """Return what one round of a loop executes, from two runs of the same program.

    What both did once, such as loading and warming up, is gone in the difference.

    Args:
        fewer: of the run with fewer rounds.
        more: of the run with ``rounds`` more of them.
        rounds: how many more.

    Raises:
        UsageError: there is no difference to take.
    """
    if rounds < 1 or more.instructions < fewer.instructions:
        raise UsageError(
            f"{more.instructions} instructions are not those of {rounds} more rounds than "
            f"{fewer.instructions}"
        )

    def one(name: str) -> int | None:
        first, second = getattr(fewer, name), getattr(more, name)
        return None if first is None or second is None else round((second - first) / rounds)

    return InstructionCount(
        instructions=round((more.instructions - fewer.instructions) / rounds),
        simd_fp=one("simd_fp"),
        branches=one("branches"),
        memory=one("memory"),
        accesses=_accesses_per_round(fewer.accesses, more.accesses, rounds),
        uncounted_programs=round((more.uncounted_programs - fewer.uncounted_programs) / rounds),
    )


def _accesses_per_round(
    fewer: MemoryAccesses | None, more: MemoryAccesses | None, rounds: int
) -> MemoryAccesses | None:
    if fewer is None or more is None:
        return None
    return MemoryAccesses(
        loads=round((more.loads - fewer.loads) / rounds),
        stores=round((more.stores - fewer.stores) / rounds),
        loaded_bytes=round((more.loaded_bytes - fewer.loaded_bytes) / rounds),
        stored_bytes=round((more.stored_bytes - fewer.stored_bytes) / rounds),
    )


def make_out(folder: Path) -> Path:
    """Make the folder that the plugin writes to, whichever user it runs as."""
    out = folder / "out"
    out.mkdir()
    out.chmod(0o711)
    (out / COUNTS_FILE).touch()
    (out / COUNTS_FILE).chmod(0o666)
    return out


def read_lines(out: Path) -> tuple[Line, ...]:
    """Read what the plugin wrote, in order.

    Raises:
        OSError: it cannot be read.
        ValueError: it is damaged.
    """
    text = (out / COUNTS_FILE).read_text(encoding="ascii")
    return tuple(json.loads(line) for line in text.splitlines())


def forget_lines(out: Path) -> None:
    """Empty what the plugin wrote, for the next program."""
    os.truncate(out / COUNTS_FILE, 0)


def total(lines: Sequence[Line], *, groups: bool, accesses: bool) -> InstructionCount:
    """Add up what all processes of a program counted.

    Args:
        lines: what they counted.
        groups: whether the plugin knows the groups of instructions of this architecture.
        accesses: whether it was told to count these.
    """

    def added(name: str) -> int:
        return sum(int(line[name]) for line in lines)

    ends = [line["end"] for line in lines]
    moved = MemoryAccesses(
        added("loads"), added("stores"), added("loaded_bytes"), added("stored_bytes")
    )
    return InstructionCount(
        instructions=added("instructions"),
        simd_fp=added("simd_fp") if groups else None,
        branches=added("branches") if groups else None,
        memory=added("memory") if groups else None,
        accesses=moved if accesses else None,
        uncounted_programs=ends.count("exec") - ends.count("exec failed"),
    )
