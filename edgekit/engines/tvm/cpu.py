"""A target's processor in TVM's and LLVM's words."""

from collections.abc import Mapping
from typing import Final

from edgekit.core.target import Cluster, Target

# Oldest glibc that TVM's wheels for Linux take (manylinux_2_27), so the oldest to link for.
GLIBC: Final = "2.27"

# Names of the kernel's Features line, and LLVM's for the same. Source: Linux
# Documentation/arch/arm64/elf_hwcaps.rst; LLVM, AArch64Features.td.
_LLVM: Final = {
    "asimd": "neon",
    "asimddp": "dotprod",
    "asimdhp": "fullfp16",
    "asimdrdm": "rdm",
    "atomics": "lse",
    "bf16": "bf16",
    "crc32": "crc",
    "i8mm": "i8mm",
}
# The same of a 32-bit system. Source: Linux arch/arm/include/uapi/asm/hwcap.h; LLVM,
# ARMFeatures.td.
_LLVM_32: Final = {"neon": "neon", "vfpv3": "vfp3", "vfpv4": "vfp4"}
_NATIVE: Final = "native"


def fastest(target: Target) -> Cluster:
    """Return the cluster that a model is run on unless it is told otherwise."""
    return max(target.clusters, key=lambda cluster: cluster.max_mhz)


def description(target: Target) -> dict[str, str | int | list[str]]:
    """Return TVM's target as a dictionary.

    Code is made for the fastest cluster, out of what all cores have. ``mcpu`` of ``native``
    stands for the CPU that the toolbox finds itself on.
    """
    architecture = target.architecture
    cores = fastest(target).count if target.clusters else 1
    found: dict[str, str | int | list[str]] = {
        "kind": "llvm",
        "mtriple": f"{architecture}-linux-gnu",
        "num-cores": cores,
    }
    if target.mcpu == _NATIVE:
        return {**found, "mcpu": _NATIVE}
    if architecture == "armv7l":
        # Floats in registers of the FPU, as Debian's armhf passes them. ARMv7's own core, not the
        # board's: a 32-bit system promises no instruction of ARMv8's.
        found |= {"mtriple": "armv7l-linux-gnueabihf", "mfloat-abi": "hard"}
        mcpu = "cortex-a7" if "vfpv4" in target.features else "cortex-a9"
        return {**found, "mcpu": mcpu, "mattr": _attributes(target, _LLVM_32)}
    return {**found, "mcpu": fastest(target).core, "mattr": _attributes(target, _LLVM)}


def _attributes(target: Target, words: Mapping[str, str]) -> list[str]:
    return sorted(f"+{words[name]}" for name in target.features if name in words)
