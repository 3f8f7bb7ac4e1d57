"""``doctor``: what this host and a device lack, and the exact command that mends each."""

import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from edgekit.catalog.settings import Settings, settings
from edgekit.catalog.targets import architecture_of, load_target, match_target
from edgekit.core.contracts import Engine, Unsupported
from edgekit.core.errors import DeviceError, EdgekitError, WrongDeviceError
from edgekit.core.target import DeviceFacts, Target

_OLDEST_PYTHON: Final = (3, 11)
_GB: Final = 1e9
_MB: Final = 1e6
# Toolboxes of all engines, a root file system for each architecture, models, and some room.
_CACHE_BYTES: Final = 5e9
# A runtime with NumPy, two bundles of a common model, and what arrives beside them.
_DEVICE_DISK_BYTES: Final = 500e6
# ONNX Runtime with a detector of 640 x 640 takes about 200 MB.
_DEVICE_MEMORY_BYTES: Final = 256e6


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what, in a few words.
        ok: whether edgekit can work with it as it is.
        detail: what was found.
        fix: the exact command that mends it; ``None`` where nothing needs mending, or where
            no command can.
    """

    name: str
    ok: bool
    detail: str
    fix: str | None = None


def doctor_host() -> tuple[Check, ...]:
    """Look at this machine: what edgekit needs here. Changes nothing, uses no network."""
    programs = (_host_python(), _host_uv(), _host_pip())
    try:
        held = settings()
    except EdgekitError as error:
        # Where the cache is, and all that stands in it, is not known then.
        return (*programs, Check("settings", False, error.message, error.hint))
    return (
        *programs,
        Check("settings", True, "read"),
        _cache(held),
        *_model_path(held),
        _host_inventory(),
        *_host_toolboxes(),
        *_host_boards(),
    )


def doctor_device(facts: DeviceFacts, target: Target | None = None) -> tuple[Check, ...]:
    """Look at a device by what its agent read there.

    Args:
        facts: what the agent read.
        target: what the user takes the device for; ``None``: what it looks like.
    """
    return (
        _device_target(facts, target),
        _device_python(facts),
        _device_disk(facts),
        _device_memory(facts),
        *_device_engines(facts, target),
    )


def _host_python() -> Check:
    version = platform.python_version()
    oldest = ".".join(map(str, _OLDEST_PYTHON))
    new_enough = sys.version_info >= _OLDEST_PYTHON
    detail = f"{version}, {sys.executable}"
    if new_enough:
        return Check("Python", True, detail)
    return Check("Python", False, f"{detail}; {oldest} or newer is needed", "make venv")


def _host_uv() -> Check:
    found = _bundled_uv() or shutil.which("uv")
    if found is None:
        fix = f"{sys.executable} -m pip install uv"
        return Check("uv", False, "not found; it makes the engines' toolboxes", fix)
    return Check("uv", True, found)


def _bundled_uv() -> str | None:
    if importlib.util.find_spec("uv") is None:
        return None
    import uv

    try:
        return str(uv.find_uv_bin())
    except FileNotFoundError:
        return None


def _host_pip() -> Check:
    if importlib.util.find_spec("pip") is None:
        fix = f"{sys.executable} -m ensurepip"
        return Check("pip", False, "not found; it fetches the boards' packages", fix)
    return Check("pip", True, "found")


def _cache(held: Settings) -> Check:
    folder = held.cache_dir
    standing = next(each for each in (folder, *folder.parents) if each.exists())
    if not standing.is_dir() or not os.access(standing, os.W_OK | os.X_OK):
        fix = "export EDGEKIT_CACHE_DIR=FOLDER # one that you may write to"
        return Check("cache", False, f"{standing} cannot be written", fix)
    free_bytes = shutil.disk_usage(standing).free
    detail = f"{folder}, {free_bytes / _GB:.1f} GB free"
    if free_bytes < _CACHE_BYTES:
        fix = "export EDGEKIT_CACHE_DIR=FOLDER # one on a larger disk"
        return Check("cache", False, f"{detail}; {_CACHE_BYTES / _GB:.0f} GB are advised", fix)
    return Check("cache", True, detail)


def _model_path(held: Settings) -> Iterator[Check]:
    if not held.model_path:
        yield Check("model mirror", True, "none set (EDGEKIT_MODEL_PATH): models are fetched")
    for folder in held.model_path:
        if folder.is_dir():
            yield Check("model mirror", True, str(folder))
        else:
            yield Check("model mirror", False, f"{folder} is no folder", f"mkdir -p {folder}")


def _host_inventory() -> Check:
    from edgekit.catalog.devices import load_devices

    try:
        known = load_devices()
    except EdgekitError as error:
        return Check("devices", False, error.message, error.hint)
    names = ", ".join(entry.name for entry in known)
    return Check("devices", True, names or "none kept yet (edgekit devices add)")


def _host_toolboxes() -> Iterator[Check]:
    from edgekit.engines import engine_names, load_engine
    from edgekit.toolbox.environments import is_ready

    for name in engine_names():
        toolbox = load_engine(name).toolbox
        if is_ready(toolbox):
            detail = "toolbox ready"
        else:
            detail = "toolbox not made yet; the first use makes it"
            if toolbox.licence is not None:
                detail += f", with --accept-licence {name} ({toolbox.licence.name})"
        yield Check(f"engine {name}", True, detail)


def _host_boards() -> Iterator[Check]:
    from edgekit.board import privilege
    from edgekit.board.requirements import (
        counting_requirement,
        requirements,
        system_requirements,
    )

    needed = requirements()
    try:
        as_root = " ".join(privilege.obtain("a virtual board").command(()))
    except DeviceError as error:
        as_root = "sudo"
        yield Check("virtual boards: root", False, error.message, error.hint)
    else:
        yield Check("virtual boards: root", True, "by sudo" if as_root else "this user is root")
    for entry in needed:
        name = f"virtual boards: {entry.name}"
        if entry.present:
            yield Check(name, True, "found")
        else:
            yield Check(name, False, "missing", f"{as_root} {entry.install_command}".strip())
    emulator = counting_requirement()
    detail = "found" if emulator.present else f"missing; it takes {emulator.name}"
    fix = None if emulator.present else f"{as_root} {emulator.install_command}".strip()
    yield Check("virtual boards: counting instructions", True, detail, fix)
    lacking = [entry.name for entry in system_requirements() if not entry.present]
    detail = f"missing; they take {', '.join(lacking)}" if lacking else "found"
    command = f"{as_root} apt-get install --no-install-recommends -y {' '.join(lacking)}"
    yield Check("virtual boards: system boards", True, detail, command.strip() if lacking else None)


def _device_target(facts: DeviceFacts, target: Target | None) -> Check:
    from edgekit.device import check_target

    found = match_target(facts)
    model = facts.model or f"{facts.machine}, {facts.os_name}"
    if target is None:
        return Check("target", True, f"{model}: {found or 'no known kind of board'}")
    try:
        check_target(facts, target)
    except WrongDeviceError as error:
        fix = f"edgekit doctor --target {found} --device DEVICE" if found else error.hint
        return Check("target", False, error.message, fix)
    return Check("target", True, f"{model} passes for {target.name}")


def _device_python(facts: DeviceFacts) -> Check:
    if not facts.pythons:
        fix = "sudo apt-get install -y python3"
        return Check("Python", False, "none found", fix)
    found = (
        f"{each.version} ({each.executable}{f', numpy {each.numpy}' if each.numpy else ''})"
        for each in facts.pythons
    )
    return Check("Python", True, ", ".join(found))


def _device_disk(facts: DeviceFacts) -> Check:
    free_bytes = facts.disk_free_bytes
    if free_bytes is None:
        return Check("disk", True, "the device does not tell")
    detail = f"{free_bytes / _MB:.0f} MB free"
    if free_bytes >= _DEVICE_DISK_BYTES:
        return Check("disk", True, detail)
    wanted = f"{_DEVICE_DISK_BYTES / _MB:.0f} MB are advised"
    return Check("disk", False, f"{detail}; {wanted}", "sudo apt-get clean")


def _device_memory(facts: DeviceFacts) -> Check:
    available_bytes = facts.memory_available_bytes
    if available_bytes is None:
        return Check("memory", True, "the device does not tell")
    detail = f"{available_bytes / _MB:.0f} MB available"
    if available_bytes >= _DEVICE_MEMORY_BYTES:
        return Check("memory", True, detail)
    wanted = f"{_DEVICE_MEMORY_BYTES / _MB:.0f} MB are advised"
    return Check("memory", False, f"{detail}; {wanted}", "ps -eo rss,args --sort=-rss | head")


def _device_engines(facts: DeviceFacts, target: Target | None) -> Iterator[Check]:
    from edgekit.engines import engine_names, load_engine

    target = target or _likely_target(facts)
    if target is None:
        return
    for name in engine_names():
        check = _device_engine(load_engine(name), target, facts)
        if check is not None:
            yield check


def _likely_target(facts: DeviceFacts) -> Target | None:
    """Return what a device looks like; one of this machine's architecture may pass for it."""
    if found := match_target(facts):
        return load_target(found)
    local = load_target("local")
    return local if local.architecture == architecture_of(facts.machine) else None


def _device_engine(engine: Engine, target: Target, facts: DeviceFacts) -> Check | None:
    """Tell whether the engine has packages for the device's Python, libc and machine.

    Nothing is said of an engine for hardware that such a device has not.
    """
    runtime = engine.runtime(target, facts)
    if isinstance(runtime, Unsupported):
        if runtime.other_hardware:
            return None
        # What an engine never promised is no fault of the device's.
        return Check(f"engine {engine.name}", runtime.export_only, runtime.reason, runtime.hint)
    packages = ", ".join((*runtime.packages, *runtime.system_packages))
    python = f"Python {runtime.python.version}, {facts.libc} {facts.libc_version}"
    return Check(f"engine {engine.name}", True, f"{python}: {packages}")
