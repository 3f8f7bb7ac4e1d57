"""The process that pins clocks, waits, and puts them back whatever becomes of the others.

It is no child of the agent and of no session, so that nothing which ends these ends it. It alone
writes, so that no write can come after the undoing. It ends

* when it is told to, or a signal asks it to end;
* when the agent is gone: the other end of its socket is closed;
* when the lease runs out: the agent sent no sign of life of the host, and no bytes from the host
  pile up unread before an agent that is at work.
"""

import array
import fcntl
import json
import os
import select
import signal
import socket
import termios
import time

from device_agent.clocks.domains import Files
from device_agent.clocks.plan import PERFORMANCE
from device_agent.clocks.undo import undo
from device_agent.detached import close_all_but

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Tuple

    from device_agent.clocks.journal import Journal
    from device_agent.clocks.plan import Change, Plan

RENEW = b"."
RELEASE = b"x"
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT)
_AGAIN_S = (0.1, 0.3, 0.6, 1.0, 2.0)
"""Pauses before what refused is tried again: a governor may be busy with its start."""


class Guardian:
    """What the guardian does, once it is a process of its own.

    Args:
        files: where the kernel's files stand.
        plans: what to write.
        journal: the copy on the disk of what stood there before.
        lease_s: how long to go on without a sign of life.
    """

    def __init__(
        self, files: Files, plans: "List[Plan]", journal: "Journal", lease_s: float
    ) -> None:
        self._files = files
        self._plans = plans
        self._journal = journal
        self._lease_s = lease_s

    def start(self, source: int, lock: int) -> socket.socket:
        """Start it; return the agent's end of its socket.

        Args:
            source: where the host's bytes arrive.
            lock: held for as long as clocks are pinned; the caller closes its own copy.

        Raises:
            OSError: the system gives no process.
        """
        ours, theirs = socket.socketpair()
        former = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDING)
        try:
            child = os.fork()
            if child == 0:
                self._become(theirs, source, lock)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)
            theirs.close()
        if os.waitpid(child, 0)[1] != 0:
            ours.close()
            msg = "the guardian of the clocks could not be started"
            raise OSError(msg)
        return ours

    def _become(self, link: socket.socket, source: int, lock: int) -> None:
        """Leave the agent's session, descriptors and signals behind; never returns."""
        status = 1
        try:
            os.setsid()
            if os.fork():
                os._exit(0)
            close_all_but((link.fileno(), source, lock))
            os.chdir("/")
            self._guard(link, source, lock)
            status = 0
        finally:
            os._exit(status)

    def _guard(self, link: socket.socket, source: int, lock: int) -> None:
        woken = _waking_signals()
        try:
            _send(link, self._pin())
            ended = self._wait(link, source, woken)
        except Exception as error:  # noqa: BLE001 - whatever it is, clocks are put back
            ended = f"failed: {error!r}"
        report = self._restore()
        os.close(lock)
        report["ended"] = ended
        _send(link, report)

    def _pin(self) -> "Dict[str, Any]":
        for plan in self._plans:
            _write(self._files, plan)
        told = [_told(plan, self._files) for plan in self._plans]
        return {"domains": told, "guardian": os.getpid()}

    def _changes(self) -> "List[Change]":
        return [change for plan in self._plans for change in plan.changes]

    def _wait(self, link: socket.socket, source: int, woken: int) -> str:
        link.setblocking(False)
        unread = _unread(source)
        deadline = time.monotonic() + self._lease_s
        while time.monotonic() < deadline:
            left_s = min(deadline - time.monotonic(), self._lease_s / 6)
            ready, _, _ = select.select([link.fileno(), woken], [], [], max(0, left_s))
            if woken in ready:
                return "told by a signal"
            if ready:
                said = _receive(link)
                if not said:
                    return "agent gone"
                if RELEASE in said:
                    return "released"
            piled, unread = unread, _unread(source)
            if ready or unread != piled:
                deadline = time.monotonic() + self._lease_s
        return "lease ran out"

    def _restore(self) -> "Dict[str, Any]":
        changes = self._changes()
        done = undo(self._files, changes)
        report = done.as_json()
        for pause_s in _AGAIN_S:
            if not done.failed:
                break
            time.sleep(pause_s)
            done = undo(self._files, changes)
            report["restored"] += done.restored
            report["failed"] = done.failed
        if not done.failed:
            self._journal.remove()
        return report


def _write(files: Files, plan: "Plan") -> None:
    """Write what a plan holds; take all of it back where the clock is not pinned by that."""
    due = [change for change in plan.changes if "set" in change]
    refused = _attempt(files, due)
    for change, why in refused:
        plan.refuse(change["path"], why)
    for change in due:
        found = files.read(change["path"])
        if found != change["set"] and all(change is not each for each, _why in refused):
            plan.refuse(change["path"], "not_kept", found or "")
    if plan.refused and not undo(files, plan.changes).failed:
        plan.changes = []


def _attempt(files: Files, due: "List[Change]") -> "List[Tuple[Change, str]]":
    first = [change for change in due if files.write(change["path"], change["set"])]
    # Older kernels refuse a lower limit above the upper one: then the other goes first.
    again = [(change, files.write(change["path"], change["set"])) for change in first]
    return [(change, why) for change, why in again if why]


def _told(plan: "Plan", files: Files) -> "Dict[str, Any]":
    domain, now = plan.domain, plan.domain.state(files)
    by_governor = domain.kind == "cpu" and now.get("governor") == PERFORMANCE
    low, high = now.get("min_hz"), now.get("max_hz")
    wanted = plan.wanted
    if wanted == PERFORMANCE:
        pinned = by_governor or (low is not None and low == high)
    else:
        pinned = low == high == int(wanted) * domain.scale_hz
    return {
        "name": domain.name,
        "kind": domain.kind,
        "cpus": domain.cpus(files),
        "asked_hz": None if wanted == PERFORMANCE else int(wanted) * domain.scale_hz,
        "set": [[each["path"].rpartition("/")[2], each["set"]] for each in _set_by(plan)],
        "was": plan.was,
        "now": now,
        "pinned": pinned and not plan.refused,
        "refused": plan.refused,
    }


def _set_by(plan: "Plan") -> "List[Change]":
    return [change for change in plan.changes if "set" in change]


def _waking_signals() -> int:
    """Have every signal that asks for an end be told through a descriptor; return it."""
    reader, writer = os.pipe()
    os.set_blocking(reader, False)
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer)
    for number in _ENDING:
        signal.signal(number, _hear)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDING)
    return reader


def _hear(_number: int, _frame: object) -> None:
    """Let a signal pass: the descriptor that is written to for it is what counts."""


def _unread(source: int) -> int:
    """Return how many bytes wait to be read, -1 where that is not told."""
    count = array.array("i", [0])
    try:
        fcntl.ioctl(source, termios.FIONREAD, count)
    except OSError:
        return -1
    return count[0]


def _receive(link: socket.socket) -> bytes:
    try:
        return link.recv(4096)
    except BlockingIOError:
        return RENEW
    except OSError:
        return b""


def _send(link: socket.socket, table: "Dict[str, Any]") -> None:
    try:
        link.setblocking(True)
        link.sendall(json.dumps(table).encode("ascii") + b"\n")
    except OSError:
        return  # nobody is left to be told
