"""Activation ranges from what calibration saw, whatever the order in which it saw it.

Runs inside the toolbox beside ``run_build.py``; NumPy only. What is kept of each tensor is its
smallest and largest value in each sample, and a histogram on a grid of powers of two: doubling
the width of its bins merges them in pairs exactly, so it depends on the values alone.
"""

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from numpy.typing import NDArray

_BINS = 4096  # on either side of zero
_SMALLEST = -40  # power of two of the narrowest bin: next to nothing, for tensors that are zero
# More values of one tensor and sample tell little more about their distribution; the smallest
# and the largest are always exact.
_MOST_VALUES = 1 << 16
# Share of values that may lie beyond each end of the range.
_BEYOND = 1e-4
_LEVELS = 128  # of the positive half of int8
_KL_STEP = 16


class Ranges:
    """Observed tensors, and a range for each.

    Args:
        method: ``minmax``, ``percentile``, ``kl`` or ``average``
            (``edgekit.core.quantisation``).
    """

    def __init__(self, method: str) -> None:
        choose = {
            "minmax": _Tensor.extremes,
            "percentile": _Tensor.percentile,
            "kl": _Tensor.least_divergence,
            "average": _Tensor.average,
        }
        if method not in choose:
            raise ValueError(f"no calibration method is named {method!r}")
        self._choose = choose[method]
        self._tensors: dict[str, _Tensor] = {}

    def see(self, values: "Mapping[str, NDArray[Any]]") -> None:
        """Take in what one sample made of each tensor: float arrays of any shape by name.

        Raises:
            RuntimeError: a value is not finite.
        """
        for name, array in values.items():
            self._tensors.setdefault(name, _Tensor()).see(name, array)

    def names(self) -> tuple[str, ...]:
        """Return the names of the tensors that were seen, sorted."""
        return tuple(sorted(self._tensors))

    def of(self, name: str) -> tuple[float, float]:
        """Return the range of one tensor, which always holds zero.

        Raises:
            KeyError: it was never seen.
        """
        low, high = self._choose(self._tensors[name])
        return min(low, 0.0), max(high, 0.0)


class _Tensor:
    """What was seen of one tensor."""

    def __init__(self) -> None:
        import numpy as np

        self._lows: list[float] = []
        self._highs: list[float] = []
        self._power = _SMALLEST
        self._counts: NDArray[np.int64] = np.zeros(2 * _BINS, np.int64)

    def see(self, name: str, array: "NDArray[Any]") -> None:
        import numpy as np

        if array.size == 0:
            return
        low, high = float(array.min()), float(array.max())
        if not (math.isfinite(low) and math.isfinite(high)):
            raise RuntimeError(f"tensor {name} holds NaN or infinite values during calibration")
        self._lows.append(low)
        self._highs.append(high)
        self._widen(max(-low, high))
        values = array.reshape(-1)
        values = values[:: -(-values.size // _MOST_VALUES)]
        # In double precision: the least of float32's values would be scaled to zero, and count on
        # the other side of it than before the range was widened.
        scaled = values.astype(np.float64) * 2.0**-self._power
        places = np.floor(scaled).astype(np.int64) + _BINS
        self._counts += np.bincount(places, minlength=2 * _BINS)[: 2 * _BINS]

    def _widen(self, largest: float) -> None:
        import numpy as np

        while largest >= _BINS * 2.0**self._power:
            halves = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.zeros(2 * _BINS, np.int64)
            self._counts[_BINS // 2 : _BINS // 2 + _BINS] = halves
            self._power += 1

    def extremes(self) -> tuple[float, float]:
        """Everything that was seen."""
        return min(self._lows), max(self._highs)

    def average(self) -> tuple[float, float]:
        """The mean over the samples of each one's own extremes."""
        # fsum rounds once, so that the order of the samples cannot show in the last digit.
        count = len(self._lows)
        return math.fsum(self._lows) / count, math.fsum(self._highs) / count

    def percentile(self) -> tuple[float, float]:
        """What all but a share of the values on either side lies in."""
        import numpy as np

        below = np.cumsum(self._counts)
        beyond = below[-1] * _BEYOND
        first = int(np.searchsorted(below, beyond, side="right"))
        last = int(np.searchsorted(below, below[-1] - beyond, side="left"))
        width = 2.0**self._power
        low, high = self.extremes()
        return max(low, (first - _BINS) * width), min(high, (last + 1 - _BINS) * width)

    def least_divergence(self) -> tuple[float, float]:
        """The range whose 8-bit distribution differs least from the one seen (KL).

        Source: https://on-demand.gputechconf.com/gtc/2017/presentation/s7310-8-bit-inference-with-tensorrt.pdf
        """
        import numpy as np

        magnitudes = self._counts[_BINS:] + self._counts[:_BINS][::-1]
        best, threshold = math.inf, _BINS
        for bins in range(_LEVELS, _BINS + 1, _KL_STEP):
            divergence = _divergence(magnitudes, bins)
            if divergence < best:
                best, threshold = divergence, bins
            if not magnitudes[bins:].any():
                break
        limit = float(threshold * np.float64(2.0) ** self._power)
        low, high = self.extremes()
        return max(low, -limit), min(high, limit)


def _divergence(magnitudes: "NDArray[np.int64]", bins: int) -> float:
    """KL divergence of the distribution clipped at ``bins`` from its 8-bit form."""
    import numpy as np

    clipped = magnitudes[:bins].astype(np.float64)
    seen = clipped > 0
    edges = np.arange(_LEVELS) * bins // _LEVELS
    sums = np.add.reduceat(np.where(seen, magnitudes[:bins], 0).astype(np.float64), edges)
    filled = np.add.reduceat(seen.astype(np.float64), edges)
    lengths = np.diff(np.append(edges, bins))
    means = np.divide(sums, filled, out=np.zeros_like(sums), where=filled > 0)
    coarse = np.where(seen, np.repeat(means, lengths), 0.0)
    clipped[-1] += magnitudes[bins:].sum()
    if clipped.sum() == 0 or coarse.sum() == 0:
        return math.inf
    wanted = clipped / clipped.sum()
    made = coarse / coarse.sum()
    tiny = 1e-12
    kept = wanted > 0
    return float((wanted[kept] * np.log(wanted[kept] / np.maximum(made[kept], tiny))).sum())
