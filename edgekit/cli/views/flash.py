"""Disks, plans and what became of them, as tables and lines."""

from typing import TYPE_CHECKING

from edgekit.report.table import Column, Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.app.flash import Flashed, FlashPlan, SeenDisk
    from edgekit.app.flash_board import BoardFlashed
    from edgekit.core.flash import Disk, Written

_BYTES_PER_MB = 1e6
_BYTES_PER_GB = 1e9


def disk_table(seen: "Sequence[SeenDisk]", *, refusals: bool = False) -> Table:
    """One row per disk; with ``refusals``, the last column says why one may not be flashed."""
    names = ["disk", "size", "model", "serial", "port", "holds"]
    columns = [Column(name, numeric=name == "size") for name in names]
    rows = [_row(each) for each in seen]
    if refusals:
        columns.append(Column("may be flashed"))
        rows = [(*row, _verdict(each)) for row, each in zip(rows, seen, strict=True)]
    return Table(tuple(columns), tuple(rows))


def _row(seen: "SeenDisk") -> tuple[str, ...]:
    disk = seen.disk
    return (
        str(disk.path),
        size_words(disk.size_bytes),
        disk.model or "-",
        disk.serial or "-",
        disk.port or "-",
        seen.holds or "not readable",
    )


def _verdict(seen: "SeenDisk") -> str:
    if not seen.refusal:
        return "yes"
    disk = seen.disk
    if disk.system:
        return f"no: this machine's system ({', '.join(disk.mounts)})"
    if disk.mounts:
        return f"no: in use ({', '.join(disk.mounts)})"
    if disk.read_only:
        return "no: read-only"
    return "no: built in" if not disk.removable else "no"


def size_words(size_bytes: int) -> str:
    """A size as it is printed on a card."""
    if size_bytes >= _BYTES_PER_GB:
        return f"{size_bytes / _BYTES_PER_GB:.1f} GB"
    return f"{size_bytes / _BYTES_PER_MB:.1f} MB"


def plan_lines(plan: "FlashPlan") -> tuple[str, ...]:
    """What is to be written, in the lines above the table of disks."""
    lines = [f"image   {plan.options.image}"]
    facts = plan.facts
    if facts is not None:
        system = facts.system or "system unknown"
        architectures = ", ".join(facts.architectures) or "architecture unknown"
        lines.append(f"        {size_words(facts.size_bytes)}, {system}, {architectures}")
    if plan.target is not None:
        lines.append(f"target  {plan.target.name}: {plan.target.title}")
    if not plan.options.inspect:
        lines.append("        not inspected: nothing tells whether it fits (--no-inspect)")
    return tuple(lines)


def question(disks: "Sequence[Disk]") -> str:
    """What is asked before anything is erased."""
    return f"All that is on {_listed(disks)} will be lost. Type yes to go on"


def _listed(disks: "Sequence[Disk]") -> str:
    names = [str(disk.path) for disk in disks]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def flashed_lines(flashed: "Flashed") -> tuple[str, ...]:
    """What became of each disk, and what to do next."""
    lines = [_written_line(each) for each in flashed.written]
    if flashed.done:
        lines.append(f"provisioned by {flashed.done[0]}: {'; '.join(flashed.done[1:])}")
    if flashed.device and flashed.ok:
        lines.append(
            f"next: start the board with it, then edgekit status --device {flashed.device}"
        )
    return tuple(lines)


def board_lines(flashed: "BoardFlashed") -> tuple[str, ...]:
    """What became of a board that waited, and what to do next."""
    made, done = flashed.unit.flashed, flashed.unit.done
    checked = {
        "all": "read back and equal",
        "sample": "a sample of it equal",
        "none": "not read back",
    }
    size = f"{size_words(made.size_bytes)} written in " if made.size_bytes else ""
    where = f"{made.unit.title} at {made.unit.port}"
    lines = [f"ok {where}: {size}{made.write_s:.1f} s, {checked[made.checked]}"]
    if done:
        lines.append(f"provisioned by {done[0]}: {'; '.join(done[1:])}")
    if flashed.device:
        lines.append(f"next: edgekit status --device {flashed.device}")
    return tuple(lines)


def _written_line(written: "Written") -> str:
    name = str(written.disk.path)
    if written.error is not None:
        return f"FAILED {name}: {written.error}"
    size, sent = size_words(written.size_bytes), size_words(written.written_bytes)
    # What is zeros, or not in the block map, is not sent; the rate is of what was.
    of_it = "" if sent == size else f", {sent} of it sent"
    rate = ""
    if written.write_s:
        rate = f" ({written.written_bytes / written.write_s / _BYTES_PER_MB:.0f} MB/s)"
    verified = (
        f"verified in {written.verify_s:.1f} s"
        if written.verify_s
        else "not verified (--no-verify)"
    )
    return f"ok {name}: {size} written{of_it} in {written.write_s:.1f} s{rate}, {verified}"
