"""What NVIDIA's flashing scripts print: steps, partitions, how far they are, and faults.

``flash.sh`` and its ``tegraflash.py`` print ``[ 12.3456 ] text``; a text that is a command names
what runs, any other what is done. ``l4t_initrd_flash.sh`` frames its steps with stars, and
prints what the board itself says as ``[ 233]: l4t_flash_from_kernel: text``.
"""

import re
from dataclasses import dataclass, field
from typing import Final

from edgekit.core.events import EventSink, StepFinished, StepProgress, StepStarted
from edgekit.flash.vendor_faults import KnownFault

_TIMED: Final = re.compile(r"^\[ *\d+\.\d+ \] ?(.*)$")
_FRAMED: Final = re.compile(r"^\* +(Step \d+: .+?) +\*$")
_FROM_BOARD: Final = re.compile(r"^\[ *\d+\]: l4t_flash_from_kernel: (.+)$")
_PARTITION: Final = re.compile(r"^Writing partition (\S+) with (\S+)(?: \[ (\d+) bytes \])?")
_BAR: Final = re.compile(r"^\[\.*\] *(\d+)%$")
_COMMAND: Final = re.compile(r"^(tegra\w+_v?\d*|tegra\w+|\./|python|mkbctpart|chkbdinfo)")
_DONE: Final = re.compile(
    r"^\*\*\* The target \S+ has been flashed successfully\. \*\*\*|^Flash is successful$"
)
# Said over and over while the script waits; nothing begins by it.
_WAITING: Final = re.compile(r"^(Waiting for |Ongoing processes:)")

_AGAIN: Final = (
    "take power from it, hold FORCE RECOVERY while it gets power again, and flash it anew"
)
_CABLE: Final = f"a short cable to a socket of the machine itself, no hub; {_AGAIN}"
FAULTS: Final = (
    KnownFault(
        r"(?i)root privilege|run as root|sudo: a (terminal|password) is required",
        "the script must run as root",
        "run edgekit with sudo",
    ),
    KnownFault(
        r"Error: Target board not found|No devices to flash|No such device.*recovery",
        "no board in recovery mode was found",
        _AGAIN,
    ),
    KnownFault(
        r"[Rr]eading board information failed|Parsing board information failed",
        "the board's own description cannot be read",
        _AGAIN,
    ),
    KnownFault(
        r"BootRom is not running|Boot Rom communication failed|None of the bootloaders are running",
        "the board left recovery mode, or was flashed before and not set back",
        _AGAIN,
    ),
    KnownFault(
        r"might be timeout in USB (write|read)|Cannot Open USB|USB communication failed",
        "the board was lost on USB",
        _CABLE,
    ),
    KnownFault(
        r"Device ping failed after RCM boot|Error: Timeout$|Either the device cannot mount the NFS",
        "the board's helper system did not start, or this machine cannot be reached from it",
        "no firewall and no NFS server of another kind may be between; udisks2 stopped, and "
        "the USB network (192.168.55.0/24) free; then flash it anew",
    ),
    KnownFault(r"/mnt/external/.*Permission denied", "NFS refuses the board", "see its README"),
    KnownFault(
        r"GPT larger than|larger than (the )?(device|partition)|No space left on device",
        "the system does not fit the storage",
        "make it smaller (-S with arguments), or take larger storage",
    ),
    KnownFault(
        r"\.conf: No such file|Invalid target board",
        "the scripts know no such board",
        "ls *.conf in that folder shows the boards; name one with the option board",
    ),
)


def is_done(line: str) -> bool:
    """Tell whether the script says that the board is flashed; only that counts as success."""
    return _DONE.match(line) is not None


@dataclass
class JetsonLog:
    """Turns lines into events, one step after the other.

    Attributes:
        partitions: how many were begun.
        done: whether the script said so.
    """

    port: str
    emit: EventSink
    partitions: int = 0
    done: bool = False
    written_bytes: int = 0
    _step: str = ""
    _title: str = field(default="", repr=False)

    def hear(self, line: str) -> None:
        """Take in one line."""
        if is_done(line):
            self.done = True
            return
        framed = _FRAMED.match(line)
        from_board = _FROM_BOARD.match(line)
        timed = _TIMED.match(line)
        if framed:
            self._begin(framed[1])
        elif from_board:
            self._begin(from_board[1])
        elif timed:
            self._hear_timed(timed[1].strip())

    def end(self, *, ok: bool) -> None:
        """End the step that is under way."""
        if self._step:
            self.emit(StepFinished(self._step, ok=ok))
            self._step = ""

    def _hear_timed(self, text: str) -> None:
        partition, bar = _PARTITION.match(text), _BAR.match(text)
        if partition:
            self.partitions += 1
            self.written_bytes += int(partition[3] or 0)
            self._begin(f"write partition {partition[1]}")
        elif bar and self._step:
            self.emit(StepProgress(self._step, int(bar[1]), 100, "%"))
        elif text and not _COMMAND.match(text) and not _WAITING.match(text) and text[0].isupper():
            self._begin(text)

    def _begin(self, title: str) -> None:
        if title == self._title and self._step:
            return
        self.end(ok=True)
        self._title = title
        self._step = f"jetson:{self.port}:{title}"
        self.emit(StepStarted(self._step, f"{self.port}: {title}"))
