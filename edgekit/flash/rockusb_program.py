"""``rkdeveloptool``: its commands, what it prints, and what its faults mean."""

import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.core.errors import FlashError, UsageError
from edgekit.core.flash_method import VendorTool
from edgekit.flash.vendor_faults import KnownFault, fault_of
from edgekit.flash.vendor_program import Limits, Said, find_program, run_program

SECTOR_BYTES: Final = 512
TOOL: Final = VendorTool("rkdeveloptool", "sudo apt-get install rkdeveloptool")
# "BOOT" and "LDR ": RKBoot.cpp takes nothing else.
_LOADER_MARKS: Final = (b"BOOT", b"LDR ")
_LISTED: Final = re.compile(
    r"DevNo=(\d+)\s+Vid=0x([0-9a-f]+),Pid=0x([0-9a-f]+),LocationID=([0-9a-f]+)\s+"
    r"(?:Mode=)?(Maskrom|Loader|Unknown)"
)
_PERCENT: Final = re.compile(r"(?:Write|Read) LBA (?:from|to) file \((\d+)%\)")
_SIZE: Final = re.compile(r"Flash Size: (\d+) MB")
_SHORT_S: Final = 30.0
_TRANSFER_S: Final = 60.0
_AGAIN: Final = "take power from the board, bring it into mask ROM again and flash it anew"

FAULTS: Final = (
    KnownFault(
        r"^Did not find any rockusb device",
        "it was unplugged, or it may not be seen",
        "plug it in again; without sudo, a udev rule for 2207 is needed",
    ),
    KnownFault(
        r"^Found too many rockusb devices",
        "more than one Rockchip board waits, and rkdeveloptool cannot tell them apart",
        "unplug all but one",
    ),
    KnownFault(
        r"[Cc]reating (Comm|comm) [Oo]bject failed",
        "the device cannot be opened",
        "run edgekit with sudo, or install a udev rule for 2207 (rkdeveloptool brings one)",
    ),
    KnownFault(
        r"^Opening loader failed",
        "the file is no loader that rkdeveloptool knows",
        "it begins with BOOT or LDR: rk*_spl_loader_*.bin or MiniLoaderAll.bin, no miniloader "
        "and no usbplug of rkbin",
    ),
    KnownFault(
        r"^Downloading bootloader failed",
        "the board did not take the loader",
        f"is it for this board's chip and memory? {_AGAIN}",
    ),
    KnownFault(
        r"^The device does not support this operation",
        "the board is not in the state that this needs",
        _AGAIN,
    ),
    KnownFault(r"can't open file", "it cannot read or write a file here", "look at its rights"),
    KnownFault(
        r"^Write LBA failed", "the board stopped taking data; it holds a part of the image", _AGAIN
    ),
    KnownFault(r"^Read LBA failed", "the board stopped giving data", _AGAIN),
    KnownFault(r"^Reset Device failed", "it did not restart", "take its power by hand"),
)


@dataclass(frozen=True)
class Board:
    """One line of ``rkdeveloptool ld``."""

    usb_id: str
    location: str
    state: str


def check_loader(file: Path) -> Path:
    """Return ``file`` if it may be a loader.

    Raises:
        UsageError: it is none, or cannot be read.
    """
    try:
        with file.open("rb") as stream:
            mark = stream.read(4)
    except OSError as error:
        raise UsageError(
            f"cannot read the loader {file}: {error.strerror}", hint="name a file with loader"
        ) from error
    if mark not in _LOADER_MARKS:
        raise UsageError(
            f"{file} is no loader for mask ROM: it begins with {mark!r}, not with BOOT or LDR",
            hint="take rk*_spl_loader_*.bin or MiniLoaderAll.bin",
        )
    return file


def boards_in(said: Said) -> tuple[Board, ...]:
    """Read what ``rkdeveloptool ld`` printed."""
    found = [match for line in said.lines if (match := _LISTED.search(line))]
    return tuple(
        Board(f"{int(vid, 16):04x}:{int(pid, 16):04x}", location, state.lower())
        for _, vid, pid, location, state in (match.groups() for match in found)
    )


@dataclass(frozen=True)
class RockusbProgram:
    """The program and when to give it up."""

    path: Path
    stopped: Callable[[], bool]
    is_there: Callable[[], bool]

    @classmethod
    def found(cls, stopped: Callable[[], bool], is_there: Callable[[], bool]) -> "RockusbProgram":
        """Find it in ``PATH``.

        Raises:
            FlashError: it is not installed.
        """
        return cls(find_program(TOOL), stopped, is_there)

    def boards(self) -> tuple[Board, ...]:
        """List the boards that it sees.

        Raises:
            FlashError: it failed.
        """
        said = run_program([str(self.path), "ld"], _ignored, self._limits())
        # Whether no board is a failure depends on the version.
        if said.status != 0 and not any("not found any devices" in line for line in said.lines):
            raise fault_of(said, FAULTS, "cannot list Rockchip boards")
        return boards_in(said)

    def send_loader(self, loader: Path) -> None:
        """Give a board in mask ROM its loader.

        Raises:
            FlashError: it was not taken.
        """
        what = f"cannot send {loader.name}"
        # It takes only files called *.bin, and a path of 256 letters or more overruns its memory.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / "loader.bin"
            shutil.copyfile(loader, copy)
            said = self._run("db", str(copy), what=what)
        self._require(said, "Downloading bootloader succeeded", what)

    def answers(self) -> bool:
        """Tell whether the board answers."""
        said = run_program([str(self.path), "td"], _ignored, self._limits())
        return said.status == 0 and any("Test Device OK" in line for line in said.lines)

    def storage_bytes(self) -> int | None:
        """Return the storage's size, ``None`` where the loader does not tell."""
        said = run_program([str(self.path), "rfi"], _ignored, self._limits())
        sizes = [int(match[1]) for line in said.lines if (match := _SIZE.search(line))]
        return sizes[0] << 20 if sizes and sizes[0] else None

    def write(self, sector: int, image: Path, moved: Callable[[int], None]) -> None:
        """Write a file from a sector on; ``moved`` is told of each percent once.

        Raises:
            FlashError: it was not written to its end.
        """
        what = f"cannot write {image.name}"
        said = self._run("wl", str(sector), str(image), what=what, moved=moved)
        self._require(said, "Write LBA from file (100%)", what)

    def read(self, sector: int, sectors: int, file: Path) -> bytes:
        """Read sectors by way of a file.

        Raises:
            FlashError: they were not read.
        """
        what = f"cannot read {sectors} sectors from {sector} on"
        self._run("rl", str(sector), str(sectors), str(file), what=what)
        # It does not look whether the file could be written, and ends well all the same.
        came = file.read_bytes() if file.is_file() else b""
        file.unlink(missing_ok=True)
        if len(came) != sectors * SECTOR_BYTES:
            raise FlashError(
                f"{what}: {len(came)} bytes came", hint=f"is there room at {file.parent}?"
            )
        return came

    def restart(self) -> None:
        """Have the board start from what was written.

        Raises:
            FlashError: it does not.
        """
        self._run("rd", what="the image is written, but the board does not restart")

    def _run(self, *arguments: str, what: str, moved: Callable[[int], None] | None = None) -> Said:
        last = -1

        def heard(line: str) -> None:
            nonlocal last
            match = _PERCENT.search(line)
            if moved is not None and match and int(match[1]) != last:
                last = int(match[1])
                moved(last)

        moves = arguments[0] in {"wl", "rl"}
        limits = self._limits(_TRANSFER_S if moves else _SHORT_S, watched=moves)
        said = run_program([str(self.path), *arguments], heard, limits)
        if said.status != 0:
            raise fault_of(said, FAULTS, what)
        return said

    def _require(self, said: Said, words: str, what: str) -> None:
        """Believe in success only where it was told of; status 0 alone is not enough."""
        if not any(words in line for line in said.lines):
            raise fault_of(said, FAULTS, what)

    def _limits(self, silence_s: float = _SHORT_S, *, watched: bool = False) -> Limits:
        def reason() -> str | None:
            if self.stopped():
                return "somebody asked for an end"
            if watched and not self.is_there():
                return "the board was unplugged"
            return None

        return Limits(silence_s, reason)


def _ignored(_line: str) -> None:
    """Hear a line whose meaning is looked for afterwards."""
