"""Arrays as steps and engines hand them on: float in the model's order, or as an engine has them.

Also the one name for an array in annotations, on every NumPy that boards carry.
"""

from collections import namedtuple
from typing import TYPE_CHECKING, Any, Callable, Dict, List, Optional, Sequence, Tuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Array = NDArray[Any]
else:  # numpy.typing came with NumPy 1.20; boards with Python 3.6 have 1.19 or older
    Array = np.ndarray

Tensors = Dict[str, Array]
Answers = List[Any]
Preprocess = Callable[[Any], Tensors]
Postprocess = Callable[[Tensors, Sequence[int]], Answers]

LAYOUTS = ("NCHW", "NHWC")
QUANTISED_DTYPES = ("int8", "uint8")
_CHANNELS_LAST = (0, 2, 3, 1)  # axes of NCHW in the order of NHWC
_CHANNELS_FIRST = (0, 3, 1, 2)


class Form(namedtuple("Form", "layout dtype scale zero_point")):
    """How an engine wants an input.

    Attributes:
        layout: ``NCHW``: the model's own order of axes, whatever these are; ``NHWC``: the four
            axes of an image with the channels last.
        dtype: ``float32``, ``int8`` or ``uint8``.
        scale, zero_point: value = (integer - zero_point) * scale; ``None`` for ``float32``.
    """

    __slots__ = ()


class Quantised(namedtuple("Quantised", "values scale zero_point layout")):
    """An output as an engine left it.

    Attributes:
        values: integers, or floats where ``scale`` is ``None``.
        scale, zero_point: value = (integer - zero_point) * scale.
        layout: as in :class:`Form`.
    """

    __slots__ = ()

    @property
    def shape(self) -> Tuple[int, ...]:
        """The shape in the model's own order."""
        shape = self.values.shape
        return tuple(shape[axis] for axis in _CHANNELS_FIRST) if self._moved else shape

    @property
    def _moved(self) -> bool:
        return bool(self.layout == "NHWC" and self.values.ndim == len(_CHANNELS_FIRST))

    def to_float(self) -> Array:
        """The values as ``float32`` in the model's own order, contiguous."""
        values = self.values.transpose(_CHANNELS_FIRST) if self._moved else self.values
        return np.ascontiguousarray(dequantised(values, self.scale, self.zero_point))


def to_form(array: Array, form: Form) -> Array:
    """An array in the model's own order -> as an engine wants it, contiguous.

    Args:
        array: real values in the model's order of axes.
        form: of the answer; rounding is half to even, what lies outside is clipped.
    """
    if form.layout == "NHWC" and array.ndim == len(_CHANNELS_LAST):
        array = array.transpose(_CHANNELS_LAST)
    if form.scale is None:
        return np.ascontiguousarray(array, dtype=form.dtype)
    levels = np.asarray(array, np.float32) / np.float32(form.scale)
    levels += np.float32(form.zero_point)
    return quantised(levels, form.dtype)


def dequantised(levels: Array, scale: Optional[float], zero_point: Optional[int]) -> Array:
    """Integers, or floats where ``scale`` is ``None``, -> a ``float32`` array of its own."""
    real = levels.astype(np.float32)
    if scale is not None:
        real -= np.float32(zero_point or 0)
        real *= np.float32(scale)
    return real


def quantised(levels: Array, dtype: str) -> Array:
    """Levels ``float32`` -> integers: rounded half to even and clipped, contiguous."""
    limits = np.iinfo(dtype)
    whole = np.minimum(np.maximum(np.rint(levels), limits.min), limits.max)
    return np.ascontiguousarray(whole, dtype=dtype)
