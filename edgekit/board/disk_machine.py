"""A machine that boots from its own disk, as a board does from its card: firmware, GRUB, Debian.

QEMU's ``virt`` with EFI firmware; nothing is put into it from outside, no kernel and no settings.
"""

import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from edgekit.board import requirements
from edgekit.board.device_tree import write_device_tree
from edgekit.board.emulated_cpu import emulated_cpu
from edgekit.board.machine import PROGRAM
from edgekit.board.ports import HOST, free_ports
from edgekit.board.process import POLL_S
from edgekit.core.errors import DeviceError
from edgekit.core.target import Target

CONSOLE: Final = "console"
_CORES: Final = 2
_MEMORY_MIB: Final = 1024
_END_TIMEOUT_S: Final = 20.0
_PORT_TIMEOUT_S: Final = 20.0


class DiskMachine:
    """A machine with one disk, which is a raw file; off at first. Ends as a context manager.

    Args:
        disk: written to by what runs on the machine.
        target: whose processor and names in the device tree it has.
        folder: of its own, for what it says on its console.

    Raises:
        DeviceError: the host lacks something.
    """

    def __init__(self, disk: Path, target: Target, folder: Path) -> None:
        requirements.check_boot_requirements()
        self.port = next(free_ports(folder))
        self._folder = folder
        cpu = emulated_cpu(target, PROGRAM).model
        # The device tree tells what board it is; with ACPI the kernel would not look at it.
        hardware = ("-cpu", cpu, "-smp", str(_CORES), "-m", f"{_MEMORY_MIB}M")
        bare = ("-nodefaults", "-no-user-config", "-display", "none")
        kind, raw = "virt,gic-version=3,acpi=off", folder / "machine.dtb"
        _run([PROGRAM, "-M", f"{kind},dumpdtb={raw}", *hardware, *bare])
        write_device_tree(raw, target, folder / "board.dtb")
        self._command = [
            *(PROGRAM, "-M", kind, *hardware, *bare),
            *("-accel", "tcg,thread=multi,tb-size=128"),
            *("-bios", str(requirements.EFI_FIRMWARE), "-dtb", str(folder / "board.dtb")),
            *("-drive", f"if=none,id=disk,format=raw,cache=writeback,file={disk}"),
            *("-device", "virtio-blk-device,drive=disk", "-device", "virtio-rng-device"),
            # Nothing can be reached from the machine; the one way in is its sshd.
            *("-netdev", f"user,id=net,restrict=on,hostfwd=tcp:{HOST}:{self.port}-:22"),
            *("-device", "virtio-net-device,netdev=net"),
            *("-serial", f"file:{folder / CONSOLE}"),
        ]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def console(self) -> str:
        """What firmware, boot loader and kernel said since power was last put on."""
        try:
            return (self._folder / CONSOLE).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return ""

    def power_on(self) -> None:
        """Start it; what it says from now on is on a new console.

        Raises:
            DeviceError: QEMU does not start.
        """
        (self._folder / CONSOLE).unlink(missing_ok=True)
        self._process = subprocess.Popen(
            self._command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        deadline = time.monotonic() + _PORT_TIMEOUT_S
        while not self.console and time.monotonic() < deadline:
            if self._process.poll() is not None:
                assert self._process.stderr is not None  # noqa: S101 - it was asked for as a pipe
                said = self._process.stderr.read().decode(errors="replace").strip()
                self._process.stderr.close()
                raise DeviceError(f"{PROGRAM} did not start: {said[-800:]}")
            time.sleep(POLL_S)

    def cut_power(self) -> None:
        """End it at once; nothing on it is told, and what it had not yet written is lost."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait(_END_TIMEOUT_S)
        if self._process.stderr is not None:
            self._process.stderr.close()
        self._process = None

    def __enter__(self) -> Self:
        self.power_on()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.cut_power()


def _run(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise DeviceError(f"{command[0]} failed: {said[-800:]}")
