"""How far one tensor lies from another; imports NumPy."""

import math
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from edgekit.core.difference import TensorError

Array = NDArray[Any]

_FAINTEST: Final = 1e-30


def tensor_error(expected: Array, found: Array) -> TensorError:
    """Return how far ``found`` lies from ``expected``, of the same shape.

    Values that are NaN or infinite in ``expected`` itself are left out.
    """
    known = np.isfinite(expected)
    finite = known & np.isfinite(found)
    wrong = int(np.count_nonzero(known) - np.count_nonzero(finite))
    wanted = np.asarray(expected[finite], np.float64)
    off = np.asarray(found[finite], np.float64) - wanted
    largest = float(np.abs(off).max(initial=0.0))
    power, noise = float((wanted**2).sum()), float((off**2).sum())
    span = _span(wanted) or 1.0
    return TensorError(
        max_abs=largest,
        relative=largest / span,
        rms=math.sqrt(noise / max(off.size, 1)) / span,
        decibels=_decibels(power, noise),
        cosine=_cosine(power, wanted, off),
        non_finite=wrong,
    )


def _span(values: Array) -> float:
    """Return the range, zero included, as int8 would have to hold it."""
    return max(float(values.max(initial=0.0)), 0.0) - min(float(values.min(initial=0.0)), 0.0)


def _decibels(power: float, noise: float) -> float | None:
    if not noise:
        return None
    return 10 * math.log10(max(power, _FAINTEST) / noise)


def _cosine(power: float, wanted: Array, off: Array) -> float:
    if not off.any():
        return 1.0
    found = wanted + off
    lengths = math.sqrt(power), math.sqrt(float((found**2).sum()))
    if not all(lengths):
        return 1.0 if lengths[0] == lengths[1] else 0.0
    return min(1.0, float(np.vdot(wanted, found)) / (lengths[0] * lengths[1]))
