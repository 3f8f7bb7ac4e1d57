"""A loaded model with the steps before and after it, as the stages of a line call them."""

from typing import Any, List, Mapping, Optional, Sequence

import numpy as np

from edgekit.onboard.arrays import Array, Postprocess, Preprocess, Quantised
from edgekit.onboard.camera.frames import Frame
from edgekit.onboard.faults import RunFailedError
from edgekit.onboard.steps.geometry import Fit

_BLANK = (480, 640, 3)


class Variant:
    """One bundle of those that a line may switch between.

    Args:
        session: the engine's.
        preprocess, postprocess: the bundle's steps.
        inputs: the model's inputs, ``name`` and ``shape``.
        name: the bundle's identity.
        fit: how frames are fitted into the model's input; ``None`` where that is not known.
    """

    def __init__(
        self,
        session: Any,
        preprocess: Preprocess,
        postprocess: Postprocess,
        inputs: Sequence[Mapping[str, Any]],
        name: str,
        fit: Optional[Fit] = None,
    ) -> None:
        self.name, self.fit = name, fit
        self._session, self._preprocess, self._postprocess = session, preprocess, postprocess
        shapes = [list(each["shape"]) for each in inputs]
        self.batch = int(shapes[0][0]) if shapes and shapes[0] else 1

    def preprocess(self, frame: Frame) -> None:
        """RGB -> tensors."""
        frame.tensors = self._preprocess(frame.rgb)

    def infer(self, frames: List[Frame]) -> None:
        """Tensors -> outputs, of as many frames as the model takes at once."""
        if self.batch == 1:
            for frame in frames:
                frame.outputs = self._session.run(frame.tensors)
                frame.tensors = None
            return
        # A model of a fixed batch is given all of it: what is missing is the last frame again.
        padded = [*frames, *[frames[-1]] * (self.batch - len(frames))]
        inputs = {
            name: np.concatenate([frame.tensors[name] for frame in padded])
            for name in frames[0].tensors
        }
        outputs = self._session.run(inputs)
        for index, frame in enumerate(frames):
            frame.outputs = {name: _one_of(value, index) for name, value in outputs.items()}
            frame.tensors = None

    def postprocess(self, frame: Frame) -> None:
        """Outputs -> answers."""
        frame.answers = self._postprocess(frame.outputs, frame.shape)
        frame.outputs = None

    def warm_up(self) -> None:
        """Infer a blank frame, so that no first call is measured."""
        tensors = self._preprocess(np.zeros(_BLANK, np.uint8))
        if self.batch > 1:
            tensors = {
                name: np.concatenate([value] * self.batch) for name, value in tensors.items()
            }
        outputs = self._session.run(tensors)
        self._postprocess({name: _one_of(value, 0) for name, value in outputs.items()}, _BLANK)


def check_batch(variants: Sequence[Variant], batch: int) -> None:
    """Refuse a batch that a model does not take.

    Raises:
        RunFailedError: the words say which it takes.
    """
    for variant in variants:
        if batch not in {1, variant.batch}:
            raise RunFailedError(
                "the model infers %d frame(s) at once, not %d" % (variant.batch, batch)
            )


def _one_of(value: Any, index: int) -> Any:
    if isinstance(value, Quantised):
        return value._replace(values=_row(value.values, index))
    return _row(value, index)


def _row(values: Array, index: int) -> Array:
    return values[index : index + 1]
