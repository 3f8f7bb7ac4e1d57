"""Free memory, and how much was swapped since boot.

Source: proc(5), /proc/meminfo and /proc/vmstat (pswpin and pswpout count pages).
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Tuple

    from device_agent.health.tree import Tree

_DIGITS = 20  # of a number of 64 bits
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


def read(tree: "Tree") -> "Dict[str, int]":
    """Return bytes."""
    found = {}
    memory = _table(tree.text("proc/meminfo") or "", ("MemAvailable:",))
    for value in memory.values():
        found["available_bytes"] = value * 1024
    pages = _table(tree.text("proc/vmstat", whole=True) or "", ("pswpin", "pswpout"))
    for name, key in (("pswpin", "swapped_in_bytes"), ("pswpout", "swapped_out_bytes")):
        if name in pages:
            found[key] = pages[name] * _PAGE_BYTES
    return found


def _table(text: str, names: "Tuple[str, ...]") -> "Dict[str, int]":
    found = {}
    for line in text.splitlines():
        words = line.split()[:2]
        if (
            len(words) > 1
            and words[0] in names
            and words[1].isdecimal()
            and len(words[1]) < _DIGITS
        ):
            found[words[0]] = int(words[1])
    return found
