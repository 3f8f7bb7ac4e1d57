"""Bundles: a manifest, its files linked from the store, and the runtime it needs."""

import json
import os

from device_agent import durable
from device_agent.content import check_room
from device_agent.layout import check_name, check_relative, check_sha256
from device_agent.lock import DeviceLock
from device_agent.probe import compatible_strings, userland_machine
from device_agent.protocol import VerbError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Dict, List, Set, Tuple

    from device_agent.layout import Layout
    from device_agent.server import Answer, Call

    Manifest = Dict[str, Any]

MANIFEST_FORMAT = 1
_KINDS = (
    ("name", str),
    ("engine", str),
    ("precision", str),
    ("target", str),
    ("architecture", str),
    ("compatible", list),
    ("knobs", dict),
    ("files", list),
    ("runtime", dict),
    ("job", dict),
)


def install(call: "Call") -> "Answer":
    """Make a bundle whose content is in the store, and the runtime it needs.

    Args in the request: ``manifest``, its canonical text, whose sha256 is the bundle's name;
    ``stands_for``, ``machine`` and ``compatible`` of the device that this folder is being made
    for, where it is to be put into a disk image and this is not that device.
    """
    import hashlib

    text = call.arg("manifest", str)
    manifest = _parse(text)
    _check_device(call, manifest)
    identity = hashlib.sha256(text.encode("utf-8")).hexdigest()
    call.layout.make()
    with DeviceLock(call.layout.lock, "install"):
        _check_content(call.layout, identity, manifest)
        runtime_made = _install_runtime(call, manifest["runtime"])
        bundle_made = _install_files(call.layout, identity, text, manifest["files"])
    return {"bundle": identity, "bundle_made": bundle_made, "runtime_made": runtime_made}


def install_runtime(call: "Call") -> "Answer":
    """Make a runtime that belongs to no bundle, of wheels that are in the store.

    Args in the request: ``runtime``, its ``id`` and ``wheels`` as in a manifest.
    """
    runtime = call.arg("runtime", dict)
    check_name(runtime.get("id"))
    wheels = runtime.get("wheels")
    if not isinstance(wheels, list) or not wheels:
        raise VerbError("bad_request", "install_runtime: the runtime has no wheels")
    _check_entries(wheels)
    call.layout.make()
    with DeviceLock(call.layout.lock, "install_runtime"):
        if not os.path.isdir(call.layout.runtime(runtime["id"])):
            _check_present(call.layout, wheels)
        made = _install_runtime(call, runtime)
    return {"runtime_made": made}


def read_manifest(layout: "Layout", identity: str) -> "Manifest":
    """Return the manifest of an installed bundle.

    Raises:
        VerbError: it is not installed.
    """
    path = os.path.join(layout.bundle(identity), "manifest.json")
    try:
        with open(path, encoding="utf-8") as file:
            return _parse(file.read())
    except FileNotFoundError as error:
        raise VerbError("not_found", f"bundle {identity} is not installed") from error


def _parse(text: str) -> "Manifest":
    try:
        manifest = json.loads(text)
    except ValueError as error:
        raise VerbError("bad_request", f"the manifest is not JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != MANIFEST_FORMAT:
        raise VerbError("bad_request", "the manifest is of a format that this agent cannot read")
    for name, kind in _KINDS:
        if not isinstance(manifest.get(name), kind):
            raise VerbError("bad_request", f"the manifest's {name} is not a {kind.__name__}")
    runtime = manifest["runtime"]
    check_name(runtime.get("id"))
    _check_entries([*manifest["files"], *runtime.get("wheels", ())])
    return manifest


def _check_entries(entries: "List[Any]") -> None:
    for entry in entries:
        if not isinstance(entry, dict):
            raise VerbError("bad_request", "a file of the manifest is not a table")
        check_sha256(entry.get("sha256"))
        check_relative(entry.get("path"))


def _check_device(call: "Call", manifest: "Manifest") -> None:
    machine, found = _this_device(call)
    if manifest["architecture"] != machine:
        raise VerbError(
            "wrong_device",
            f"the bundle is for {manifest['architecture']}, this device is {machine}",
            {"wanted": manifest["architecture"], "found": machine},
        )
    wanted = manifest["compatible"]
    if wanted and not set(wanted) & set(found):
        raise VerbError(
            "wrong_device",
            f"the bundle is for {', '.join(map(str, wanted))}; "
            f"this device says {', '.join(found) or 'nothing of its kind'}",
            {"wanted": wanted, "found": found},
        )


def _this_device(call: "Call") -> "Tuple[str, List[str]]":
    if "stands_for" not in call.args:
        return userland_machine(), compatible_strings(call.roots)
    other = call.arg("stands_for", dict)
    machine, compatible = other.get("machine"), other.get("compatible")
    if not isinstance(machine, str) or not isinstance(compatible, list):
        raise VerbError("bad_request", "install: stands_for must hold machine and compatible")
    return machine, [text for text in compatible if isinstance(text, str)]


def _check_content(layout: "Layout", identity: str, manifest: "Manifest") -> None:
    needed: "List[Dict[str, Any]]" = []
    if not os.path.isdir(layout.bundle(identity)):
        needed += manifest["files"]
    if not os.path.isdir(layout.runtime(manifest["runtime"]["id"])):
        needed += manifest["runtime"].get("wheels", ())
    _check_present(layout, needed)


def _check_present(layout: "Layout", needed: "List[Dict[str, Any]]") -> None:
    absent = [
        entry["path"] for entry in needed if not os.path.exists(layout.content(entry["sha256"]))
    ]
    if absent:
        raise VerbError("not_found", f"not in the store: {', '.join(absent)}", {"absent": absent})


def _install_files(
    layout: "Layout", identity: str, text: str, files: "List[Dict[str, Any]]"
) -> bool:
    place = layout.bundle(identity)
    if os.path.isdir(place):
        return False
    made = os.path.join(layout.bundles, "." + identity)
    durable.discard(made)
    durable.make_folder(made)
    folders = {made}
    for entry in files:
        path = os.path.join(made, entry["path"])
        _make_folders(os.path.dirname(path), folders)
        durable.link_or_copy(layout.content(entry["sha256"]), path)
    durable.write_file(os.path.join(made, "manifest.json"), text)
    for folder in folders:
        durable.flush_folder(folder)
    durable.publish(made, place)
    return True


def _make_folders(folder: str, made: "Set[str]") -> None:
    if folder not in made:
        _make_folders(os.path.dirname(folder), made)
        durable.make_folder(folder)
        made.add(folder)


def _install_runtime(call: "Call", runtime: "Dict[str, Any]") -> bool:
    layout = call.layout
    place = layout.runtime(runtime["id"])
    if os.path.isdir(place):
        return False
    from device_agent.wheels import unpack, unpacked_bytes

    wheels = [layout.content(entry["sha256"]) for entry in runtime.get("wheels", ())]
    total_bytes = sum(map(unpacked_bytes, wheels))
    check_room(layout, total_bytes)
    made = os.path.join(layout.runtimes, "." + runtime["id"])
    durable.discard(made)
    durable.make_folder(made)
    done_bytes = 0
    for wheel in wheels:
        for size_bytes in unpack(wheel, made):
            done_bytes += size_bytes
            call.event({"phase": "unpack", "done": done_bytes, "total": total_bytes})
    durable.flush_everything()
    durable.publish(made, place)
    return True
