"""What is known of a kind of board, and what was read off one unit."""

from dataclasses import dataclass
from pathlib import Path

from edgekit.core.names import Architecture, FlashMethodName


@dataclass(frozen=True)
class Cluster:
    """A group of equal cores.

    Attributes:
        core: GCC's name of the core, such as ``cortex-a55``.
        count: cores in the cluster.
        max_mhz: highest clock of the reference board, in MHz.
        midr_part: part number in MIDR_EL1, such as ``0xd05``; ``None`` off ARM.
    """

    core: str
    count: int
    max_mhz: int
    midr_part: int | None = None


@dataclass(frozen=True)
class Accelerator:
    """A GPU, NPU or DLA beside the CPU."""

    kind: str
    name: str
    note: str = ""


@dataclass(frozen=True)
class PowerRail:
    """A power sensor that boards of this kind carry.

    ``scope`` says what the figure covers: ``rail``, ``module`` or ``board``.
    """

    label: str
    sensor: str
    scope: str


@dataclass(frozen=True)
class UsbBoot:
    """How a board shows itself over USB while it waits there for an image.

    Attributes:
        ids: ``vendor:product``, four hexadecimal digits each, such as ``2207:350b``.
        board: what NVIDIA's scripts call the board's configuration; empty elsewhere.
        root: where those scripts put the root file system, such as ``internal``.
    """

    ids: tuple[str, ...]
    board: str = ""
    root: str = ""


@dataclass(frozen=True)
class SourcedFact:
    """Which keys of a target a publication backs."""

    keys: tuple[str, ...]
    reference: str


@dataclass(frozen=True)
class Target:
    """A kind of board.

    Attributes:
        name: file stem in ``targets/``.
        architecture: userland architecture, as ``uname -m`` prints it there.
        mcpu: what GCC takes after ``-mcpu=`` (``native`` for ``local``).
        features: names from the Linux ``Features`` line that edgekit relies on.
        memory_mb: memory sizes that are sold, in MB.
        compatible: device-tree ``compatible`` strings, any of which makes a board fit;
            empty: fits any machine of the architecture.
        flash_methods: ways in which an image gets onto it, the usual one first.
        usb_boot: for the methods that go over USB; ``None`` where none does.
        pythons, glibc: what the usual images ship, oldest first.
    """

    name: str
    title: str
    soc: str
    architecture: Architecture
    clusters: tuple[Cluster, ...]
    mcpu: str
    triple: str
    features: tuple[str, ...] = ()
    memory_mb: tuple[int, ...] = ()
    accelerators: tuple[Accelerator, ...] = ()
    power_rails: tuple[PowerRail, ...] = ()
    compatible: tuple[str, ...] = ()
    flash_methods: tuple[FlashMethodName, ...] = ()
    usb_boot: UsbBoot | None = None
    pythons: tuple[str, ...] = ()
    glibc: tuple[str, ...] = ()
    sources: tuple[SourcedFact, ...] = ()
    defined_in: Path | None = None

    @property
    def cores(self) -> int:
        """Number of CPU cores."""
        return sum(cluster.count for cluster in self.clusters)


@dataclass(frozen=True)
class PythonFacts:
    """A Python on the device.

    Attributes:
        numpy: its version there, ``None`` if absent.
        opencv: whether OpenCV is there.
    """

    executable: str
    version: str
    numpy: str | None = None
    opencv: bool = False


@dataclass(frozen=True)
class DeviceFacts:
    """What the agent read off one device. What it could not read is ``None`` or empty.

    Attributes:
        machine: ``uname -m``.
        libc, libc_version: such as ``glibc`` and ``2.36``.
        model: device-tree model string.
        compatible: device-tree compatible strings.
        cpu_parts: MIDR part numbers, one per core, in core order.
        cpu_features: the ``Features``/``flags`` line of core 0.
        cpu_usable: cores this user may run on.
        disk_free_bytes: where the agent keeps its store.
        emulated: the processor is emulated; times mean nothing there.
        l4t: release of Jetson Linux, such as ``35.3.1``, which decides what NVIDIA's libraries
            are; releases may share a kernel.
    """

    hostname: str
    machine: str
    kernel: str
    os_name: str
    libc: str
    libc_version: str
    model: str | None
    compatible: tuple[str, ...]
    cpu_parts: tuple[int, ...]
    cpu_features: tuple[str, ...]
    cpu_count: int
    cpu_usable: int
    memory_total_bytes: int | None
    memory_available_bytes: int | None
    disk_free_bytes: int | None
    pythons: tuple[PythonFacts, ...]
    agent_version: str
    home: str
    emulated: bool
    l4t: str | None = None
