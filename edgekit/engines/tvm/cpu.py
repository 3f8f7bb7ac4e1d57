"""A target's processor in TVM's and LLVM's words."""

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
    mattr = [f"+{_LLVM[name]}" for name in target.features if name in _LLVM]
    return {**found, "mcpu": fastest(target).core, "mattr": sorted(mattr)}
