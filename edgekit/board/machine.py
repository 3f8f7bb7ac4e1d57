"""A system board's machine: how it is started, and from what state."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.board.device_tree import identity, write_device_tree
from edgekit.board.emulated_cpu import EmulatedCpu
from edgekit.board.launch import PID_FILE
from edgekit.board.machine_types import MachineType, machine_type
from edgekit.board.monitor import SOCKET, restoring
from edgekit.board.ports import HOST
from edgekit.board.process import ProcessMark, mark_process
from edgekit.core.errors import DeviceError
from edgekit.core.target import Target

_FORMAT: Final = 1  # of what ``start`` says beside that which the key holds
PROGRAM: Final = "qemu-system-aarch64"
DISK: Final = "disk.qcow2"
MEMORY: Final = "memory.zst"
DEVICE_TREE: Final = "board.dtb"
CONSOLE: Final = "console"
# None of the devices that a machine has by itself.
_BARE: Final = ("-nodefaults", "-no-user-config", "-display", "none")
# More cores than the host can run starve each other: the kernel's clock ticks alone fill them.
_CORES_AT_LEAST: Final = 4
_CORES_FOR_EACH_OF_THE_HOSTS: Final = 2
_MEMORY_MIB: Final = (512, 2048)  # at least, at most: what is not used takes none of the host's


class PortTakenError(Exception):
    """Another program has the port."""


@dataclass(frozen=True)
class Machine:
    """All that a machine is, but for its disk and its state.

    Attributes:
        image: folder of ``edgekit.board.system_image``.
        kernel: folder of ``edgekit.board.kernel``.
    """

    target: Target
    cpu: EmulatedCpu
    image: Path
    kernel: Path

    @property
    def type(self) -> MachineType:
        """The one of QEMU's that it is."""
        return machine_type(self.target)

    @property
    def cores(self) -> int:
        """Number of cores; fewer than the target's where the host has too few for them."""
        return sum(self._cluster_sizes())

    @property
    def key(self) -> str:
        """A text that differs where a saved state would not fit."""
        tree = self.type.device_tree or identity(self.target)
        own = [_FORMAT, *self._hardware(), self._command_line(), tree, self.cpu.version]
        return json.dumps([*own, self.image.name, self.kernel.name])

    def write_device_tree(self, folder: Path) -> None:
        """Write the machine's device tree into a folder."""
        if self.type.device_tree:
            shutil.copyfile(self.kernel / "trees" / self.type.device_tree, folder / DEVICE_TREE)
            return
        raw = folder / "machine.dtb"
        machine, *others = self._hardware()
        _run([PROGRAM, "-M", f"{machine},dumpdtb={_comma_free(raw)}", *others, *_BARE])
        write_device_tree(raw, self.target, folder / DEVICE_TREE)

    def start(self, folder: Path, state: Path, port: int, *, restored: bool) -> ProcessMark:
        """Start the machine and return once it is made.

        Args:
            folder: its own, with its disk; the monitor's socket, the process's id and what the
                machine says on its console come to stand there.
            state: folder with the device tree and, to go on from it, the saved memory.
            port: of this machine that leads to the board's sshd.
            restored: whether to begin with the saved memory.

        Raises:
            PortTakenError: another program has the port.
            DeviceError: QEMU is missing or refuses.
        """
        machine, *others = self._hardware()
        command = [
            *(PROGRAM, "-M", machine, *others),
            *(*_BARE, "-no-reboot"),
            *("-accel", "tcg,thread=multi,tb-size=128"),
            *("-kernel", self.kernel / "vmlinuz", "-initrd", self.image / "initrd.img"),
            *("-dtb", state / DEVICE_TREE, "-append", self._command_line()),
            *(
                "-drive",
                f"{self.type.drive},format=qcow2,cache=unsafe,file={_comma_free(folder / DISK)}",
            ),
            # Nothing can be reached from the board; the one way in is its sshd.
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:{HOST}:{port}-:22"),
            *self.type.devices,
            *(*self.type.serial, "-serial", f"file:{_comma_free(folder / CONSOLE)}"),
            *("-qmp", f"unix:{SOCKET},server=on,wait=off"),
            *("-daemonize", "-pidfile", folder / PID_FILE),
            *(("-incoming", restoring(state / MEMORY)) if restored else ()),
        ]
        for left in (SOCKET, PID_FILE):
            (folder / left).unlink(missing_ok=True)
        try:
            _run(command, folder)
        except DeviceError as error:
            if "host forwarding" in error.message:
                raise PortTakenError from error
            raise
        process = mark_process(int((folder / PID_FILE).read_text(encoding="ascii")))
        if process is None:
            raise DeviceError(
                f"the machine in {folder} ended at once", hint=f"see {folder / CONSOLE}"
            )
        return process

    def _hardware(self) -> list[str]:
        if self.type.fixed:
            return [self.type.name]
        least, most = _MEMORY_MIB
        memory = max(least, min(most, *self.target.memory_mb, most))
        return [
            f"{self.type.name},gic-version=3",
            "-cpu",
            self.cpu.model,
            "-smp",
            str(self.cores),
            "-m",
            f"{memory}M",
        ]

    def _cluster_sizes(self) -> list[int]:
        sizes = [cluster.count for cluster in self.target.clusters]
        if self.type.fixed:
            return sizes
        host = len(os.sched_getaffinity(0))
        most = max(_CORES_AT_LEAST, host * _CORES_FOR_EACH_OF_THE_HOSTS, len(sizes))
        while sum(sizes) > most:
            sizes[sizes.index(max(sizes))] -= 1
        return sizes

    def _command_line(self) -> str:
        clusters = self.target.clusters
        told = {
            "target": self.target.name,
            "machine": self.type.name,
            "disk": self.type.disk,
            "network": self.type.network,
            "modules": ",".join(self.type.modules),
            "cpu": self.cpu.model,
            "qemu": self.cpu.version,
            "cores": ",".join(map(str, self._cluster_sizes())),
            "max_khz": ",".join(str(cluster.max_mhz * 1000) for cluster in clusters),
        }
        # A board that panics ends; nobody would see it stand there.
        words = [f"console={self.type.console}", "panic=-1", "quiet", "loglevel=4"]
        # Neither is one that the host leaves without processor time for a while a sick one.
        words += ["nosoftlockup", "rcupdate.rcu_cpu_stall_suppress=1"]
        return " ".join([*words, *(f"edgekit.{name}={value}" for name, value in told.items())])


def make_disk(disk: Path, image: Path) -> None:
    """Make a disk that holds what a board writes on top of an image.

    Raises:
        DeviceError: qemu-img is missing or failed.
    """
    _run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image / "disk.img", disk])


def _comma_free(path: Path) -> str:
    # QEMU takes a comma for the end of a value, and two for one.
    return str(path).replace(",", ",,")


def _run(command: list[str | Path], folder: Path | None = None) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            check=False,
        )
    except OSError as error:
        raise DeviceError(f"{command[0]} cannot be run: {error.strerror}") from error
    if done.returncode != 0:
        raise DeviceError(f"{command[0]} failed: {done.stderr.strip()[-800:]}")
