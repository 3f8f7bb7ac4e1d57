"""An update of a running device: into the slot not in use, restarted, confirmed or fallen back.

The system that runs is not written to. Until the new one is confirmed the boot loader counts its
starts, so a device whose new system fails comes back with the former one by itself.
"""

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from edgekit.core.contracts import Transport
from edgekit.core.errors import DeviceError, EdgekitError, FlashError, HostKeyError
from edgekit.core.events import EventSink, Note, StepFinished, StepProgress, StepStarted
from edgekit.flash.rauc import Rauc, Slots

Outcome = Literal["confirmed", "fell-back"]
RETURN_S: Final = 300.0
_ASK_AGAIN_S: Final = 2.0
_PERCENT: Final = 100


@dataclass(frozen=True)
class Update:
    """What is to be brought to a device, and how long to wait for it.

    Attributes:
        bundle: signed, a file on this host.
        send: brings the bundle to the device and returns its path there; goes on where it stopped.
        check: refuses, by raising, a system that started and is not fit to stay.
        return_s: how long the device may take to come back.
    """

    bundle: Path
    send: Callable[[Path], str]
    check: Callable[[], None]
    return_s: float = RETURN_S


@dataclass(frozen=True)
class Updated:
    """What became of an update.

    Attributes:
        before: what the boot loader calls the slot that the device ran from.
        after: the same, now.
        reason: why it fell back; empty where it did not.
        install_s: what writing took.
        away_s: from the order to restart until the device answered again.
    """

    outcome: Outcome
    version: str
    before: str
    after: str
    install_s: float
    away_s: float
    reason: str = ""


def update(reach: Callable[[], Transport], what: Update, emit: EventSink) -> Updated:
    """Bring an update to a device and see it confirmed, or the former system back.

    It can be repeated whenever it broke off: the slot not in use is then written anew.

    Args:
        reach: opens a connection to the device.
        what: the update.
        emit: told of each step.

    Raises:
        FlashError: the device cannot take it, or did not come back.
        DeviceError: the device cannot be reached, or was lost before it restarted.
    """
    transport = reach()
    try:
        rauc = Rauc(transport)
        slots = rauc.slots()
        before = slots.booted.bootname
        place = what.send(what.bundle)
        version = _accepted(rauc, slots, place)
        install_s = _install(rauc, place, emit)
        boot_id = rauc.boot_id()
        rauc.reboot()
    finally:
        transport.close()
    after, away_s = _back(reach, boot_id, what.return_s, emit)
    if after == before:
        reason = "the new system did not start, and the boot loader went back"
        return Updated("fell-back", version, before, after, install_s, away_s, reason)
    return _judge(
        reach, what, Updated("confirmed", version, before, after, install_s, away_s), emit
    )


def _accepted(rauc: Rauc, slots: Slots, place: str) -> str:
    info = rauc.info(place)
    if info.compatible != slots.compatible:
        raise FlashError(
            f"the update is for {info.compatible}, and the device is {slots.compatible}",
            hint="take the bundle that was made for this kind of device",
        )
    return info.version


def _install(rauc: Rauc, place: str, emit: EventSink) -> float:
    step = "update:install"
    emit(StepStarted(step, "Write the slot that is not in use"))
    began = time.monotonic()

    def hear(percent: int, _what: str) -> None:
        emit(StepProgress(step, percent, _PERCENT, "%"))

    try:
        rauc.install(place, hear)
    except BaseException:
        emit(StepFinished(step, "failed", ok=False))
        raise
    took = time.monotonic() - began
    emit(StepFinished(step, f"{took:.0f} s"))
    return took


def _back(
    reach: Callable[[], Transport], boot_id: str, patience_s: float, emit: EventSink
) -> tuple[str, float]:
    """Wait until the device has started again; return what it runs from, and how long it took."""
    step = "update:restart"
    emit(StepStarted(step, "Restart the device"))
    began = time.monotonic()
    last: EdgekitError | None = None
    while time.monotonic() - began < patience_s:
        try:
            after = _restarted(reach, boot_id)
        except HostKeyError:
            # What answers there is another device, or one that lost what makes it itself.
            emit(StepFinished(step, "failed", ok=False))
            raise
        except EdgekitError as error:
            after, last = None, error
        if after is not None:
            away_s = time.monotonic() - began
            emit(StepFinished(step, f"slot {after}"))
            return after, away_s
        time.sleep(_ASK_AGAIN_S)
    emit(StepFinished(step, "failed", ok=False))
    raise FlashError(
        f"the device did not come back within {patience_s:g} s ({last or 'it never went away'})",
        hint="it starts its former system when it is switched off and on again: nothing confirmed "
        "the new one",
    )


def _restarted(reach: Callable[[], Transport], boot_id: str) -> str | None:
    transport = reach()
    try:
        rauc = Rauc(transport)
        return None if rauc.boot_id() == boot_id else rauc.slots().booted.bootname
    finally:
        transport.close()


def _judge(reach: Callable[[], Transport], what: Update, done: Updated, emit: EventSink) -> Updated:
    """Confirm the new system, or send the device back to the former one."""
    try:
        what.check()
    except EdgekitError as error:
        emit(Note(f"the new system is not fit to stay: {error.message}", warning=True))
        transport = reach()
        try:
            rauc = Rauc(transport)
            boot_id = rauc.boot_id()
            # A start that nothing confirms is the boot loader's to count, marked or not.
            with suppress(DeviceError, FlashError):
                rauc.mark("bad")
            rauc.reboot()
        finally:
            transport.close()
        after, more_s = _back(reach, boot_id, what.return_s, emit)
        if after != done.before:
            raise FlashError(
                f"the new system is not fit to stay ({error.message}), and the device started it "
                f"once more, from slot {after}",
                hint="on the device: sudo rauc status mark-active other, then restart it",
            ) from error
        return Updated(
            *("fell-back", done.version, done.before, after, done.install_s),
            *(done.away_s + more_s, error.message),
        )
    transport = reach()
    try:
        Rauc(transport).mark("good")
    finally:
        transport.close()
    return done
