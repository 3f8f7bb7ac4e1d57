"""The driver's own numbers of frames: by how much one is ahead of another."""

from typing import Final

import numpy as np

from edgekit.camera.frame_rows import Column

_NUMBERS: Final = 1 << 32  # then they begin again (edgekit.onboard.camera.numbering)
_BEHIND: Final = _NUMBERS // 2
_MOSTLY: Final = 0.9


def ahead(before: Column, after: Column) -> Column:
    """Return by how much numbers are ahead of those before them; below 0: they began anew."""
    step = (after - before) % _NUMBERS
    return np.where(step < _BEHIND, step, step - _NUMBERS)


def are_counted(steps: Column) -> bool:
    """Tell whether numbers count frames, by how much each is ahead of the one before.

    One that comes twice now and then, where another was passed over, does not change their sum.
    """
    return bool((steps >= 0).all() and np.count_nonzero(steps) >= _MOSTLY * len(steps))
