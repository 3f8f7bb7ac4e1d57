"""The device's state at one moment, for whoever judges whether a run may be believed.

A snapshot is plain JSON values with their units in the names. What cannot be read is absent;
what is there and yet cannot be read, or holds no value that could be true, is told in ``unread``.
Nothing is started, nothing is written, nothing is raised.
"""

import time

from device_agent.health import clocks, cooling, load, memory, thermal, throttle
from device_agent.health.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Sequence, Union

_SOURCES = (
    ("cpus_online", clocks.online),
    ("clusters", clocks.read),
    ("zones", thermal.read),
    ("cooling", cooling.read),
    ("throttle", throttle.read),
    ("memory", memory.read),
)


def snapshot(root: "Union[str, Tree]" = "/", groups: "Sequence[int]" = ()) -> "Dict[str, Any]":
    """Read everything once.

    Args:
        root: where ``sys`` and ``proc`` stand; a ``Tree`` that is given again and again
            remembers what does not change, which makes every snapshot after the first cheap.
        groups: process groups whose work is our own, beside this process.

    Returns:
        What ``edgekit.core.health.HealthSnapshot.from_json`` takes.
    """
    tree = Tree(root) if isinstance(root, str) else root
    started = time.process_time()
    tree.unread = {}
    found: "Dict[str, Any]" = {"monotonic_ns": int(time.monotonic() * 1e9)}
    for name, read in _SOURCES:
        value = read(tree)
        if value:
            found[name] = value
    shares = load.read(tree, groups)
    if shares:
        found["load"] = shares
    if tree.unread:
        found["unread"] = tree.unread
    found["cost_cpu_us"] = int((time.process_time() - started) * 1e6)
    return found
