"""What a way of flashing must be, what it is given, and what it answers with."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from edgekit.core.events import EventSink
from edgekit.core.flash import Disk
from edgekit.core.names import FlashMethodName
from edgekit.core.target import Target

Checked = Literal["all", "sample", "none"]


@dataclass(frozen=True)
class VendorTool:
    """A program of a vendor's that a method calls.

    Attributes:
        program: what it is called in ``PATH``.
        install: command that brings it.
    """

    program: str
    install: str


@dataclass(frozen=True)
class MethodOption:
    """Something a method wants to be told beyond image and target.

    Attributes:
        kind: ``file`` and ``folder`` are paths that must exist.
    """

    key: str
    about: str
    kind: Literal["file", "folder", "text"] = "text"


@dataclass(frozen=True)
class FlashUnit:
    """One unit that waits for an image.

    Attributes:
        port: stable name of where it is plugged in, such as ``usb 1-1.2``.
        state: what it waits as, such as ``disk``, ``maskrom`` or ``recovery``.
        disk: what is written to, where it is a disk already.
        usb_id: ``vendor:product``, where it waits over USB.
    """

    title: str
    port: str = ""
    serial: str = ""
    state: str = "disk"
    disk: Disk | None = None
    usb_id: str = ""


def nobody() -> bool:
    """Answer that nobody asked for an end."""
    return False


@dataclass(frozen=True)
class FlashJob:
    """What is to be put onto units, and how.

    Attributes:
        target: the kind of board.
        image: a raw image, unpacked; ``None`` where the method brings the system itself.
        verify: read back what was written.
        allow_system: let a built-in disk through.
        options: by :attr:`MethodOption.key`.
        root: below which ``sys`` and ``proc`` stand.
        stopped: whether somebody asked for an end; asked at least once a second.
    """

    target: Target
    image: Path | None
    verify: bool = True
    allow_system: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    root: Path = Path("/")
    stopped: Callable[[], bool] = nobody


@dataclass(frozen=True)
class Flashed:
    """One unit holds the image now.

    Attributes:
        sha256: of the image; empty where the method brings the system itself, where not all of
            the image was read back, or where it is a plain file that no checksum was promised of.
        checked: how much of it was read back and found equal.
    """

    method: FlashMethodName
    unit: FlashUnit
    sha256: str
    size_bytes: int
    written_bytes: int
    write_s: float
    verify_s: float
    checked: Checked


class FlashMethod(Protocol):
    """A way in which an image gets onto a board: ``METHOD`` of ``edgekit/flash/methods/<name>.py``.

    Light to import. The file is called as the method, with ``_`` for ``-``.
    """

    @property
    def name(self) -> FlashMethodName:
        """The method's name, as targets list it."""

    @property
    def tools(self) -> tuple[VendorTool, ...]:
        """Programs it calls; empty where it needs none."""

    @property
    def options(self) -> tuple[MethodOption, ...]:
        """What it may be told."""

    @property
    def takes_image(self) -> bool:
        """Whether it writes an image of the user's, and does not bring a system itself."""

    @property
    def at_once(self) -> int | None:
        """How many units it can serve at the same time; ``None``: any number."""

    def units(self, target: Target, root: Path) -> tuple[FlashUnit, ...]:
        """Find the units that wait for an image now, by what the kernel tells below ``root``."""

    def flash(self, unit: FlashUnit, job: FlashJob, emit: EventSink) -> Flashed:
        """Put the image onto one unit, and read it back unless told otherwise.

        Raises:
            FlashError: the unit must not be used; the hint says what to do.
            UsageError: the job asks for what the method cannot do.
        """
