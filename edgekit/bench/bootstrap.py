"""The paired bootstrap: how sure a difference is that was told on a few images.

Images are drawn with replacement, the same draw for both sides, and the difference is told anew.
Source: Efron and Tibshirani, An Introduction to the Bootstrap (1993), chapter 13 (percentile
intervals).
"""

import math
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESAMPLES: Final = 1000
LEVEL: Final = 0.95
# With fewer images a resample is not like another sample: the interval comes out too short.
MIN_IMAGES: Final = 20
_MOST_IMAGES: Final = 1e6  # no one labels more to tell two candidates apart

Interval = tuple[float, float]


def resample_counts(
    images: int, *, resamples: int = RESAMPLES, seed: int = 0
) -> "NDArray[np.int64]":
    """Draw how often each image counts in each resample: ``int64[resamples, images]``.

    The random stream is NumPy's frozen ``RandomState``: a seed draws the same on every NumPy.
    """
    import numpy as np

    random = np.random.RandomState(seed)
    drawn: NDArray[np.int64] = random.multinomial(images, np.full(images, 1 / images), resamples)
    return drawn


def drop_interval(
    reference: "NDArray[np.float64]", values: "NDArray[np.float64]", *, level: float = LEVEL
) -> Interval:
    """Return the percentile interval of ``reference - values``.

    Args:
        reference: the reference's score in each resample, ``float64[R]``.
        values: the other's in the same resamples, ``float64[R]``.
        level: share of the resamples that lie inside.
    """
    import numpy as np

    tail = 50 * (1 - level)
    low, high = np.percentile(reference - values, (tail, 100 - tail))
    return float(low), float(high)


def images_needed(drop: float, interval: Interval, images: int, limit: float) -> int | None:
    """Tell how many images it would take until the interval of ``drop`` clears ``limit``.

    An interval shrinks with the square root of the number of images; that the drop itself would
    stay what it is, is the best guess there is.

    Returns:
        The number; ``None`` where the images at hand decide, or none ever would.
    """
    low, high = interval
    if high <= limit or low > limit or drop == limit:
        return None
    towards, distance = (high - drop, limit - drop) if drop < limit else (drop - low, drop - limit)
    ratio = towards / distance
    needed = images * ratio * ratio
    return math.floor(needed) + 1 if needed < _MOST_IMAGES else None
