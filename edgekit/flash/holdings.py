"""What stands on a disk now: what a person should see before it is erased."""

import os
from typing import Final

from edgekit.core.flash import Disk, Partition
from edgekit.flash.partitions import read_partitions
from edgekit.flash.region import Region, UnreadableError

_SHOWN: Final = 6


def holdings(disk: Disk) -> str:
    """Return in one phrase what stands on a disk; empty where this user may not look."""
    try:
        descriptor = os.open(disk.path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        table, partitions = read_partitions(Region(descriptor, 0, disk.size_bytes))
    except UnreadableError as error:
        return str(error)
    except OSError as error:
        return f"unreadable: {error.strerror}"
    finally:
        os.close(descriptor)
    if not partitions:
        return "an empty partition table" if table else "nothing known"
    shown = [_one(each) for each in partitions[:_SHOWN]]
    more = len(partitions) - len(shown)
    return ", ".join([*shown, f"{more} more"] if more else shown)


def _one(partition: Partition) -> str:
    filesystem = partition.filesystem or "unknown"
    return f"{filesystem} {partition.label!r}" if partition.label else filesystem
