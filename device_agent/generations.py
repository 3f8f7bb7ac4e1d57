"""What is active: numbered generations, and one link that is switched by rename."""

import json
import os
import re
import time

from device_agent import durable
from device_agent.bundles import read_manifest
from device_agent.layout import check_sha256
from device_agent.lock import DeviceLock
from device_agent.probe import free_bytes
from device_agent.protocol import VerbError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, Optional

    from device_agent.layout import Layout
    from device_agent.server import Answer, Call

_NUMBER = re.compile(r"[1-9]\d*")


def activate(call: "Call") -> "Answer":
    """Make a bundle the active one; what was active before can come back.

    Args in the request: ``bundle``, its identity.
    """
    identity = check_sha256(call.arg("bundle", str))
    layout = call.layout
    layout.make()
    with DeviceLock(layout.lock, "activate"):
        read_manifest(layout, identity)
        before = current_generation(layout)
        if before is not None and read_generation(layout, before)["bundle"] == identity:
            return _activation(layout, changed=False)
        number = max(map(int, filter(_NUMBER.fullmatch, os.listdir(layout.generations))), default=0)
        _make_generation(layout, number + 1, identity, before)
        _switch(layout, number + 1)
        return _activation(layout, changed=True)


def rollback(call: "Call") -> "Answer":
    """Make the bundle active again that was active before the present one."""
    layout = call.layout
    layout.make()
    with DeviceLock(layout.lock, "rollback"):
        now = current_generation(layout)
        before = previous_generation(layout, now)
        if before is None:
            raise VerbError("no_previous", "nothing was active before what is active now")
        _switch(layout, before)
        return _activation(layout, changed=True)


def status(call: "Call") -> "Answer":
    """Tell what is active, what would come back, and what the agent's folder holds."""
    layout = call.layout
    layout.make()
    now = current_generation(layout)
    before = previous_generation(layout, now)
    return {
        "current": _describe(layout, now),
        "previous": _describe(layout, before),
        "bundles": [name for name in sorted(os.listdir(layout.bundles)) if name[0] != "."],
        "store_bytes": _folder_bytes(layout.store),
        "partial_bytes": _folder_bytes(layout.partial),
        "disk_free_bytes": free_bytes(layout.root),
    }


def current_generation(layout: "Layout") -> "Optional[int]":
    """Return the number of the active generation, ``None`` before the first activation."""
    try:
        name = os.path.basename(os.readlink(layout.current))
    except FileNotFoundError:
        return None
    if not _NUMBER.fullmatch(name):
        raise VerbError("internal", f"{layout.current} leads to {name!r}")
    return int(name)


def previous_generation(layout: "Layout", number: "Optional[int]") -> "Optional[int]":
    """Return the generation before this one, ``None`` where there is none any more."""
    before = None if number is None else read_generation(layout, number)["previous"]
    return before if before is not None and os.path.isdir(layout.generation(before)) else None


def read_generation(layout: "Layout", number: int) -> "Dict[str, Any]":
    """Return a generation's ``bundle``, ``previous`` and ``activated_s``."""
    with open(os.path.join(layout.generation(number), "meta.json"), encoding="utf-8") as file:
        meta: "Dict[str, Any]" = json.load(file)
        return meta


def _make_generation(layout: "Layout", number: int, identity: str, before: "Optional[int]") -> None:
    made = os.path.join(layout.generations, f".{number}")
    durable.discard(made)
    durable.make_folder(made)
    meta = {"bundle": identity, "previous": before, "activated_s": int(time.time())}
    durable.write_file(os.path.join(made, "meta.json"), json.dumps(meta, sort_keys=True))
    durable.symlink(os.path.join("..", "..", "bundles", identity), os.path.join(made, "bundle"))
    durable.flush_folder(made)
    durable.publish(made, layout.generation(number))


def _switch(layout: "Layout", number: int) -> None:
    made = layout.current + ".new"
    durable.discard(made)
    durable.symlink(os.path.join("generations", str(number)), made)
    durable.publish(made, layout.current)


def _activation(layout: "Layout", changed: bool) -> "Answer":
    now = current_generation(layout)
    assert now is not None  # noqa: S101 - called only where something is active
    meta = read_generation(layout, now)
    before = previous_generation(layout, now)
    return {
        "current": meta["bundle"],
        "previous": None if before is None else read_generation(layout, before)["bundle"],
        "generation": now,
        "changed": changed,
    }


def _describe(layout: "Layout", number: "Optional[int]") -> "Optional[Answer]":
    if number is None:
        return None
    meta = read_generation(layout, number)
    manifest = read_manifest(layout, meta["bundle"])
    described = {name: manifest[name] for name in ("name", "engine", "precision", "target")}
    described.update(
        bundle=meta["bundle"],
        generation=number,
        activated_s=meta["activated_s"],
        knobs=manifest["knobs"],
        classes=manifest["job"].get("classes", []),
        input_shapes=[each.get("shape", []) for each in manifest["job"].get("inputs", ())],
        python=manifest["runtime"].get("python"),
        wheels=[entry["path"] for entry in manifest["runtime"].get("wheels", ())],
    )
    return described


def _folder_bytes(folder: str) -> int:
    with os.scandir(folder) as entries:
        return sum(entry.stat(follow_symlinks=False).st_size for entry in entries)
