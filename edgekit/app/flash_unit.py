"""One unit that waits for an image: its image is prepared, put onto it, and it is remembered."""

import tempfile
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from edgekit.app.flash_setup import Setup, prepare_unit, remember
from edgekit.catalog.cache import cache_root
from edgekit.core.events import EventSink
from edgekit.core.flash import ImageFacts
from edgekit.core.flash_method import Flashed, FlashJob, FlashMethod, FlashUnit
from edgekit.flash.raw_file import copy_sparse


@dataclass(frozen=True)
class UnitFlashed:
    """What was written to a unit, and how its image was provisioned, one phrase each."""

    flashed: Flashed
    done: tuple[str, ...] = ()


@dataclass(frozen=True)
class UnitImage:
    """What is to stand on one unit.

    Attributes:
        facts: of the job's image; ``None`` where it was not looked into.
        setup: what the unit is to be; ``None`` leaves the image as it is.
        remembered: whether inventory and known hosts are to know it.
    """

    facts: ImageFacts | None = None
    setup: Setup | None = None
    remembered: bool = True


def flash_unit(
    method: FlashMethod,
    unit: FlashUnit,
    job: FlashJob,
    wanted: UnitImage,
    *,
    preparing: AbstractContextManager[object] | None = None,
    emit: EventSink,
) -> UnitFlashed:
    """Put the job's image onto a unit; where the unit is to be something, an edited copy of it.

    Args:
        method: how.
        unit: waits for it.
        job: what is put onto it.
        wanted: what it is to be.
        preparing: held while the copy is edited and while the unit is remembered.
        emit: hears of it.

    Raises:
        FlashError: it failed; the hint says what to do.
        EngineError: the first bundle cannot be built.
        UsageError: what the unit is to be cannot be meant.
    """
    preparing = preparing or nullcontext()
    setup, host_key = wanted.setup, ""
    done: tuple[str, ...] = ()
    with ExitStack() as open_:
        if setup is not None and job.image is not None and wanted.facts is not None:
            copy = Path(open_.enter_context(_scratch())) / "image.raw"
            # One after the other: a first bundle is built once, and then is there for all.
            with preparing:
                copy_sparse(job.image, copy)
                setup.check(())
                ready = prepare_unit(copy, wanted.facts, setup, job.target, emit=emit)
            job, done, host_key = replace(job, image=copy), ready.done, ready.host_key
        flashed = method.flash(unit, job, emit)
    if setup is not None and wanted.remembered and host_key:
        with preparing:
            remember(setup, job.target, host_key, emit)
    return UnitFlashed(flashed, done)


def _scratch() -> AbstractContextManager[str]:
    place = cache_root() / "images"
    place.mkdir(parents=True, exist_ok=True)
    return tempfile.TemporaryDirectory(prefix=".unit-", dir=place)
