"""One unit that is a disk: looked at once more, written and verified."""

from typing import Final

from edgekit.core.errors import FlashError, UsageError
from edgekit.core.events import Event, EventSink
from edgekit.core.flash import Disk
from edgekit.core.flash_method import Flashed, FlashJob, FlashUnit
from edgekit.core.names import FlashMethodName
from edgekit.flash.disks import disk_at, refuse, refuse_claimed
from edgekit.flash.source import open_image
from edgekit.flash.write import write_image

_CHANGED: Final = "somebody changed it meanwhile; look which disk it is now, and flash it anew"


def write_unit(
    method: FlashMethodName, unit: FlashUnit, disk: Disk, job: FlashJob, emit: EventSink
) -> Flashed:
    """Write a raw image to a disk, unless the disk must not be written to.

    Raises:
        FlashError: it was refused, or does not hold the image.
        UsageError: no image was named.
    """
    if job.image is None:
        raise UsageError(f"{method} writes an image, and none was named", hint="name an image")
    disk = _as_it_is(disk)
    refuse(disk, job.image.stat().st_size, allow_system=job.allow_system)
    refuse_claimed(disk)
    with open_image(str(job.image), cache=job.image.parent) as source:
        (written,) = write_image(source, [disk], verify=job.verify, emit=_stoppable(job, emit))
    if written.error is not None:
        raise FlashError(written.error, hint="flash it anew, or take another")
    return Flashed(
        method=method,
        unit=unit,
        sha256=written.sha256,
        size_bytes=written.size_bytes,
        written_bytes=written.written_bytes,
        write_s=written.write_s,
        verify_s=written.verify_s,
        checked="all" if job.verify else "none",
    )


def _as_it_is(disk: Disk) -> Disk:
    """Look at the disk again: between being found and being written it may have been changed.

    Raises:
        FlashError: another one is there now.
    """
    now = disk_at(disk.path)
    if disk.is_file != now.is_file or (
        not disk.is_file and (disk.serial, disk.size_bytes) != (now.serial, now.size_bytes)
    ):
        raise FlashError(f"{disk.path} is not the disk that was found", hint=_CHANGED)
    return now


def _stoppable(job: FlashJob, emit: EventSink) -> EventSink:
    def take(event: Event) -> None:
        if job.stopped():
            raise FlashError("somebody asked for an end", hint="flash it anew")
        emit(event)

    return take
