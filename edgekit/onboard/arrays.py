"""The one name for an array in annotations, on every NumPy that boards carry."""

from typing import TYPE_CHECKING, Any, Callable, Dict, List, Sequence

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
