"""How small the picture may be that frames are decoded to.

A model is shown far fewer pixels than a camera takes. What decoding does at a part of the size, it
need not do for pixels that nobody looks at.
"""

from typing import Any, Dict, Mapping, Optional, Sequence, Tuple

from edgekit.onboard.camera.frames import Captured
from edgekit.onboard.camera.pixels import REDUCIBLE, REDUCTIONS
from edgekit.onboard.steps.geometry import Fit, place

# The models' inputs are made between two pixels in each direction. With two or more pixels for one
# of the input's, nothing of the picture is blurred that the input could show.
_LEAST = 2


class Reduction:
    """By what frames are reduced: the most that changes nothing of where a model sees what.

    Args:
        fits: how each bundle fits a frame into its input; ``None`` where one sees none.
        shown_width: of pictures that somebody watches, in pixels; 0: nobody does.
        whole: nothing is reduced: it was asked for so, or the sink takes pictures.

    Attributes:
        facts: what was done with the first frame, for the record; empty before.
    """

    def __init__(
        self, fits: Sequence[Optional[Fit]], shown_width: int = 0, *, whole: bool = False
    ) -> None:
        self._fits, self._shown_width, self._whole = list(fits), shown_width, whole
        self._known: Dict[Tuple[str, int, int], int] = {}
        self.facts: Mapping[str, Any] = {}

    def by(self, captured: Captured) -> int:
        """Return by what a frame is reduced in both directions; 1: not at all."""
        key = (captured.format, captured.width, captured.height)
        found = self._known.get(key)
        if found is None:
            found = self._known[key] = self._find(*key)
            if not self.facts and captured.width:
                size = {"width": captured.width // found, "height": captured.height // found}
                self.facts = {"by": found, **size}
        return found

    def _find(self, name: str, width: int, height: int) -> int:
        if self._whole or name not in REDUCIBLE or min(width, height) < 1:
            return 1
        return max((by for by in REDUCTIONS if self._may_be(by, width, height)), default=1)

    def _may_be(self, by: int, width: int, height: int) -> bool:
        if width % by or height % by or width // by < self._shown_width:
            return False
        return all(fit is not None and _same_place(fit, (height, width), by) for fit in self._fits)


def _same_place(fit: Fit, size: Tuple[int, int], by: int) -> bool:
    small = (size[0] // by, size[1] // by)
    whole, reduced = place(fit, size), place(fit, small)
    return (
        whole[:4] == reduced[:4]
        and small[0] >= _LEAST * whole.height
        and small[1] >= _LEAST * whole.width
    )
