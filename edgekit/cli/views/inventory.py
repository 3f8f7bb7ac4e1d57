"""The inventory and a device's facts as tables and lines."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from edgekit.core.target import DeviceFacts
from edgekit.report.table import Column, Table

if TYPE_CHECKING:
    from edgekit.catalog.devices import DeviceEntry

_BYTES_PER_MB = 1e6


def entry_facts(entry: "DeviceEntry") -> Mapping[str, Any]:
    """The entry as plain JSON values."""
    facts = asdict(entry)
    return {**facts, "identity_file": _text(facts.get("identity_file"))}


def entry_line(entry: "DeviceEntry") -> str:
    """The entry in one line."""
    where = f"{entry.user}@{entry.address}" if entry.user else entry.address
    port = f":{entry.port}" if entry.port else ""
    return f"{entry.name}: {where}{port}" + (f" ({entry.target})" if entry.target else "")


def entry_table(entries: "Sequence[DeviceEntry]") -> Table:
    """One row per device."""
    columns = tuple(
        Column(name) for name in ("device", "address", "user", "port", "target", "note")
    )
    rows = tuple(
        (
            entry.name,
            entry.address,
            entry.user or "-",
            str(entry.port or "-"),
            entry.target or "-",
            entry.note or "-",
        )
        for entry in entries
    )
    return Table(columns, rows)


def probe_facts(facts: DeviceFacts, target: str | None) -> Mapping[str, Any]:
    """The facts and the matching target as plain JSON values."""
    return {"target": target, "device": asdict(facts)}


def facts_lines(facts: DeviceFacts, target: str | None) -> tuple[str, ...]:
    """What the agent read, one fact a line; what it could not read is left out."""
    pythons = ", ".join(
        f"{each.version}{f' with numpy {each.numpy}' if each.numpy else ''} ({each.executable})"
        for each in facts.pythons
    )
    lines = [
        ("target", target or "none fits: name one with --target"),
        ("model", facts.model),
        ("compatible", ", ".join(facts.compatible)),
        ("system", f"{facts.os_name}, kernel {facts.kernel}, {facts.machine}"),
        ("libc", f"{facts.libc} {facts.libc_version}"),
        ("cores", _cores(facts)),
        ("features", " ".join(facts.cpu_features)),
        ("memory", _memory(facts)),
        ("disk free", _mega(facts.disk_free_bytes)),
        ("pythons", pythons),
        ("emulated", "yes: correctness only" if facts.emulated else "no"),
    ]
    width = max(len(name) for name, _ in lines)
    return tuple(f"{name.ljust(width)}  {value}" for name, value in lines if value)


def _cores(facts: DeviceFacts) -> str:
    parts = " ".join(f"{part:#05x}" for part in facts.cpu_parts)
    return f"{facts.cpu_count}, {facts.cpu_usable} usable" + (f" ({parts})" if parts else "")


def _memory(facts: DeviceFacts) -> str:
    total, available = _mega(facts.memory_total_bytes), _mega(facts.memory_available_bytes)
    return f"{total}, {available} available" if total and available else total


def _mega(size_bytes: int | None) -> str:
    return "" if size_bytes is None else f"{size_bytes / _BYTES_PER_MB:.0f} MB"


def _text(value: object) -> str | None:
    return None if value is None else str(value)
