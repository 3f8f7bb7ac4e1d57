"""How an int8 model is made: ranges, where they come from, and what stays in float."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from edgekit.core.model import FileRef

# minmax: the widest range seen. percentile: what a share of all values lies in. kl: the range
# that keeps the distribution. average: a mean of each sample's range. engine: whatever the
# engine's own quantiser does where its ranges cannot be set from outside.
CalibrationMethod = Literal["minmax", "percentile", "kl", "average", "engine"]
CALIBRATION_METHODS: Final[tuple[CalibrationMethod, ...]] = get_args(CalibrationMethod)


@dataclass(frozen=True)
class Quantisation:
    """One way to make a model int8.

    Attributes:
        method: how activation ranges are chosen from what calibration saw.
        float_layers: nodes of the ONNX file in normal form that stay in float, sorted.
    """

    method: CalibrationMethod
    float_layers: tuple[str, ...] = ()

    def as_json(self) -> Mapping[str, Any]:
        """Plain values, as the build job and the report hold them."""
        return {"method": self.method, "float_layers": list(self.float_layers)}


@dataclass(frozen=True)
class CalibrationSet:
    """The inputs on which activation ranges are observed.

    Attributes:
        inputs: for each model input a ``.npy`` of its samples, stacked: ``dtype[N, ...]`` where
            ``N`` counts samples and the rest is the input's shape without its batch axis of one.
        count: how many samples.
        frames: sha256 of the frames that they were made of, sorted; the order of the images
            never counts.
        identity: hash of everything that the inputs depend on, whatever the frames' order.
    """

    inputs: tuple[tuple[str, FileRef], ...]
    count: int
    frames: tuple[str, ...]
    identity: str


@dataclass(frozen=True)
class Int8:
    """All that a build needs for int8."""

    quantisation: Quantisation
    calibration: CalibrationSet
