"""The cores that a run may use, and the memory that it took."""

import os
import re
import resource
from typing import Set

from edgekit.onboard.faults import RunFailedError, in_words

_SPAN = re.compile(r"(\d{1,4})(?:-(\d{1,4}))?")


def usable_cores() -> int:
    """Return how many cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except (AttributeError, OSError):
        return os.cpu_count() or 1


def use_cores(cores: str) -> None:
    """Bind this process, and every thread that it will start, to some cores.

    Args:
        cores: as Linux writes a list of them: ``4-5``, ``0,2``.

    Raises:
        RunFailedError: it is no such list, or not all of them may be used.
    """
    wanted = _numbers(cores)
    try:
        os.sched_setaffinity(0, wanted)
        absent = wanted - os.sched_getaffinity(0)
    except (AttributeError, OSError) as error:
        raise RunFailedError(
            "affinity %s: these cores cannot be used here (%s)" % (cores, in_words(error))
        ) from error
    if absent:  # the kernel leaves out what it does not have, as long as something is left
        listed = ", ".join(map(str, sorted(absent)))
        raise RunFailedError("affinity %s: cores not to be used here: %s" % (cores, listed))


def _numbers(cores: str) -> Set[int]:
    numbers = set()  # type: Set[int]
    for part in cores.split(","):
        span = _SPAN.fullmatch(part.strip())
        first = int(span.group(1)) if span else 0
        last = int(span.group(2) or first) if span else -1
        if last < first:
            raise RunFailedError("affinity %r is no list of cores such as 4-5 or 0,2" % cores)
        numbers.update(range(first, last + 1))
    return numbers


def memory_peak_bytes() -> int:
    """Return this process's peak resident set in bytes.

    ``VmHWM`` begins anew with exec; ``ru_maxrss`` would still count the process that forked us.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as stream:
            for line in stream:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
