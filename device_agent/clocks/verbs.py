"""What a host may ask: to pin clocks, and to give them back."""

import os

from device_agent.clocks.domains import Files, find
from device_agent.clocks.guardian import Guardian
from device_agent.clocks.journal import Journal, recover_stale, take_lock
from device_agent.clocks.lease import Lease
from device_agent.clocks.plan import PERFORMANCE, Plan
from device_agent.protocol import VerbError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Optional, Union

    from device_agent.server import Answer, Call

_LEAST_LEASE_S = 1.0
_MOST_LEASE_S = 60.0
_WAIT_S = 3.0


def pin(call: "Call") -> "Answer":
    """Pin what can be pinned, under a lease.

    Args in the request: ``lease_s``; ``khz``, clocks by the number of their policy, where it is
    not to be the highest; ``devices``, whether devices such as a GPU are pinned too.
    """
    held = call.channel.lease
    if held is not None and not held.over:
        raise VerbError("busy", "this session holds pinned clocks already")
    lease_s = _lease_s(call)
    layout, roots = call.layout, call.roots
    layout.make()
    files, journal = Files(roots.sys), Journal(layout, roots)
    if not os.path.isdir(os.path.join(roots.sys, "devices/system/cpu")):
        return _answer({"domains": []}, None)
    lock = take_lock(roots, _WAIT_S)
    if lock is None:
        holder = journal.holder()
        raise VerbError("busy", f"another session holds this device's clocks pinned ({holder})")
    try:
        former = journal.recover()
        if former and former["failed"]:
            raise VerbError(
                "io_error", "clocks that were left pinned refuse to be put back", former
            )
        plans = _plans(call, files)
        if not plans:
            return _answer({"domains": []}, former)
        journal.write([change for plan in plans for change in plan.changes])
        link = Guardian(files, plans, journal, lease_s).start(call.channel.source, lock)
    finally:
        os.close(lock)  # the guardian has it now, if there is one
    lease = Lease(link, lambda: _recover(call))
    call.channel.lease = lease
    pinned = lease.pinned()
    if lease.over:
        raise VerbError("io_error", f"clocks were not pinned: {pinned.get('ended')}", pinned)
    return _answer(pinned, former)


def release(call: "Call") -> "Answer":
    """Put the clocks back; tell what became of them since they were pinned."""
    lease = call.channel.lease
    if lease is None:
        raise VerbError("bad_request", "this session holds no pinned clocks")
    call.channel.lease = None
    return lease.release()


def _answer(pinned: "Dict[str, Any]", former: "Optional[Dict[str, Any]]") -> "Answer":
    pinned["recovered"] = former
    pinned["user"] = os.geteuid()
    return pinned


def _recover(call: "Call") -> "Optional[Dict[str, Any]]":
    return recover_stale(call.layout, call.roots, wait_s=_WAIT_S)


def _plans(call: "Call", files: Files) -> "List[Plan]":
    wanted = _wanted(call)
    domains = find(files, bool(call.args.get("devices", True)))
    names = [domain.name for domain in domains]
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        raise VerbError(
            "bad_request", f"no {', '.join(unknown)} here; there is {', '.join(names) or 'none'}"
        )
    return [Plan(domain, files, wanted.get(domain.name, PERFORMANCE)) for domain in domains]


def _wanted(call: "Call") -> "Dict[str, Union[str, int]]":
    asked = call.arg("khz", dict) if "khz" in call.args else {}
    if not all(isinstance(khz, int) and khz > 0 for khz in asked.values()):
        raise VerbError("bad_request", "pin_clocks: khz must hold whole numbers over 0")
    return {f"policy{number}": khz for number, khz in asked.items()}


def _lease_s(call: "Call") -> float:
    lease_s = float(call.arg("lease_s", (int, float)))
    if not _LEAST_LEASE_S <= lease_s <= _MOST_LEASE_S:
        raise VerbError(
            "bad_request", f"pin_clocks: lease_s must lie in {_LEAST_LEASE_S} to {_MOST_LEASE_S}"
        )
    return lease_s
