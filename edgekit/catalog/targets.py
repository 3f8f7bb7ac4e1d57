"""Kinds of board: ``targets/<name>.toml`` to :class:`~edgekit.core.target.Target`."""

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from edgekit.catalog.folders import catalog_files, find_file
from edgekit.catalog.toml_lines import KeyPath
from edgekit.catalog.toml_reader import read_toml
from edgekit.core.names import Architecture
from edgekit.core.target import DeviceFacts, Target

# What a kernel may call each userland: a 32-bit one on a 64-bit ARM kernel is "armv8l", and
# macOS and some containers say "arm64".
_MACHINES: Final[dict[str, Architecture]] = {
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "armv7l": "armv7l",
    "armv8l": "armv7l",
    "x86_64": "x86_64",
    "amd64": "x86_64",
}
_TRIPLES: Final[dict[Architecture, str]] = {
    "aarch64": "aarch64-linux-gnu",
    "armv7l": "arm-linux-gnueabihf",
    "x86_64": "x86_64-linux-gnu",
}
NATIVE: Final = "native"
_USB_ID: Final = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
# Methods that find a board over USB; the others write a card or go over the network.
_OVER_USB: Final = frozenset({"rockusb", "rpiboot", "jetson"})


def target_names() -> tuple[str, ...]:
    """Return the names of all targets, sorted."""
    return tuple(catalog_files("targets"))


def load_target(name: str) -> Target:
    """Return the target with this name.

    Raises:
        UnknownNameError: there is none; the hint says what was probably meant.
        CatalogError: its file is wrong.
    """
    return read_target(find_file("targets", name))


def read_target(file: Path) -> Target:
    """Return the target that ``file`` describes, named by the file's stem.

    Where the file says ``native`` for the architecture, this machine's own facts are put in.

    Raises:
        CatalogError: the file is wrong.
    """
    given = {"name": file.stem, "defined_in": file}
    return read_toml(file, Target, given=given, check=_check, amend=_fill_in_native)


def architecture_of(machine: str) -> Architecture | None:
    """Return the userland architecture for a machine name, ``None`` if it is no known one."""
    return _MACHINES.get(machine.lower())


def match_target(facts: DeviceFacts) -> str | None:
    """Return the target that a device is, by its ``compatible`` strings and userland.

    Device trees list the most specific string first; the target that holds the earliest wins.
    """
    architecture = architecture_of(facts.machine)
    ranked = [
        (facts.compatible.index(string), name)
        for name, target in ((name, load_target(name)) for name in target_names())
        for string in target.compatible
        if target.architecture == architecture and string in facts.compatible
    ]
    return min(ranked)[1] if ranked else None


def _fill_in_native(table: dict[str, object]) -> dict[str, object]:
    if table.get("architecture") != NATIVE:
        return table
    machine = platform.machine()
    architecture = architecture_of(machine)
    if architecture is None:
        return {**table, "architecture": machine}
    cluster: dict[str, object] = {
        "core": NATIVE,
        "count": os.cpu_count() or 1,
        "max_mhz": _own_max_mhz(),
    }
    own: dict[str, object] = {"architecture": architecture, "triple": _TRIPLES[architecture]}
    return {"clusters": [cluster], **table, **own}


def _own_max_mhz() -> int:
    """Return this machine's highest clock, 0 where the kernel does not tell."""
    with contextlib.suppress(OSError, ValueError):
        khz = Path("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq").read_text("ascii")
        return int(khz) // 1000
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("cpu MHz"):
                return round(float(line.partition(":")[2]))
    return 0


def _check(target: Target) -> Iterator[tuple[KeyPath, str]]:
    if not target.clusters:
        yield ("clusters",), "clusters must name at least one group of cores"
    for index, cluster in enumerate(target.clusters):
        if cluster.count < 1:
            yield ("clusters", index, "count"), f"clusters[{index}].count must be at least 1"
        if cluster.max_mhz < 0:
            yield ("clusters", index, "max_mhz"), f"clusters[{index}].max_mhz must not be negative"
    if target.triple != _TRIPLES[target.architecture]:
        wanted = _TRIPLES[target.architecture]
        yield ("triple",), f"triple of an {target.architecture} target must be {wanted!r}"
    yield from _check_flashing(target)
    names = set(Target.__dataclass_fields__)
    for index, source in enumerate(target.sources):
        for key in source.keys:
            if key not in names:
                yield ("sources", index), f"sources[{index}] backs {key!r}, which is no key"


def _check_flashing(target: Target) -> Iterator[tuple[KeyPath, str]]:
    over_usb = [name for name in target.flash_methods if name in _OVER_USB]
    if over_usb and target.usb_boot is None:
        yield ("flash_methods",), f"flash_methods has {over_usb[0]!r}, which needs [usb_boot]"
    if target.usb_boot is None:
        return
    if not over_usb:
        yield ("usb_boot",), "usb_boot serves none of the flash_methods"
    for index, text in enumerate(target.usb_boot.ids):
        if not _USB_ID.fullmatch(text):
            yield (
                ("usb_boot", "ids", index),
                f"usb_boot.ids[{index}] is {text!r}, must be like '2207:350b'",
            )
    if "jetson" in target.flash_methods and not target.usb_boot.board:
        yield ("usb_boot",), "usb_boot.board is missing: what NVIDIA's scripts call the board"
