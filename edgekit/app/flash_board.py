"""``flash --method``: one board that waits for its image over USB, by its vendor's way."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from edgekit.app.flash_image import raw_image
from edgekit.app.flash_setup import Setup
from edgekit.app.flash_unit import UnitFlashed, UnitImage, flash_unit
from edgekit.catalog.targets import load_target
from edgekit.core.errors import FlashError, UsageError
from edgekit.core.events import EventSink, ignore
from edgekit.core.flash import ImageFacts
from edgekit.core.flash_method import FlashJob, FlashMethod, FlashUnit
from edgekit.core.target import Target
from edgekit.flash.inspect import fits, inspect
from edgekit.flash.methods import load_method


@dataclass(frozen=True)
class BoardOptions:
    """What is to be put onto a board, and how.

    Attributes:
        method: its name.
        target: the kind of board.
        image: file or http(s) address; ``None`` where the method brings the system itself.
        port: where the board is plugged in; needed where several wait.
        sha256: of the image, or of the archive that it comes in.
        block_map: file or address of a ``.bmap``.
        inspect: refuse an image that does not fit the target.
        options: of the method.
        setup: what the device is to be at its first boot; ``None`` leaves the image as it is.
        root: below which ``sys`` and ``proc`` stand.
    """

    method: str
    target: str
    image: str | None = None
    port: str | None = None
    sha256: str | None = None
    block_map: str | None = None
    inspect: bool = True
    verify: bool = True
    options: Mapping[str, str] = field(default_factory=dict)
    setup: Setup | None = None
    root: Path = Path("/")


@dataclass(frozen=True)
class BoardPlan:
    """What would be done; nothing was written yet."""

    options: BoardOptions
    target: Target
    method: FlashMethod
    unit: FlashUnit


@dataclass(frozen=True)
class BoardFlashed:
    """What became of the board.

    Attributes:
        facts: of the image; ``None`` where it was not inspected.
        device: the name under which it stands in the inventory, if it does.
    """

    unit: UnitFlashed
    facts: ImageFacts | None = None
    device: str | None = None

    def as_json(self) -> Mapping[str, Any]:
        """Return it under the names that scripts rely on."""
        flashed = asdict(self.unit.flashed)
        disk = flashed["unit"].pop("disk")
        flashed["unit"]["disk"] = None if disk is None else str(disk["path"])
        return {
            "ok": True,
            **flashed,
            "image": self.facts and asdict(self.facts),
            "provisioned": list(self.unit.done),
            "device": self.device,
        }


def plan_board(options: BoardOptions) -> BoardPlan:
    """Find the one board that is meant, and refuse what cannot be.

    Raises:
        UsageError: what was asked for cannot be meant.
        FlashError: no board waits, or several do and none was named.
    """
    target, method = load_target(options.target), load_method(options.method)
    _check(options, target, method)
    if options.setup is not None:
        options.setup.check(())
    return BoardPlan(options, target, method, _unit(options, target, method))


def flash_board(plan: BoardPlan, *, emit: EventSink = ignore) -> BoardFlashed:
    """Put the image onto the board of the plan.

    Raises:
        FlashError: the image is corrupt or does not fit, or the board did not take it.
        EngineError: the first bundle cannot be built.
    """
    options, facts = plan.options, None
    with ExitStack() as open_:
        image = None
        if options.image is not None:
            image = open_.enter_context(
                raw_image(
                    options.image,
                    sha256=options.sha256,
                    block_map=options.block_map,
                    emit=emit,
                )
            )
            if options.inspect or options.setup is not None:
                facts = inspect(image)
            if options.inspect and facts is not None:
                fits(facts, plan.target)
        job = FlashJob(
            target=plan.target,
            image=image,
            verify=options.verify,
            options=options.options,
            root=options.root,
        )
        wanted = UnitImage(facts, options.setup)
        unit = flash_unit(plan.method, plan.unit, job, wanted, emit=emit)
    return BoardFlashed(unit, facts, options.setup.name if options.setup else None)


def _check(options: BoardOptions, target: Target, method: FlashMethod) -> None:
    if method.name == "sdcard":
        raise UsageError("a card is named by its disk", hint="--to /dev/sdX, without --method")
    if method.name not in target.flash_methods:
        raise UsageError(
            f"target {target.name} is not flashed by {method.name}",
            hint=f"it has {', '.join(target.flash_methods) or 'none'}",
        )
    if method.takes_image and options.image is None:
        raise UsageError(f"{method.name} writes an image, and none is named", hint="name an IMAGE")
    if not method.takes_image and (options.image is not None or options.setup is not None):
        raise UsageError(
            f"{method.name} brings its own system: it takes no image, and sets nothing up",
            hint="leave IMAGE out, and what the device is to be",
        )
    known = {option.key: option for option in method.options}
    for key, value in options.options.items():
        if key not in known:
            raise UsageError(
                f"{method.name} has no option {key!r}",
                hint=f"it has {', '.join(known) or 'none'}",
            )
        if known[key].kind != "text" and not Path(value).expanduser().exists():
            raise UsageError(f"{key}: there is no {value}", hint=known[key].about)


def _unit(options: BoardOptions, target: Target, method: FlashMethod) -> FlashUnit:
    units = method.units(target, options.root)
    if options.port is not None:
        wanted = options.port if " " in options.port else f"usb {options.port}"
        units = tuple(unit for unit in units if unit.port == wanted)
    if len(units) == 1:
        return units[0]
    if units:
        ports = ", ".join(f"{unit.port.removeprefix('usb ')} ({unit.title})" for unit in units)
        raise FlashError(f"{len(units)} boards wait: {ports}", hint="--port says which")
    place = f" at {options.port}" if options.port else ""
    raise FlashError(
        f"no {target.name} waits for an image by {method.name}{place}",
        hint="how a board is made to wait: docs/flash-methods.md; its cable must carry data",
    )
