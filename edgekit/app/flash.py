"""``flash``: an image is looked into, prepared, written to disks and read back."""

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from edgekit.app.flash_image import is_raw, raw_image
from edgekit.app.flash_setup import Setup, prepare_unit, remember
from edgekit.catalog.cache import cache_root
from edgekit.catalog.settings import settings
from edgekit.catalog.targets import load_target, target_names
from edgekit.core.errors import FlashError, UsageError
from edgekit.core.events import EventSink, Note, StepFinished, StepStarted, ignore
from edgekit.core.flash import Disk, ImageFacts, Written
from edgekit.core.target import Target
from edgekit.flash.disks import disk_at, find_disks, refuse, refuse_claimed, refuse_twins
from edgekit.flash.holdings import holdings
from edgekit.flash.inspect import fits, inspect
from edgekit.flash.raw_file import copy_sparse
from edgekit.flash.source import open_image
from edgekit.flash.write import write_image

_INSPECT: Final = "flash:inspect"


@dataclass(frozen=True)
class FlashOptions:
    """What is to be written, and where to.

    Attributes:
        image: file or http(s) address, packed or not.
        to: block devices, or plain files that stand for them.
        target: the kind of board; ``None`` only where ``inspect`` is off.
        sha256: of the image, or of the archive that it comes in.
        block_map: file or address of a ``.bmap``.
        allow_system: let disks through that are built into this machine.
        inspect: refuse an image that does not fit the target, or does not tell.
        setup: what the device is to be at its first boot; ``None`` leaves the image as it is.
    """

    image: str
    to: tuple[Path, ...]
    target: str | None = None
    sha256: str | None = None
    block_map: str | None = None
    allow_system: bool = False
    inspect: bool = True
    verify: bool = True
    setup: Setup | None = None


@dataclass(frozen=True)
class SeenDisk:
    """A disk, what stands on it in words, and why it must not be written to (empty: it may)."""

    disk: Disk
    holds: str
    refusal: str = ""

    def as_json(self) -> Mapping[str, Any]:
        """Return it under the names that scripts rely on."""
        facts = {**asdict(self.disk), "path": str(self.disk.path)}
        return {**facts, "holds": self.holds, "refusal": self.refusal}


@dataclass(frozen=True)
class FlashPlan:
    """What would be done; nothing was written yet.

    Attributes:
        facts: of the image; ``None`` where it is packed, or nothing is asked of it.
    """

    options: FlashOptions
    target: Target | None
    disks: tuple[SeenDisk, ...]
    facts: ImageFacts | None = None


@dataclass(frozen=True)
class Flashed:
    """What became of each disk, and of the device that will start from it.

    Attributes:
        facts: of the image; ``None`` where it was not inspected.
        done: how the image was provisioned, one phrase each.
        device: the name under which it stands in the inventory, if it does.
    """

    written: tuple[Written, ...]
    facts: ImageFacts | None = None
    done: tuple[str, ...] = ()
    device: str | None = None

    @property
    def ok(self) -> bool:
        """Whether every disk holds the image."""
        return all(each.error is None for each in self.written)

    def as_json(self) -> Mapping[str, Any]:
        """Return it under the names that scripts rely on."""
        disks = [
            {**asdict(each), "disk": {**asdict(each.disk), "path": str(each.disk.path)}}
            for each in self.written
        ]
        return {
            "ok": self.ok,
            "disks": disks,
            "image": self.facts and asdict(self.facts),
            "provisioned": list(self.done),
            "device": self.device,
        }


def list_disks() -> tuple[SeenDisk, ...]:
    """Return the disks of this machine, each with the reason why it would be refused."""
    return tuple(_seen(disk) for disk in find_disks())


def _seen(disk: Disk) -> SeenDisk:
    refusal = ""
    try:
        refuse(disk, None, allow_system=False)
    except FlashError as error:
        refusal = error.message
    return SeenDisk(disk, holdings(disk), refusal)


def plan_flash(options: FlashOptions) -> FlashPlan:
    """Refuse at once what can be refused at once, and return what is left to ask and to do.

    Raises:
        FlashError: a disk must not be written to, or the image does not fit the target.
        UsageError: what was asked for cannot be meant.
    """
    disks = _disks(options)
    raw = is_raw(options.image)
    target = _target(options, raw=raw)
    if options.setup is not None:
        options.setup.check(options.to)
    for disk in disks:
        _refuse_own_image(disk, options.image)
    seen = tuple(SeenDisk(disk, holdings(disk)) for disk in disks)
    facts = _facts(Path(options.image), options, target) if raw else None
    if raw:
        _refuse_small(disks, Path(options.image), options)
    return FlashPlan(options, target, seen, facts)


def flash(plan: FlashPlan, *, emit: EventSink = ignore) -> Flashed:
    """Write the image to every disk of the plan. A disk that fails does not stop the others.

    Raises:
        FlashError: the image is corrupt or does not fit, or a disk is no longer what it was.
        OSError: the cache cannot be written.
    """
    options = plan.options
    with ExitStack() as open_:
        facts = plan.facts
        image, promised, block_map = options.image, options.sha256, options.block_map
        # A packed one is looked into unpacked; one to be edited is checked before it is copied.
        if options.setup is not None or (facts is None and options.inspect):
            raw = open_.enter_context(
                raw_image(image, sha256=promised, block_map=block_map, emit=emit)
            )
            image, promised, block_map = str(raw), None, None
            if facts is None:
                facts = _inspected(raw, options, plan.target, emit)
                _refuse_small([each.disk for each in plan.disks], raw, options)
        unit = None
        if options.setup is not None and facts is not None and plan.target is not None:
            edited = open_.enter_context(_copied(Path(image), options.image))
            alone = len(plan.disks) == 1
            unit = prepare_unit(edited, facts, options.setup, plan.target, alone=alone, emit=emit)
            image = str(edited)
        flashed = Flashed(_write(image, promised, block_map, plan, emit), facts)
    if unit is None or options.setup is None or plan.target is None:
        return flashed
    flashed = replace(flashed, done=unit.done)
    if not flashed.ok:
        return flashed
    known = remember(options.setup, plan.target, unit.host_key, emit)
    if known is not None:
        emit(Note(f"its SSH host key was made here and is trusted: {known}"))
    return replace(flashed, device=options.setup.name)


def _write(
    image: str, promised: str | None, block_map: str | None, plan: FlashPlan, emit: EventSink
) -> tuple[Written, ...]:
    options = plan.options
    disks = _unchanged(plan)
    with open_image(
        image, sha256=promised, cache=cache_root(), emit=emit, block_map=block_map
    ) as source:
        for disk in disks:
            refuse(disk, source.size_bytes, allow_system=options.allow_system)
        try:
            return write_image(source, disks, verify=options.verify, emit=emit)
        except KeyboardInterrupt:
            paths = ", ".join(str(disk.path) for disk in disks)
            emit(Note(f"{paths}: not whole, and will not boot until flashed anew", warning=True))
            raise


def _target(options: FlashOptions, *, raw: bool) -> Target | None:
    name = options.target or settings().target
    if name is not None:
        return load_target(name)
    if options.inspect:
        fitting = ", ".join(_fitting(Path(options.image))) if raw else ""
        raise UsageError(
            "no target is named, so nothing tells whether the image fits the board",
            hint=f"this image fits {fitting}: say which with --target"
            if fitting
            else "--target NAME (edgekit targets lists them), or --no-inspect",
        )
    if options.setup is not None:
        raise UsageError(
            "no target is named, so nothing tells which board the device is",
            hint="--target NAME (edgekit targets lists them)",
        )
    return None


def _fitting(raw: Path) -> list[str]:
    """Return the targets that tell boards by their device tree and that an image fits."""
    facts, found = inspect(raw), []
    for name in target_names():
        target = load_target(name)
        with contextlib.suppress(FlashError):
            fits(facts, target)
            if target.compatible:
                found.append(name)
    return found


def _disks(options: FlashOptions) -> list[Disk]:
    if not options.to:
        raise UsageError(
            "no disk is named", hint="--to /dev/sdX; edgekit flash --list shows the disks"
        )
    disks = [disk_at(path) for path in options.to]
    for disk in disks:
        refuse(disk, None, allow_system=options.allow_system)
        refuse_claimed(disk)
    refuse_twins(disks)
    return disks


def _unchanged(plan: FlashPlan) -> list[Disk]:
    """Look again: between the question and the write a card may have been changed or mounted."""
    disks = _disks(plan.options)
    for disk, seen in zip(disks, plan.disks, strict=True):
        before = seen.disk
        if (disk.serial, disk.size_bytes) != (before.serial, before.size_bytes):
            raise FlashError(
                f"{disk.path} is another disk than a moment ago: {disk.model} {disk.serial}",
                hint="start anew, and leave the cards where they are",
            )
    return disks


def _refuse_own_image(disk: Disk, image: str) -> None:
    with contextlib.suppress(OSError):
        if disk.is_file and Path(image).samefile(disk.path):
            raise FlashError(f"{image} cannot be written onto itself", hint="name another --to")


def _refuse_small(disks: Sequence[Disk], raw: Path, options: FlashOptions) -> None:
    for disk in disks:
        refuse(disk, raw.stat().st_size, allow_system=options.allow_system)


def _facts(raw: Path, options: FlashOptions, target: Target | None) -> ImageFacts | None:
    if not options.inspect and options.setup is None:
        return None
    facts = inspect(raw)
    if options.inspect and target is not None:
        try:
            fits(facts, target)
        except FlashError as error:
            others = _fitting(raw)
            if others:
                error.hint = f"this image fits {', '.join(others)}; {error.hint}"
            raise
    return facts


def _inspected(
    raw: Path, options: FlashOptions, target: Target | None, emit: EventSink
) -> ImageFacts | None:
    emit(StepStarted(_INSPECT, "Inspect the image"))
    try:
        facts = _facts(raw, options, target)
    except BaseException:
        emit(StepFinished(_INSPECT, "refused", ok=False))
        raise
    emit(StepFinished(_INSPECT, described(facts) if facts else ""))
    return facts


def described(facts: ImageFacts) -> str:
    """Return in one phrase what an image holds."""
    what = [facts.system or "a system of its own", *facts.architectures]
    count = len(facts.partitions)
    return f"{', '.join(what)}, {count} partition{'' if count == 1 else 's'}"


@contextlib.contextmanager
def _copied(raw: Path, reference: str) -> Iterator[Path]:
    """Give a copy of the image to edit."""
    place = cache_root() / "images"
    place.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unit-", dir=place) as folder:
        copy = Path(folder) / (Path(reference).name or "image")  # as errors call it
        copy_sparse(raw, copy)
        yield copy
