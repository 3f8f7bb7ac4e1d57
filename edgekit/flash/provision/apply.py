"""Chooses the method by which an image can be provisioned, and applies it."""

import importlib
import pkgutil
from pathlib import Path
from typing import Final, Protocol, cast

from edgekit.core.errors import FlashError, UsageError
from edgekit.core.events import EventSink, StepFinished, StepStarted, ignore
from edgekit.core.flash import ImageFacts
from edgekit.flash.provision import methods
from edgekit.flash.provision.values import Provision

# An image's own first-boot service would undo what was written behind its back, so where there
# is one it is served. Raspberry Pi OS with cloud-init still holds what read firstrun.sh.
_PREFERENCE: Final = ("armbian-first-login", "cloud-init", "firstrun", "ext4")


class _Method(Protocol):
    def apply(self, image: Path, facts: ImageFacts, what: Provision) -> tuple[str, ...]: ...


def methods_of(facts: ImageFacts) -> tuple[str, ...]:
    """Return the methods that the image supports and edgekit has, the best first."""
    have = {info.name.replace("_", "-") for info in pkgutil.iter_modules(methods.__path__)}
    return tuple(name for name in _PREFERENCE if name in facts.init and name in have)


def provision(
    image: Path, facts: ImageFacts, what: Provision, emit: EventSink = ignore
) -> tuple[str, ...]:
    """Edit a raw image in place, so that it boots as the device it is to be.

    Nothing is mounted and no root is needed. Where it raises, the image may be half edited:
    give it a copy, and discard that.

    Returns:
        What was done, one phrase each; the first names the method.

    Raises:
        FlashError: the image supports no method, has no room, or an edit did not hold.
        UsageError: a file that is to be put in does not exist.
    """
    names = methods_of(facts)
    if not names:
        raise FlashError(
            f"{image} has no first-boot method that edgekit knows",
            hint="write it without provisioning, or take an image of Raspberry Pi OS, Armbian, "
            "Ubuntu or Debian",
        )
    for item in what.files:
        if item.source is not None and not item.source.is_file():
            raise UsageError(
                f"{item.source}, which is to become {item.path}, is no file", hint="make it first"
            )
    step = "flash:provision"
    emit(StepStarted(step, f"provisioning by {names[0]}"))
    module = importlib.import_module(f"{methods.__name__}.{names[0].replace('-', '_')}")
    try:
        done = cast("_Method", module).apply(image, facts, what)
    except Exception:
        emit(StepFinished(step, names[0], ok=False))
        raise
    emit(StepFinished(step, names[0]))
    return (names[0], *done)
