"""Under what tuning records count that are made, or used, for a target."""

import platform
from pathlib import Path
from typing import Final

from edgekit.core.target import Target
from edgekit.tune.record import CostKind, Fingerprint, Scope

_NATIVE: Final = "native"
_CPUINFO: Final = Path("/proc/cpuinfo")


def scope_of(target: Target, *, emulated: bool = False, cost: CostKind = "seconds") -> Scope:
    """Return the scope of records of a target.

    What was timed on an emulated processor never counts for a real one. Instructions are those of
    the real processor's code, and are counted on emulated ones alone: the cost says so.
    """
    from edgekit.engines.tvm.build_pipeline import VERSION
    from edgekit.engines.tvm.cpu import description
    from edgekit.engines.tvm.tuning import tvm_version

    cpu = description(target)
    mcpu, mattr = cpu["mcpu"], cpu.get("mattr")
    apart = emulated and cost == "seconds"
    fingerprint = Fingerprint(
        target=f"{target.name} (emulated)" if apart else target.name,
        architecture=target.architecture,
        mcpu=_this_cpu() if mcpu == _NATIVE else str(mcpu),
        features=tuple(mattr) if isinstance(mattr, list) else (),
        threads=int(str(cpu["num-cores"])),
        clocks_mhz=tuple(each.max_mhz for each in target.clusters if each.max_mhz > 0),
    )
    return Scope(fingerprint, tvm=tvm_version(), pipeline=str(VERSION), cost=cost)


def _this_cpu() -> str:
    """Name the CPU that ``native`` stands for: records of another machine are another's."""
    try:
        lines = _CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    facts = [tuple(word.strip() for word in line.partition(":")[::2]) for line in lines]
    # ARM's kernel tells numbers of each core; a name, if any, is the same for all of a generation.
    cores = [value for name, value in facts if name in {"CPU implementer", "CPU part"}]
    pairs = dict.fromkeys(zip(cores[::2], cores[1::2], strict=False))
    names = [", ".join(" ".join(pair) for pair in pairs)] if pairs else []
    names += [value for name, value in facts if name == "model name"]
    return f"{_NATIVE}: {names[0] if names else platform.processor() or platform.machine()}"
