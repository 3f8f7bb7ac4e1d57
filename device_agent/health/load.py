"""How busy the processors were since boot, and how much of it was our own work.

Source: proc(5), /proc/stat, /proc/pid/stat and /proc/loadavg.
"""

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Dict, Optional, Sequence, Set, Tuple

    from device_agent.health.tree import Tree

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_BUSY = (0, 1, 2, 5, 6, 7)  # user, nice, system, irq, softirq, steal; user holds guest
_IDLE = (3, 4)  # idle, iowait
_FIELDS = 8
_DIGITS = 20  # of a number of 64 bits
_MOST_LOAD = 1 << 22  # Linux has no more processes than that
_GROUP, _FIRST_TIME, _LAST_TIME = 2, 11, 15  # of what follows the name: pgrp, utime .. cstime


def read(tree: "Tree", groups: "Sequence[int]" = ()) -> "Dict[str, float]":
    """Return seconds of all cores together since boot, and the load average."""
    found: "Dict[str, float]" = {}
    ticks = _all_ticks(tree.text("proc/stat") or "")
    if ticks:
        found["busy_s"] = sum(ticks[index] for index in _BUSY) / _TICKS_PER_S
        found["idle_s"] = sum(ticks[index] for index in _IDLE) / _TICKS_PER_S
        own = _own_ticks(tree, groups)
        if own is not None:
            found["own_s"] = own / _TICKS_PER_S
    average = _first_number(tree.text("proc/loadavg") or "")
    if average is not None:
        found["load_1min"] = average
    return found


def _all_ticks(text: str) -> "Tuple[int, ...]":
    words = text.partition("\n")[0].split()
    if words[:1] != ["cpu"]:
        return ()
    numbers = words[1 : 1 + _FIELDS]
    if len(numbers) < _FIELDS or not all(_is_count(word) for word in numbers):
        return ()
    return tuple(int(word) for word in numbers)


def _is_count(word: str) -> bool:
    return word.isdecimal() and len(word) < _DIGITS


def _first_number(text: str) -> "Optional[float]":
    try:
        value = float(text.split(maxsplit=1)[0])
    except (IndexError, ValueError):
        return None
    return value if 0 <= value <= _MOST_LOAD else None  # nor is a NaN


def _own_ticks(tree: "Tree", groups: "Sequence[int]") -> "Optional[int]":
    """Return what this process, and the process groups, used, their dead children included."""
    own = tree.text("proc/self/stat") or ""
    group, total = _ticks(own)
    if group is None or not groups:
        return None if group is None else total
    me = own.partition(" ")[0]
    # Looking at every process costs more than all the rest. One of another group stays so.
    foreign: "Set[str]" = tree.once("foreign", set)
    pids = {name for name in tree.names("proc") if name.isdecimal()}
    foreign &= pids
    for pid in pids - foreign - {me}:
        group, used = _ticks(tree.text("proc/" + pid + "/stat") or "")
        if group in groups:
            total += used
        elif group is not None:
            foreign.add(pid)
    return total


def _ticks(text: str) -> "Tuple[Optional[int], int]":
    # The name may hold blanks and parentheses; what follows the last one is numbers.
    words = text.rpartition(")")[2].split()
    used = words[_FIRST_TIME:_LAST_TIME]
    if len(used) < _LAST_TIME - _FIRST_TIME or not all(_is_count(word) for word in used):
        return None, 0
    return (int(words[_GROUP]) if _is_count(words[_GROUP]) else None), sum(map(int, used))
