"""What a virtual board shows of itself in place of the host's processor and device tree.

Source: the kernel's Documentation/ABI/testing/sysfs-devices-system-cpu, sysfs-firmware-ofw and
thermal/sysfs-api; the lines of /proc/cpuinfo from arch/arm64/kernel/cpuinfo.c and
arch/arm/kernel/setup.c.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from edgekit.core.target import Cluster, Target

_IMPLEMENTER_ARM: Final = 0x41
_IMPLEMENTER_NVIDIA: Final = 0x4E
_LOWEST_KHZ: Final = 408_000
_TEMPERATURE_MILLI_C: Final = 45_000


def face_plate(target: Target, features: Sequence[str]) -> dict[str, bytes]:
    """Return the files of the face plate by their path below ``/``, without the slash.

    Args:
        target: the board that is shown.
        features: the target's features that the emulated processor really has.
    """
    files = {"proc/cpuinfo": _cpuinfo(target, features).encode()}
    files.update(_cpu_tree(target))
    tree = "sys/firmware/devicetree/base"
    files[f"{tree}/model"] = f"{target.soc} virtual board".encode() + b"\0"
    files[f"{tree}/compatible"] = b"".join(text.encode() + b"\0" for text in target.compatible)
    zone = "sys/class/thermal/thermal_zone0"
    files[f"{zone}/type"] = b"cpu-thermal\n"
    files[f"{zone}/temp"] = f"{_TEMPERATURE_MILLI_C}\n".encode()
    return files


def write_face_plate(files: dict[str, bytes], folder: Path) -> None:
    """Write the files below ``folder``.

    Raises:
        OSError: the folder cannot be written.
    """
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def _cores(target: Target) -> Iterator[tuple[int, int, Cluster]]:
    """Yield core number, cluster number and cluster for each core."""
    core = 0
    for number, cluster in enumerate(target.clusters):
        for _ in range(cluster.count):
            yield core, number, cluster
            core += 1


def _implementer(cluster: Cluster) -> int:
    own = cluster.core.lower().endswith(("carmel", "denver2"))
    return _IMPLEMENTER_NVIDIA if own else _IMPLEMENTER_ARM


def _cpuinfo(target: Target, features: Sequence[str]) -> str:
    wide = target.architecture == "aarch64"
    blocks = []
    for core, _, cluster in _cores(target):
        lines = [f"processor\t: {core}"]
        # A 32-bit kernel names the architecture it speaks, not the core's own.
        lines += [] if wide else ["model name\t: ARMv7 Processor rev 0 (v7l)"]
        lines += [
            "BogoMIPS\t: 48.00",
            f"Features\t: {' '.join(features)}",
            f"CPU implementer\t: {_implementer(cluster):#04x}",
            f"CPU architecture: {8 if wide else 7}",
            "CPU variant\t: 0x0",
        ]
        if cluster.midr_part is not None:
            lines.append(f"CPU part\t: {cluster.midr_part:#05x}")
        blocks.append("\n".join([*lines, "CPU revision\t: 0"]) + "\n")
    return "\n".join(blocks) + ("" if wide else f"\nHardware\t: {target.soc}\n")


def _cpu_tree(target: Target) -> Iterator[tuple[str, bytes]]:
    base = "sys/devices/system/cpu"
    everyone = _span(0, target.cores)
    for name in ("possible", "present", "online"):
        yield f"{base}/{name}", everyone
    yield f"{base}/kernel_max", f"{target.cores - 1}\n".encode()
    first = 0
    for number, cluster in enumerate(target.clusters):
        siblings = _span(first, cluster.count)
        for core in range(first, first + cluster.count):
            here = f"{base}/cpu{core}"
            for name, value in _core_files(cluster).items():
                yield f"{here}/{name}", f"{value}\n".encode()
            yield f"{here}/topology/core_id", f"{core - first}\n".encode()
            yield f"{here}/topology/physical_package_id", b"0\n"
            yield f"{here}/topology/cluster_id", f"{number}\n".encode()
            yield from _topology(here, core, target.cores)
            yield f"{here}/topology/cluster_cpus_list", siblings
            yield f"{here}/cpufreq/related_cpus", siblings
        first += cluster.count


def _topology(here: str, core: int, cores: int) -> Iterator[tuple[str, bytes]]:
    """Give who shares a package and who a core: as lists and as masks, by old and new name.

    Source: Linux Documentation/admin-guide/cputopology.rst. hwloc and OpenVINO's CPU plug-in
    crash where some are absent; every kernel has them.
    """
    for old, new, first, count in (
        ("core_siblings", "package_cpus", 0, cores),
        ("thread_siblings", "core_cpus", core, 1),
    ):
        mask = f"{((1 << count) - 1) << first:x}\n".encode()
        for name in (old, new):
            yield f"{here}/topology/{name}", mask
            yield f"{here}/topology/{name}_list", _span(first, count)


def _core_files(cluster: Cluster) -> dict[str, str]:
    highest = cluster.max_mhz * 1000
    lowest = min(_LOWEST_KHZ, highest)
    files = {
        "online": "1",
        "cpufreq/cpuinfo_max_freq": str(highest),
        "cpufreq/cpuinfo_min_freq": str(lowest),
        "cpufreq/scaling_max_freq": str(highest),
        "cpufreq/scaling_min_freq": str(lowest),
        "cpufreq/scaling_cur_freq": str(highest),
        "cpufreq/scaling_governor": "performance",
        "cpufreq/scaling_available_governors": "performance",
    }
    if cluster.midr_part is not None:
        # Implementer, architecture 0xf (see the ID registers), part number; revision 0.
        midr = _implementer(cluster) << 24 | 0xF << 16 | cluster.midr_part << 4
        files["regs/identification/midr_el1"] = f"{midr:#018x}"
    return files


def _span(first: int, count: int) -> bytes:
    last = first + count - 1
    return (f"{first}\n" if count == 1 else f"{first}-{last}\n").encode()
