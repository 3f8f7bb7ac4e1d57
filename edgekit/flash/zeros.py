"""Runs of zero bytes: what needs no writing, and what must read as zero all the same."""

from collections.abc import Iterator
from typing import Final

STEP_BYTES: Final = 64 << 10  # shorter runs are written: one large write beats two small ones
ZEROS: Final = bytes(STEP_BYTES)


def is_zero(view: memoryview) -> bool:
    """Tell whether all bytes are zero."""
    # Bytes compare by memcmp, memoryviews byte by byte in Python's own loop; so each step is
    # copied, which stays within the processor's cache.
    return all(
        bytes(view[at : at + STEP_BYTES]) == ZEROS[: min(STEP_BYTES, len(view) - at)]
        for at in range(0, len(view), STEP_BYTES)
    )


def data_runs(view: memoryview) -> Iterator[tuple[int, int]]:
    """Yield start and end of what is not zero, in whole steps."""
    start: int | None = None
    for at in range(0, len(view), STEP_BYTES):
        if is_zero(view[at : at + STEP_BYTES]):
            if start is not None:
                yield start, at
                start = None
        elif start is None:
            start = at
    if start is not None:
        yield start, len(view)
