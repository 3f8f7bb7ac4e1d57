"""The former values on the disk, and the lock that says whether anybody looks after them.

The lock lies on a folder of the kernel's own, so that it holds for every user and every folder of
an agent, and is the kernel's to give back: whoever gets it knows that no guardian lives.
"""

import errno
import fcntl
import json
import os
import time

from device_agent import durable
from device_agent.clocks.domains import CPUFREQ, DEVFREQ, Files
from device_agent.clocks.plan import ORDER
from device_agent.clocks.undo import undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional

    from device_agent.clocks.plan import Change
    from device_agent.layout import Layout
    from device_agent.probe import Roots

_FORMAT = 1
_LOCKED = "devices/system/cpu"
_POLL_S = 0.05


def take_lock(roots: "Roots", wait_s: float) -> "Optional[int]":
    """Return a descriptor that keeps all others from pinning clocks; ``None``: another has it.

    Raises:
        OSError: the kernel shows no processors.
    """
    descriptor = os.open(os.path.join(roots.sys, _LOCKED), os.O_RDONLY | os.O_CLOEXEC)
    deadline = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                os.close(descriptor)
                raise
        else:
            return descriptor
        if time.monotonic() >= deadline:
            os.close(descriptor)
            return None
        time.sleep(_POLL_S)


class Journal:
    """The file below the agent's folder that holds what must be put back."""

    def __init__(self, layout: "Layout", roots: "Roots") -> None:
        self.path = os.path.join(layout.root, "clocks.json")
        self._roots = roots

    def write(self, changes: "List[Change]") -> None:
        """Keep what must be put back, so that a power cut or a kill loses none of it."""
        table = {
            "format": _FORMAT,
            "boot": self._boot(),
            "by": os.getpid(),
            "from": os.environ.get("SSH_CLIENT", "").split(" ")[0] or "this machine",
            "since": int(time.time()),
            "changes": changes,
        }
        made = self.path + ".new"
        durable.write_file(made, json.dumps(table, sort_keys=True))
        durable.publish(made, self.path)

    def remove(self) -> None:
        """Forget it: everything was put back."""
        durable.discard(self.path)

    def holder(self) -> str:
        """Return in words who pinned clocks, as far as this file tells."""
        table = self._read() or {}
        age_s = max(0, int(time.time()) - int(table.get("since", 0)))
        if not table:
            return "unknown"
        return f"process {table.get('by')}, from {table.get('from')}, since {age_s} s"

    def recover(self) -> "Optional[Dict[str, Any]]":
        """Put back what a guardian that is gone left behind; the lock must be held.

        Returns:
            What became of it, or ``None`` where there was nothing to do.
        """
        table = self._read()
        if table is None or table.get("boot") != self._boot():
            self.remove()  # since a new start the kernel itself has forgotten what was set
            return None
        done = undo(Files(self._roots.sys), _changes(table))
        if not done.failed:
            self.remove()
        return done.as_json()

    def _boot(self) -> str:
        return Files(self._roots.proc).read("sys/kernel/random/boot_id") or ""

    def _read(self) -> "Optional[Dict[str, Any]]":
        try:
            with open(self.path, encoding="utf-8") as file:
                table = json.load(file)
        except (OSError, ValueError):
            return None
        return table if isinstance(table, dict) and table.get("format") == _FORMAT else None


def _changes(table: "Dict[str, Any]") -> "List[Change]":
    """Return those changes that name a file of a clock; nothing else is ever written to."""
    changes = []
    for change in table.get("changes") or ():
        path = str(change.get("path"))
        inside = path.startswith((CPUFREQ + "/", DEVFREQ + "/")) and ".." not in path.split("/")
        if inside and change.get("kind") in ORDER and isinstance(change.get("was"), str):
            changes.append(change)
    return changes


def recover_stale(
    layout: "Layout", roots: "Roots", wait_s: float = 0
) -> "Optional[Dict[str, Any]]":
    """Put back what was left pinned if nobody looks after it any more.

    Args:
        layout: the agent's folder.
        roots: the kernel's trees.
        wait_s: for a guardian that is about to be gone.
    """
    journal = Journal(layout, roots)
    if not os.path.exists(journal.path):
        return None
    try:
        lock = take_lock(roots, wait_s)
    except OSError:
        return None
    if lock is None:
        return None
    try:
        return journal.recover()
    finally:
        os.close(lock)
