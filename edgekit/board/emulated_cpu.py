"""Which processor the emulator pretends to be, chosen for a target.

The rule: the target's own core where the installed QEMU knows it; else a core with the same
instructions; else an older one. A newer one would let code run here that dies on the real board.
Of a board with two kinds of cores the one with fewer instructions counts, since a thread may run
on any of them.
"""

import re
import shutil
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from edgekit.board.privilege import SYSTEM_PATH
from edgekit.core.errors import DeviceError
from edgekit.core.names import Architecture
from edgekit.core.target import Target

_V8_0: Final = ("cortex-a72", "cortex-a57", "cortex-a53", "cortex-a35")
# Both are ARMv8.2 with half precision and dot product: the instructions that Cortex-A55 has.
_V8_2: Final = ("cortex-a76", "neoverse-n1")
# Cores that have all of that and more. Source: the Technical Reference Manuals' ID registers.
_NEWER_CORES: Final = frozenset(
    (*_V8_2, "cortex-a55", "cortex-a75", "cortex-a76ae", "cortex-a77", "cortex-a78", "cortex-a78ae")
)
# Everything else counts as the oldest: too little is promised, never too much. So does NVIDIA's
# Carmel (ARMv8.2 with half precision but without dot product), which no core of QEMU's matches.

# 32-bit programs: the emulator for them knows 64-bit cores only in later versions.
_STAND_INS_32: Final = ("cortex-a15", "cortex-a7")

# What these cores really have (measured: AT_HWCAP under QEMU 7.2; a board test checks it).
_FEATURES_V8_0: Final = frozenset(("fp", "asimd", "aes", "pmull", "sha1", "sha2", "crc32", "cpuid"))
_FEATURES_V8_2: Final = _FEATURES_V8_0 | frozenset(
    ("atomics", "fphp", "asimdhp", "asimdrdm", "lrcpc", "dcpop", "asimddp")
)
_FEATURES_32: Final = frozenset(
    (
        *("half", "thumb", "fastmult", "vfp", "edsp", "neon", "vfpv3", "tls", "vfpv4"),
        *("idiva", "idivt", "vfpd32", "lpae"),
    )
)


@dataclass(frozen=True)
class EmulatedCpu:
    """What stands in for a target's processor.

    Attributes:
        emulator: program that runs the board's programs.
        version: of that program.
        model: its name of the processor, as in ``QEMU_CPU``.
        exact: whether that is a core the target has.
    """

    emulator: str
    version: str
    model: str
    exact: bool


def emulator_for(architecture: Architecture) -> str:
    """Return the name of the program that runs this architecture's programs."""
    return "qemu-arm-static" if architecture == "armv7l" else "qemu-aarch64-static"


def choose_model(target: Target, known: Collection[str]) -> tuple[str, bool]:
    """Return the emulator's name of the processor, and whether it is one the target has.

    Args:
        target: the board.
        known: names that the installed emulator knows.

    Raises:
        DeviceError: it knows none that fits.
    """
    cores = [cluster.core.lower() for cluster in target.clusters]
    weakest = min(cores, key=lambda core: len(_features_of(core)), default="cortex-a53")
    for name in (weakest, *_stand_ins(target, weakest)):
        if name in known:
            return name, name in cores
    raise DeviceError(
        f"{emulator_for(target.architecture)} knows no processor that fits {target.name} "
        f"({', '.join(cores)})",
        hint=f"it knows: {', '.join(sorted(known)) or 'none'}",
    )


def shared_features(target: Target, model: str) -> tuple[str, ...]:
    """Return the target's features that the emulated processor really has, in order.

    The board must not promise an instruction that the emulator refuses.
    """
    has = _FEATURES_32 if target.architecture == "armv7l" else _features_of(model)
    return tuple(name for name in target.features if name in has)


def _stand_ins(target: Target, core: str) -> tuple[str, ...]:
    if target.architecture == "armv7l":
        return _STAND_INS_32
    return (*_V8_2, "cortex-a55", *_V8_0) if core in _NEWER_CORES else _V8_0


def _features_of(core: str) -> frozenset[str]:
    return _FEATURES_V8_2 if core in _NEWER_CORES else _FEATURES_V8_0


def emulated_cpu(target: Target, emulator: str | None = None) -> EmulatedCpu:
    """Choose the processor for ``target`` among those that the installed emulator knows.

    Args:
        target: the board.
        emulator: program that runs it; ``None`` for the one that runs single programs.

    Raises:
        DeviceError: the emulator is missing, or knows none that fits.
    """
    emulator = emulator or emulator_for(target.architecture)
    program = shutil.which(emulator, path=SYSTEM_PATH)
    if program is None:
        package = "qemu-system-arm" if "system" in emulator else "qemu-user-static"
        raise DeviceError(
            f"{emulator} is not installed", hint=f"run `apt-get install {package}` as root"
        )
    model, exact = choose_model(target, known_models(_ask(program, "-cpu", "help")))
    version = re.search(r"version (\S+)", _ask(program, "--version"))
    return EmulatedCpu(emulator, version[1] if version else "", model, exact)


def known_models(listing: str) -> frozenset[str]:
    """Read the list that ``-cpu help`` prints."""
    lines = listing.splitlines()
    return frozenset(line.strip() for line in lines if line.startswith(" ") and line.strip())


def _ask(program: str, *arguments: str) -> str:
    return subprocess.run(
        [program, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    ).stdout
