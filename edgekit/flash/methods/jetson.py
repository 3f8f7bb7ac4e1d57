"""NVIDIA Jetson modules in recovery mode, by NVIDIA's own scripts.

The user brings the scripts: the folder ``Linux_for_Tegra`` of a release of Jetson Linux, made
ready with its root file system. What they write is that system, so there is no image to name,
and nothing that could be compared is read back.
"""

import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.core.errors import FlashError, UsageError
from edgekit.core.events import EventSink, StepFinished, StepStarted
from edgekit.core.flash_method import Flashed, FlashJob, FlashUnit, MethodOption, VendorTool
from edgekit.core.names import FlashMethodName
from edgekit.core.target import Target
from edgekit.flash.jetson_log import FAULTS, JetsonLog
from edgekit.flash.usb_units import units_of
from edgekit.flash.vendor_faults import fault_of
from edgekit.flash.vendor_program import Limits, run_program

_SCRIPTS: Final = {
    "flash": "flash.sh",
    "initrd": "tools/kernel_flash/l4t_initrd_flash.sh",
}
# A root file system of 14 GB is made and sent without a word in between.
_SILENCE_S: Final = 900.0
_RELEASE: Final = "unpack Jetson Linux and its sample root file system, then run apply_binaries.sh"


@dataclass(frozen=True)
class Jetson:
    """``flash.sh`` or ``l4t_initrd_flash.sh`` of the folder that the user names."""

    name: FlashMethodName = "jetson"
    tools: tuple[VendorTool, ...] = ()
    options: tuple[MethodOption, ...] = (
        MethodOption("folder", "Linux_for_Tegra with its root file system, made ready", "folder"),
        MethodOption("script", "flash (flash.sh, default) or initrd (l4t_initrd_flash.sh)"),
        MethodOption("board", "configuration, if not the target's own: a .conf in the folder"),
        MethodOption("root", "where the root file system goes, if not the target's own"),
        MethodOption("arguments", "further arguments, such as --external-device nvme0n1p1"),
    )
    takes_image: bool = False
    # The scripts write into their own folder; two runs there would spoil each other's files.
    at_once: int | None = 1

    def units(self, target: Target, root: Path) -> tuple[FlashUnit, ...]:
        """Find modules of the target in recovery mode."""
        return units_of(target, root, lambda _usb: ("recovery", "in recovery mode"))

    def flash(self, unit: FlashUnit, job: FlashJob, emit: EventSink) -> Flashed:
        """Have the script write the folder's system to the module.

        Raises:
            FlashError: the script failed.
            UsageError: an image was named, or the folder is not one of NVIDIA's.
        """
        if job.image is not None:
            raise UsageError(
                "jetson writes the system of NVIDIA's folder, no image",
                hint="leave the image out, and name the folder with the option folder",
            )
        folder, command = _command(unit, job)
        log = JetsonLog(unit.port, emit)
        step = f"jetson:{unit.port}"
        emit(StepStarted(step, f"flash {unit.port} as {command[-2]}"))
        began = time.monotonic()
        ok = False
        try:
            limits = Limits(
                _SILENCE_S, lambda: "somebody asked for an end" if job.stopped() else None
            )
            said = run_program(command, log.hear, limits, cwd=folder)
            ok = said.status == 0 and log.done
            if not ok:
                raise fault_of(said, FAULTS, f"{unit.port} is not flashed")
        finally:
            log.end(ok=ok)
            emit(StepFinished(step, f"{log.partitions} partitions" if log.partitions else "", ok))
        took = time.monotonic() - began
        return Flashed(self.name, unit, "", log.written_bytes, log.written_bytes, took, 0.0, "none")


def _command(unit: FlashUnit, job: FlashJob) -> tuple[Path, list[str]]:
    named = job.options.get("folder")
    if not named:
        raise UsageError(
            "jetson needs NVIDIA's folder Linux_for_Tegra",
            hint=f"name it with the option folder; to make one: {_RELEASE}",
        )
    folder = Path(named).expanduser().resolve()
    script = job.options.get("script", "flash")
    if script not in _SCRIPTS:
        raise UsageError(f"script is {script!r}", hint=f"script is {' or '.join(_SCRIPTS)}")
    usb = job.target.usb_boot
    board = job.options.get("board") or (usb.board if usb else "")
    root = job.options.get("root") or (usb.root if usb else "")
    if not board or not root:
        raise UsageError(
            f"target {job.target.name} does not say what NVIDIA's scripts call the board",
            hint="name it with the options board and root",
        )
    program = folder / _SCRIPTS[script]
    _look_at(folder, program, board)
    instance = ["--usb-instance", unit.port.removeprefix("usb ")]
    further = shlex.split(job.options.get("arguments", ""))
    if script == "initrd" and "--showlogs" not in further:
        # Without it the script says no more than that it is still there.
        further.append("--showlogs")
    return folder, [str(program), *instance, *further, board, root]


def _look_at(folder: Path, program: Path, board: str) -> None:
    """Refuse what the scripts would fail on later, and less clearly."""
    if not program.is_file():
        raise UsageError(f"{folder} has no {program.name}", hint=_RELEASE)
    if not (folder / f"{board}.conf").is_file():
        known = ", ".join(sorted(file.stem for file in folder.glob("jetson-*.conf"))) or "none"
        raise UsageError(
            f"{folder} knows no board {board!r}",
            hint=f"the release may be for other modules; it knows {known}",
        )
    if not (folder / "rootfs/etc/passwd").is_file():
        raise FlashError(f"{folder}/rootfs holds no root file system", hint=_RELEASE)


METHOD: Final = Jetson()
