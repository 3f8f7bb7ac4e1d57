"""The cache as tables, lines and plain JSON values."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgekit.app.cache_entries import KINDS
from edgekit.cli.views.flash import size_words
from edgekit.report.table import Column, Table

if TYPE_CHECKING:
    from edgekit.app.cache import Overview
    from edgekit.app.cache_entries import Entry
    from edgekit.app.cache_removal import Removal

_DAY_S = 24 * 3600


def overview_facts(found: "Overview") -> Mapping[str, Any]:
    """What takes how much, as plain JSON values."""
    return {
        "folder": str(found.folder),
        "taken_bytes": found.taken_bytes,
        "free_bytes": found.free_bytes,
        "disk_bytes": found.disk_bytes,
        "older_than_s": found.older_than_s,
        "kinds": [
            {
                "kind": each.kind,
                "what": KINDS[each.kind],
                "taken_bytes": each.taken_bytes,
                "old_bytes": each.old_bytes,
                "used_now": each.used_now,
            }
            for each in found.shares
        ],
        "kept": _kept_facts(found.needed),
    }


def overview_parts(found: "Overview") -> tuple["Table | str", ...]:
    """What takes how much, for people."""
    head = (
        f"{found.folder}: {size_words(found.taken_bytes)}; "
        f"its disk has {size_words(found.free_bytes)} free of {size_words(found.disk_bytes)}"
    )
    if not found.shares:
        return (head, "there is nothing in it")
    columns = (
        Column("kind"),
        Column("what"),
        Column("takes", numeric=True),
        Column("current", numeric=True),
        Column("old", numeric=True),
        Column("used now"),
    )
    rows = tuple(
        (
            each.kind,
            KINDS[each.kind],
            size_words(each.taken_bytes),
            size_words(max(0, each.taken_bytes - each.old_bytes)),
            size_words(each.old_bytes) if each.old_bytes else "-",
            "yes" if each.used_now else "",
        )
        for each in found.shares
    )
    days = f"{found.older_than_s / _DAY_S:g} days"
    last = f"old: not used for {days}, superseded or half made; edgekit cache prune removes it"
    return (head, Table(columns, rows), *_kept_lines(found.needed), last)


def removal_facts(found: "Removal", *, dry_run: bool) -> Mapping[str, Any]:
    """What goes or went, as plain JSON values."""
    return {
        "dry_run": dry_run,
        "freed_bytes": found.freed_bytes,
        "removed": [
            {
                "kind": entry.kind,
                "what": entry.what,
                "path": str(entry.path),
                "reason": entry.reason,
                "used_s": int(entry.used_s),
                "bytes": size,
            }
            for entry, size in found.entries
        ],
        "kept": _kept_facts(found.needed),
    }


def removal_parts(found: "Removal", *, done: bool) -> tuple["Table | str", ...]:
    """What goes or went, for people: one row for all of a sort."""
    kept = _kept_lines(found.needed)
    if not found.entries:
        return (*kept, "nothing was removed" if done else "there is nothing to remove")
    sorts: dict[tuple[str, str, str], list[int]] = {}
    for entry, size in found.entries:
        sorts.setdefault((entry.kind, entry.what, entry.reason), []).append(size)
    columns = (
        *(Column("kind"), Column("what"), Column("why")),
        *(Column("number", numeric=True), Column("size", numeric=True)),
    )
    rows = tuple((*sort, str(len(sizes)), size_words(sum(sizes))) for sort, sizes in sorts.items())
    freed = size_words(found.freed_bytes)
    last = f"{freed} freed" if done else f"removing these frees {freed}"
    return (Table(columns, rows), *kept, last)


def _kept_facts(needed: "Sequence[Entry]") -> list[Mapping[str, Any]]:
    return [
        {
            "kind": entry.kind,
            "what": entry.what,
            "path": str(entry.path),
            "reason": entry.reason,
            "needed": entry.needed,
        }
        for entry in needed
    ]


def _kept_lines(needed: "Sequence[Entry]") -> tuple[str, ...]:
    sorts: dict[tuple[str, str], int] = {}
    for entry in needed:
        sort = (entry.what, entry.needed)
        sorts[sort] = sorts.get(sort, 0) + 1
    return tuple(f"stays: {what} ({count}): {why}" for (what, why), count in sorts.items())
