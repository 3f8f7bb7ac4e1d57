"""Throws away what nothing active, and nothing to come back to, needs."""

import os
import sys
import time

from device_agent import durable
from device_agent.bundles import read_manifest
from device_agent.generations import current_generation, previous_generation, read_generation
from device_agent.lock import DeviceLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable, Set

    from device_agent.layout import Layout
    from device_agent.server import Answer, Call

_AGENT_LIFE_S = 30 * 24 * 3600


def gc(call: "Call") -> "Answer":
    """Remove bundles, runtimes, content, bytecode and jobs that neither current nor previous needs.

    Args in the request: ``grace_s``: what is younger stays, since a deployment that is under way
    may be about to use it.
    """
    layout = call.layout
    layout.make()
    with DeviceLock(layout.lock, "gc"):
        keep = _Kept(layout)
        born_before = time.time() - call.arg("grace_s", int)
        freed_bytes = 0
        for folder, names in (
            (layout.generations, keep.generations),
            (layout.bundles, keep.bundles),
            (layout.runtimes, keep.runtimes),
            (layout.bytecode, set()),
            (layout.jobs, set()),
            (layout.partial, set()),
            (layout.store, keep.content),
        ):
            freed_bytes += _sweep(folder, names, born_before)
        freed_bytes += _sweep_agents(layout)
    return {"freed_bytes": freed_bytes}


class _Kept:
    """The names that stay, room by room."""

    def __init__(self, layout: "Layout") -> None:
        self.generations: "Set[str]" = set()
        self.bundles: "Set[str]" = set()
        self.runtimes: "Set[str]" = set()
        self.content: "Set[str]" = set()
        now = current_generation(layout)
        if now is not None:
            for number in (now, previous_generation(layout, now)):
                if number is not None:
                    self.generations.add(str(number))
                    self.bundles.add(read_generation(layout, number)["bundle"])
        for identity in self.bundles:
            manifest = read_manifest(layout, identity)
            self.runtimes.add(manifest["runtime"]["id"])
            # A standing runtime needs its wheels no more, but the next bundle that shares it
            # is pushed faster with them in the store, and they are few.
            for entry in [*manifest["files"], *manifest["runtime"].get("wheels", ())]:
                self.content.add(entry["sha256"])


def _sweep_agents(layout: "Layout") -> int:
    """Remove agents of former releases; one that still runs imports from its file."""
    folder = os.path.join(layout.root, "agent")
    if not os.path.isdir(folder):
        return 0
    return _sweep(folder, {os.path.basename(sys.argv[0])}, time.time() - _AGENT_LIFE_S)


def _sweep(folder: str, keep: "Iterable[str]", born_before: float) -> int:
    freed_bytes = 0
    for name in sorted(set(os.listdir(folder)) - set(keep)):
        path = os.path.join(folder, name)
        state = os.lstat(path)
        if state.st_mtime > born_before:
            continue
        if os.path.isfile(path) and state.st_nlink <= 1:
            freed_bytes += state.st_size
        durable.discard(path)
    return freed_bytes
