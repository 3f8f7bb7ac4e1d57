"""Choosing among the Pythons of a board."""

from pathlib import Path

from edgekit.core.contracts import RuntimeSpec, Unsupported
from edgekit.core.target import DeviceFacts, PythonFacts

Version = tuple[int, int]


def version_of(python: PythonFacts) -> Version:
    """Return major and minor; ``(0, 0)`` for what is no version."""
    parts = python.version.split(".")
    try:
        return int(parts[0]), int(parts[1])
    except (ValueError, IndexError):
        return 0, 0


def newest(
    pythons: tuple[PythonFacts, ...], oldest: Version, latest: Version
) -> PythonFacts | None:
    """Return the newest Python within bounds, the first listed of equals."""
    usable = [item for item in pythons if oldest <= version_of(item) <= latest]
    return max(usable, key=version_of) if usable else None


def no_python(engine: str, facts: DeviceFacts, oldest: Version, latest: Version) -> Unsupported:
    """Tell that none of the board's Pythons will do."""
    found = ", ".join(item.version for item in facts.pythons) or "none"
    bounds = "{}.{} to {}.{}".format(*oldest, *latest)
    return Unsupported(
        f"{engine} needs Python {bounds} on the device, which has {found}",
        hint="sudo apt install python3",
    )


def no_glibc(engine: str, facts: DeviceFacts) -> Unsupported | None:
    """Tell that the board's libc is not the one that wheels are made for."""
    if facts.libc == "glibc":
        return None
    return Unsupported(
        f"{engine} is made for glibc; the device runs {facts.libc or 'an unknown libc'}",
        hint="use an image with glibc, such as Debian, Ubuntu or Armbian",
    )


def no_64_bit_wheel(engine: str, machine: str) -> Unsupported | None:
    """Tell that an engine's wheels, which are for 64-bit machines only, do not serve this one."""
    if machine in {"aarch64", "x86_64"}:
        return None
    return Unsupported(
        f"no {engine} wheel exists for {machine}",
        hint="try ncnn (--engine ncnn), or a 64-bit image on the same board",
    )


def runtime_of_64_bit_wheels(
    engine: str, facts: DeviceFacts, oldest: Version, latest: Version, requirements: Path
) -> RuntimeSpec | Unsupported:
    """Take the newest Python that has wheels of the engine's own name; NumPy travels along."""
    refusal = no_64_bit_wheel(engine, facts.machine) or no_glibc(engine, facts)
    if refusal is not None:
        return refusal
    python = newest(facts.pythons, oldest, latest)
    if python is None:
        return no_python(engine, facts, oldest, latest)
    return RuntimeSpec(python, requirements, (engine, "numpy"))
