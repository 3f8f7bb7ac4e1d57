"""Rockchip boards over USB, by Rockchip's own ``rkdeveloptool``.

A board without a system waits in its mask ROM, which knows nothing of memory and storage: it is
given a loader first. What the program prints is told by its source, ``main.cpp`` of
rockchip-linux/rkdeveloptool; the listing's kinds of boards by ``RKScan.cpp`` there.
"""

import hashlib
import re
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from edgekit.core.errors import FlashError, UsageError
from edgekit.core.events import EventSink, StepFinished, StepProgress, StepStarted
from edgekit.core.flash_method import (
    Checked,
    Flashed,
    FlashJob,
    FlashUnit,
    MethodOption,
    VendorTool,
)
from edgekit.core.names import FlashMethodName
from edgekit.core.target import Target
from edgekit.flash.raw_image import check_raw
from edgekit.flash.rockusb_program import (
    SECTOR_BYTES,
    TOOL,
    Board,
    RockusbProgram,
    check_loader,
)
from edgekit.flash.usb_units import UsbUnit, units_of, usb_units

_VENDOR: Final = "2207"
_READ_BYTES: Final = 64 << 20
_SAMPLES: Final = 64
_SAMPLE_BYTES: Final = 1 << 20
_BACK_S: Final = 15.0
_STATES: Final = ("maskrom", "loader")


def state_of(unit: UsbUnit) -> str:
    """Tell mask ROM and loader apart, as RKScan.cpp does: by the last bit of the USB release."""
    digits = re.findall(r"\d", unit.release)
    return _STATES[int(digits[-1]) & 1] if digits else _STATES[0]


@dataclass(frozen=True)
class Rockusb:
    """``rkdeveloptool``: loader if there is none, image, read back, restart."""

    name: FlashMethodName = "rockusb"
    tools: tuple[VendorTool, ...] = (TOOL,)
    options: tuple[MethodOption, ...] = (
        MethodOption(
            "loader",
            "what a board in mask ROM is given first, such as rk3588_spl_loader_v1.15.113.bin; "
            "the board's maker and Rockchip's rkbin have it",
            "file",
        ),
        MethodOption("check", "how much is read back: all (default) or sample"),
    )
    takes_image: bool = True
    # It has no word for which of two boards is meant, and refuses both.
    at_once: int | None = 1

    def units(self, target: Target, root: Path) -> tuple[FlashUnit, ...]:
        """Find boards of the target in mask ROM or in their loader."""
        return units_of(target, root, _state)

    def flash(self, unit: FlashUnit, job: FlashJob, emit: EventSink) -> Flashed:
        """Write the image to the storage that the board's loader chooses.

        Raises:
            FlashError: the unit must not be used.
            UsageError: an option cannot be meant.
        """
        check = _check(job)
        loader = _loader(unit, job)
        _alone(unit, job.root)
        if job.image is None:
            raise UsageError("rockusb writes an image, and none was named", hint="name an image")
        image, size = job.image, check_raw(job.image)
        program = RockusbProgram.found(job.stopped, lambda: _is_there(unit, job.root))
        _as_listed(unit, program.boards())
        if loader is not None:
            self._send_loader(program, loader, unit, emit)
        _fits(size, program.storage_bytes())
        write_s = self._write(program, image, unit, emit)
        verify_s, sha256 = 0.0, ""
        if check != "none":
            verify_s, sha256 = self._read_back(program, image, unit, check == "sample", emit)
        program.restart()
        return Flashed(self.name, unit, sha256, size, size, write_s, verify_s, check)

    def _send_loader(
        self, program: RockusbProgram, loader: Path, unit: FlashUnit, emit: EventSink
    ) -> None:
        step = f"loader:{unit.port}"
        emit(StepStarted(step, f"send {loader.name} to {unit.port}"))
        program.send_loader(loader)
        # The loader starts and comes back as a new device in the same socket.
        deadline = time.monotonic() + _BACK_S
        while not program.answers():
            if time.monotonic() > deadline:
                raise FlashError(
                    f"{unit.port}: the board took {loader.name} and was not heard of again",
                    hint="is the loader for this board's chip and memory? Take power from it, "
                    "bring it into mask ROM again and try another version",
                )
            time.sleep(0.3)
        emit(StepFinished(step))

    def _write(
        self, program: RockusbProgram, image: Path, unit: FlashUnit, emit: EventSink
    ) -> float:
        step = f"write:{unit.port}"
        size = image.stat().st_size
        emit(StepStarted(step, f"write {unit.port}"))
        began = time.monotonic()
        program.write(
            0, image, lambda percent: emit(StepProgress(step, size * percent // 100, size, "B"))
        )
        took = time.monotonic() - began
        emit(StepFinished(step, f"{size / took / 1e6:.1f} MB/s"))
        return took

    def _read_back(
        self,
        program: RockusbProgram,
        image: Path,
        unit: FlashUnit,
        sample: bool,
        emit: EventSink,
    ) -> tuple[float, str]:
        step = f"verify:{unit.port}"
        size = image.stat().st_size
        pieces = _samples(size) if sample else _all(size)
        total = sum(length for _, length in pieces)
        emit(StepStarted(step, f"read {unit.port} back"))
        began = time.monotonic()
        done = 0
        digest = hashlib.sha256()
        with image.open("rb") as wanted, tempfile.TemporaryDirectory() as scratch:
            for start, length in pieces:
                wanted.seek(start)
                expected = wanted.read(length)
                digest.update(expected)
                sectors = -(-length // SECTOR_BYTES)
                came = program.read(start // SECTOR_BYTES, sectors, Path(scratch) / "read")
                _compare(unit, start, expected, came)
                done += length
                emit(StepProgress(step, done, total, "B"))
        emit(StepFinished(step, "sample is equal" if sample else "equal"))
        return time.monotonic() - began, "" if sample else digest.hexdigest()


def _check(job: FlashJob) -> Checked:
    wanted = job.options.get("check", "all")
    if wanted not in {"all", "sample"}:
        raise UsageError(f"check is {wanted!r}", hint="check is all or sample")
    if not job.verify:
        return "none"
    return "sample" if wanted == "sample" else "all"


def _state(usb: UsbUnit) -> tuple[str, str]:
    state = state_of(usb)
    return state, f"in {'mask ROM' if state == 'maskrom' else 'loader'}"


def _loader(unit: FlashUnit, job: FlashJob) -> Path | None:
    """Return the loader to send; one that runs already needs none."""
    if unit.state != "maskrom":
        return None
    named = job.options.get("loader")
    if not named:
        raise UsageError(
            f"{unit.port}: the board is in mask ROM and needs a loader first",
            hint="name it with the option loader: rk*_spl_loader_*.bin or MiniLoaderAll.bin from "
            "the board's maker, or put together from Rockchip's rkbin with boot_merger",
        )
    return check_loader(Path(named).expanduser())


def _alone(unit: FlashUnit, root: Path) -> None:
    """Refuse where rkdeveloptool would refuse, in words that name the boards."""
    boards = [usb for usb in usb_units(root) if usb.id.startswith(_VENDOR)]
    if len(boards) > 1:
        ports = ", ".join(usb.port for usb in boards)
        raise FlashError(
            f"{len(boards)} Rockchip boards wait ({ports}); rkdeveloptool cannot tell them apart",
            hint=f"unplug all but the one at {unit.port}; they are flashed one after the other",
        )
    if not _is_there(unit, root):
        raise FlashError(f"no Rockchip board waits at {unit.port} any more", hint="plug it in")


def _is_there(unit: FlashUnit, root: Path) -> bool:
    return any(usb.port == unit.port and usb.id.startswith(_VENDOR) for usb in usb_units(root))


def _as_listed(unit: FlashUnit, boards: tuple[Board, ...]) -> None:
    """Refuse where the program sees something else than the kernel told."""
    if [board.usb_id for board in boards] == [unit.usb_id]:
        return
    listed = ", ".join(f"{board.usb_id} ({board.state})" for board in boards) or "none"
    raise FlashError(
        f"{unit.port}: {unit.usb_id} waits there, and rkdeveloptool lists {listed}",
        hint="if it lists none, run edgekit with sudo; if it lists another, unplug that",
    )


def _fits(size: int, storage_bytes: int | None) -> None:
    if storage_bytes is not None and storage_bytes < size:
        raise FlashError(
            f"the image has {size} bytes and the board's storage {storage_bytes}",
            hint="take a smaller image, or a board with more storage",
        )


def _all(size: int) -> list[tuple[int, int]]:
    return [(start, min(_READ_BYTES, size - start)) for start in range(0, size, _READ_BYTES)]


def _samples(size: int) -> list[tuple[int, int]]:
    """Return pieces from beginning to end, evenly; everything where that is not more."""
    if size <= _SAMPLES * _SAMPLE_BYTES:
        return _all(size)
    last = (size - _SAMPLE_BYTES) // SECTOR_BYTES
    starts = [last * index // (_SAMPLES - 1) * SECTOR_BYTES for index in range(_SAMPLES)]
    return [(start, min(_SAMPLE_BYTES, size - start)) for start in starts]


def _compare(unit: FlashUnit, start: int, expected: bytes, came: bytes) -> None:
    if came[: len(expected)] == expected:
        return
    pairs = enumerate(zip(expected, came, strict=False))
    at = next((index for index, (wanted, found) in pairs if wanted != found), len(came))
    raise FlashError(
        f"{unit.port}: what was read back differs from the image at byte {start + at}",
        hint="flash it anew; if it differs again, the board's storage or the cable is bad",
    )


METHOD: Final = Rockusb()
