"""What tells one tensor from others, in a few numbers and whatever the order of its values.

NumPy alone, and nothing of edgekit: toolboxes load this file by its path.
"""

from typing import Any, List, Optional

import numpy as np


def figures(values: Any) -> Optional[List[float]]:
    """Return size, largest magnitude, and four moments of the values as shares of that.

    ``None`` for what is not float, and for what has no value that is finite and not zero.
    """
    if values.dtype.kind != "f" or not values.size:
        return None
    wide = values.astype(np.float64).ravel()
    largest = float(np.abs(wide).max())
    if not np.isfinite(largest) or largest == 0:
        return None
    scaled = wide / largest
    moments = (scaled, np.abs(scaled), scaled**2, scaled**3)
    return [float(values.size), largest] + [float(each.mean()) for each in moments]
