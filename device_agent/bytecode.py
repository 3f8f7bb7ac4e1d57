"""Bytecode of what runners import, kept from one run to the next until the device restarts.

To compile the source of NumPy and an engine takes longer than to load them. What Python writes is
not flushed: after a power cut half of a file may stand there, which fails the import. So none of
it outlives the boot that it was written in.
"""

import os

from device_agent import durable
from device_agent.pythons import version_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import List, Optional

    from device_agent.layout import Layout

_FIRST = (3, 8)  # that can be told where to keep it
_BOOT_ID = "sys/kernel/random/boot_id"


def bytecode_flags(layout: "Layout", proc: str, python: str) -> "List[str]":
    """Return what to start a Python with, so that it writes bytecode there or nowhere.

    Args:
        layout: has the place; what was written before the device restarted is removed.
        proc: where the kernel's processes stand.
        python: whose bytecode.
    """
    boot = _boot(proc)
    if boot is None or not _can_be_told(python):
        return ["-B"]
    for name in os.listdir(layout.bytecode):
        if name != boot:
            durable.discard(os.path.join(layout.bytecode, name))
    return ["-X", "pycache_prefix=" + os.path.join(layout.bytecode, boot)]


def _boot(proc: str) -> "Optional[str]":
    try:
        with open(os.path.join(proc, _BOOT_ID), encoding="ascii") as file:
            return file.read().strip() or None
    except OSError:
        return None


def _can_be_told(python: str) -> bool:
    version = version_of(python)
    return version is not None and tuple(map(int, version.split(".")[:2])) >= _FIRST
