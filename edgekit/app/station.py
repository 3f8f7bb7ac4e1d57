"""A flashing station: each card that is put in and each board that is plugged in gets the image.

A unit that fails does not stop the others. What was there before the station began is left
alone until it was taken out, and so is a unit that was flashed: nothing is written twice by
staying where it is.
"""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from edgekit.app.flash_image import raw_image
from edgekit.app.flash_setup import Setup, read_wifi_password
from edgekit.app.flash_unit import UnitImage, flash_unit
from edgekit.app.station_recipe import StationRecipe, StationSetup, method_of
from edgekit.app.station_report import StationReport, StationUnit, UnitState
from edgekit.catalog.devices import load_devices
from edgekit.catalog.targets import load_target
from edgekit.core.errors import EdgekitError
from edgekit.core.events import Event, EventSink, Note, StepFinished, StepProgress, StepStarted
from edgekit.core.flash import Disk, ImageFacts
from edgekit.core.flash_method import Flashed, FlashJob, FlashMethod, FlashUnit
from edgekit.core.target import Target
from edgekit.flash.disks import find_disks
from edgekit.flash.inspect import fits, inspect
from edgekit.flash.methods.sdcard import SdCard
from edgekit.flash.usb_units import usb_units

_POLL_S: Final = 0.5
# A board that restarts leaves USB for a moment; somebody who changes it takes longer.
_AWAY_DISK_S: Final = 1.0
_AWAY_USB_S: Final = 5.0

Disks = Callable[[Path], Sequence[Disk]]


class Ending:
    """What Ctrl-C asks for: first that running units end well, then that they end.

    Attributes:
        waited: whether units are waited for by now; while the image is fetched and unpacked
            nothing asks whether to end.
    """

    def __init__(self) -> None:
        self.waited = False
        self._asked = 0

    def ask(self) -> None:
        """Ask once more."""
        self._asked += 1

    def finishing(self) -> bool:
        """Tell whether no further unit is to be begun."""
        return self._asked > 0

    def stopping(self) -> bool:
        """Tell whether running units are to be given up."""
        return self._asked > 1


@dataclass(frozen=True)
class Bench:
    """Where units show up.

    Attributes:
        root: below which ``sys`` and ``proc`` stand.
        disks: finds the disks below it.
        pace: by what all waiting is multiplied.
    """

    root: Path = Path("/")
    disks: Disks = find_disks
    pace: float = 1.0


@dataclass(frozen=True)
class _Work:
    """What is done with each unit."""

    recipe: StationRecipe
    target: Target
    method: FlashMethod
    image: Path | None
    facts: ImageFacts | None


@dataclass
class _Place:
    """One unit that was begun or passed over, until it is taken out."""

    unit: FlashUnit
    thread: threading.Thread | None = None
    gone_since: float | None = None


def run_station(
    recipe: StationRecipe, *, emit: EventSink, ending: Ending, bench: Bench | None = None
) -> StationReport:
    """Flash unit after unit until there are enough, or until somebody ends it.

    Raises:
        FlashError: the image cannot be used; no unit was begun.
        UsageError: the recipe asks for what cannot be done.
    """
    bench = bench or Bench()
    emit = _one_at_a_time(emit)
    target, method = load_target(recipe.target), method_of(recipe)
    if isinstance(method, SdCard):
        method = replace(method, disks=bench.disks)
    if recipe.setup is not None:
        _common(recipe.setup).check(())  # now, not unit by unit
    with ExitStack() as open_:
        image, facts = None, None
        if method.takes_image:
            image = open_.enter_context(
                raw_image(recipe.image, sha256=recipe.sha256, block_map=recipe.block_map, emit=emit)
            )
            facts = _inspected(image, recipe, target)
        station = _Station(_Work(recipe, target, method, image, facts), bench, ending, emit)
        station.run()
    return StationReport(target.name, method.name, recipe.image, tuple(station.ended))


def _inspected(image: Path, recipe: StationRecipe, target: Target) -> ImageFacts | None:
    if not recipe.inspect and recipe.setup is None:
        return None
    facts = inspect(image)
    if recipe.inspect:
        fits(facts, target)
    return facts


@dataclass
class _Station:
    work: _Work
    bench: Bench
    ending: Ending
    emit: EventSink
    ended: list[StationUnit] = field(default_factory=list)
    _places: dict[str, _Place] = field(default_factory=dict)
    _numbers: set[int] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _preparing: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        for unit in self._units():
            self._places[_place(unit)] = _Place(unit)
            self.emit(
                Note(
                    f"{unit.port}: left alone, it was there before; take it out to have it flashed"
                )
            )
        self.ending.waited = True
        self.emit(Note(f"waiting for units by {self.work.method.name}"))
        try:
            while not self._is_done():
                self._forget_what_left()
                self._begin_what_came()
                time.sleep(_POLL_S * self.bench.pace)
        finally:
            for thread in self._running():
                thread.join()

    def _is_done(self) -> bool:
        if self.ending.finishing():
            return not self._running()
        count = self.work.recipe.count
        return bool(count) and self._made() >= count and not self._running()

    def _made(self) -> int:
        with self._lock:
            return sum(unit.state == "ok" for unit in self.ended)

    def _running(self) -> list[threading.Thread]:
        threads = [place.thread for place in self._places.values()]
        return [thread for thread in threads if thread is not None and thread.is_alive()]

    def _units(self) -> list[FlashUnit]:
        recipe = self.work.recipe
        found = self.work.method.units(self.work.target, self.bench.root)
        return [
            unit
            for unit in found
            if recipe.serves(unit.port)
            and (unit.disk is None or unit.disk.size_bytes <= recipe.largest_gb * 1e9)
        ]

    def _forget_what_left(self) -> None:
        """Forget units that were taken out; one that is in work is never forgotten."""
        disks = list(self.bench.disks(self.bench.root))
        ports = {usb.port for usb in usb_units(self.bench.root)}
        now = time.monotonic()
        for key, place in list(self._places.items()):
            busy = place.thread is not None and place.thread.is_alive()
            if busy or _is_here(place.unit, disks, ports):
                place.gone_since = None
                continue
            place.gone_since = place.gone_since or now
            away_s = _AWAY_USB_S if place.unit.disk is None else _AWAY_DISK_S
            if now - place.gone_since >= away_s * self.bench.pace:
                del self._places[key]

    def _begin_what_came(self) -> None:
        if self.ending.finishing():
            return
        for unit in self._units():
            if _place(unit) in self._places or not self._has_room():
                continue
            number = self._next_number(unit.port)
            thread = threading.Thread(target=self._flash, args=(unit, number), daemon=True)
            self._places[_place(unit)] = _Place(unit, thread)
            thread.start()

    def _has_room(self) -> bool:
        running = len(self._running())
        limits = [self.work.method.at_once]
        if self.work.recipe.count:
            limits.append(self.work.recipe.count - self._made())
        return all(limit is None or running < limit for limit in limits)

    def _next_number(self, port: str) -> int:
        """Take the lowest number that no unit has; one that failed gave its number back."""
        recipe = self.work.recipe
        kept = set()
        if recipe.setup is not None and recipe.setup.inventory:
            kept = {entry.name for entry in load_devices()}
        with self._lock:
            number = recipe.first
            while number in self._numbers or (
                # An earlier station made it; a name that has no number cannot be passed over.
                recipe.name_of(number, port) in kept
                and recipe.name_of(number, port) != recipe.name_of(number + 1, port)
            ):
                number += 1
            self._numbers.add(number)
            return number

    def _flash(self, unit: FlashUnit, number: int) -> None:
        began = time.monotonic()
        ended = StationUnit(
            number=number,
            name=self.work.recipe.name_of(number, unit.port),
            port=unit.port,
            serial=unit.serial,
            title=unit.title,
            state="ok",
            took_s=0.0,
        )
        try:
            ended = self._flashed(unit, ended)
        except EdgekitError as error:
            state: UnitState = "stopped" if self.ending.stopping() else "failed"
            ended = replace(ended, state=state, error=error.message, hint=error.hint or "")
        except Exception as error:  # noqa: BLE001 - one unit's trouble must not end the station
            ended = replace(ended, state="failed", error=f"{type(error).__name__}: {error}")
        ended = replace(ended, took_s=time.monotonic() - began)
        with self._lock:
            self.ended.append(ended)
            if ended.state != "ok":
                self._numbers.discard(number)
        self.emit(Note(ended.line(), warning=ended.state != "ok"))

    def _flashed(self, unit: FlashUnit, ended: StationUnit) -> StationUnit:
        emit = _named(ended.name, self.emit)
        job = FlashJob(
            target=self.work.target,
            image=self.work.image,
            verify=self.work.recipe.verify,
            options=self.work.recipe.options,
            root=self.bench.root,
            stopped=self.ending.stopping,
        )
        made = flash_unit(
            self.work.method,
            unit,
            job,
            self._wanted(ended),
            preparing=self._preparing,
            emit=emit,
        )
        return _with_facts(replace(ended, done=made.done), made.flashed)

    def _wanted(self, ended: StationUnit) -> UnitImage:
        """Return what this unit is to be."""
        recipe = self.work.recipe
        wanted = recipe.setup
        if wanted is None:
            return UnitImage(self.work.facts)
        setup = replace(
            _common(wanted),
            hostname=recipe.hostname_of(ended.number, ended.port),
            name=ended.name if wanted.inventory else None,
        )
        return UnitImage(self.work.facts, setup, remembered=wanted.inventory)


def _common(wanted: StationSetup) -> Setup:
    """Return what all units are to be.

    Raises:
        UsageError: the file with the network's password holds none.
    """
    password = wanted.wifi_password_file
    return Setup(
        user=wanted.user,
        ssh_keys=wanted.ssh_keys,
        wifi=wanted.wifi,
        wifi_password=None if password is None else read_wifi_password(password),
        wifi_country=wanted.wifi_country,
        bundle=wanted.bundle,
    )


def _with_facts(ended: StationUnit, flashed: Flashed) -> StationUnit:
    return replace(
        ended,
        sha256=flashed.sha256,
        size_bytes=flashed.size_bytes,
        write_s=flashed.write_s,
        verify_s=flashed.verify_s,
        checked=flashed.checked,
    )


def _place(unit: FlashUnit) -> str:
    """Return what names a unit's place and itself, as far as it tells."""
    if unit.disk is None:
        return unit.port
    return f"{unit.disk.path} {unit.serial} {unit.disk.size_bytes}"


def _is_here(unit: FlashUnit, disks: Sequence[Disk], ports: set[str]) -> bool:
    """Tell whether a unit is where it was, mounted or not, and whatever it is by now."""
    if unit.disk is None:
        return unit.port in ports
    before = (unit.disk.path, unit.disk.serial, unit.disk.size_bytes)
    return any((disk.path, disk.serial, disk.size_bytes) == before for disk in disks)


def _named(name: str, emit: EventSink) -> EventSink:
    """Tell apart the steps of units that are in work at the same time."""

    def take(event: Event) -> None:
        if isinstance(event, StepStarted):
            event = replace(event, step=f"{name}:{event.step}", title=f"{name}: {event.title}")
        elif isinstance(event, StepProgress | StepFinished):
            event = replace(event, step=f"{name}:{event.step}")
        else:
            event = replace(event, text=f"{name}: {event.text}")
        emit(event)

    return take


def _one_at_a_time(emit: EventSink) -> EventSink:
    lock = threading.Lock()

    def take(event: Event) -> None:
        with lock:
            emit(event)

    return take
