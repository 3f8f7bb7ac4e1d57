"""How an int8 model is made: ranges, where they come from, and what stays in float."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
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

    def __str__(self) -> str:
        count = len(self.float_layers)
        kept = f", {count} layer{'s' if count > 1 else ''} in float" if count else ""
        return f"{self.method}{kept}"


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


# A tenth of the signal's power is noise: detections go astray.
RUIN_DB: Final = 10.0


@dataclass(frozen=True)
class LayerLoss:
    """What int8 costs in one layer while all others stay in float.

    Attributes:
        name: of the node in the normal form's ONNX file.
        operator: its type.
        weighted: whether it has weights of its own.
        decibels: signal above quantisation noise in the part of the outputs that suffers most;
            below :data:`RUIN_DB` the part is hardly of use, at 0 nothing of it is left.
        suffers: that part, such as ``head8 classes``.
        share: how much of the noise in that part is this layer's, if all layers' add up.
    """

    name: str
    operator: str
    weighted: bool
    decibels: float
    suffers: str
    share: float


@dataclass(frozen=True)
class Sensitivity:
    """Every layer that int8 touches, the worst first."""

    layers: tuple[LayerLoss, ...]
    method: CalibrationMethod
    samples: int

    def as_json(self) -> Mapping[str, Any]:
        """Plain values for the report."""
        return {
            "method": self.method,
            "samples": self.samples,
            "layers": [asdict(layer) for layer in self.layers],
        }

    def float_plan(self, count: int) -> tuple[str, ...]:
        """Return the names of the worst ``count`` layers with weights, sorted."""
        return tuple(sorted(layer.name for layer in self.weighted[:count]))

    @property
    def weighted(self) -> tuple[LayerLoss, ...]:
        """The layers that an engine could keep in float, the worst first."""
        return tuple(layer for layer in self.layers if layer.weighted)

    @property
    def ruinous(self) -> tuple[LayerLoss, ...]:
        """The layers that leave hardly anything of an output."""
        return tuple(layer for layer in self.layers if layer.decibels < RUIN_DB)


@dataclass(frozen=True)
class Tried:
    """One way to make int8, and what it lost; ``error`` says in words why that is not known."""

    quantisation: Quantisation
    drop: float | None
    error: str = ""

    def as_json(self) -> Mapping[str, Any]:
        """Plain values for the report."""
        return {**self.quantisation.as_json(), "drop": self.drop, "error": self.error}


@dataclass(frozen=True)
class ChosenQuantisation:
    """The best way to make int8 that was found.

    Attributes:
        quantisation: how.
        drop: what it loses on the calibration side; ``None`` where no way could be judged.
        tried: all ways, in the order in which they were tried.
        reason: in words; where the limit is missed it says so.
    """

    quantisation: Quantisation
    drop: float | None
    tried: tuple[Tried, ...]
    reason: str

    def as_json(self) -> Mapping[str, Any]:
        """Plain values for the report."""
        return {
            "quantisation": self.quantisation.as_json(),
            "drop": self.drop,
            "tried": [each.as_json() for each in self.tried],
            "reason": self.reason,
        }
