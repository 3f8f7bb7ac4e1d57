"""How far a device's layers lie from the host's: each alone, and in the whole net."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

from edgekit.core.names import Precision

_INT8_STEP: Final = 1 / 255


# Of one value, or of all: what calibration cuts off on purpose is few values, and far off.
Measure = Literal["largest", "rms"]


@dataclass(frozen=True)
class TensorError:
    """One tensor of the device against the reference's; of several, the worst of each figure.

    Attributes:
        max_abs: largest absolute difference.
        relative: the same as a share of the reference tensor's range, zero included; where all
            of the reference is zero, the absolute difference itself.
        rms: root of the mean square of the difference, as a share of the same range.
        decibels: power of the reference above that of the difference; ``None`` where there is
            no difference.
        cosine: of the angle between both.
        non_finite: values that are NaN or infinite on the device and are not in the reference;
            all other figures leave them out.
    """

    max_abs: float
    relative: float
    rms: float
    decibels: float | None
    cosine: float
    non_finite: int = 0

    def by(self, measure: "Measure") -> float:
        """Return the figure that is held against a tolerance."""
        return self.relative if measure == "largest" else self.rms

    def within(self, tolerance: float, measure: "Measure") -> bool:
        """Tell whether the tensor passes; NaN and infinity pass nowhere."""
        return not self.non_finite and self.by(measure) <= tolerance


@dataclass(frozen=True)
class LayerDifference:
    """One layer, which is a node with the elementwise ones behind it that engines fuse with it.

    Attributes:
        name: of its first node in the normal form's ONNX file.
        nodes: names of all its nodes.
        operators: their types.
        shape: of its first output.
        feeds: names of the layers that it reads.
        alone: fed with the reference's own inputs; ``None`` where it could not be measured.
        accumulated: in the whole net, the errors of all layers before it included.
        remark: why a figure is missing.
    """

    name: str
    nodes: tuple[str, ...]
    operators: tuple[str, ...]
    shape: tuple[int, ...]
    feeds: tuple[str, ...]
    alone: TensorError | None
    accumulated: TensorError | None
    remark: str = ""


@dataclass(frozen=True)
class Tolerance:
    """What is let pass, as a share of a tensor's range, and why so much.

    Attributes:
        alone: for a layer by itself.
        accumulated: for a layer in the whole net.
        measure: which difference it is.
        reason: in words.
    """

    alone: float
    accumulated: float
    measure: Measure
    reason: str


@dataclass(frozen=True)
class Difference:
    """The layers of one build on one device against ONNX Runtime on the host.

    Attributes:
        model, engine, precision, target, device: what ran, and where.
        knobs: what the runner was told.
        quantisation: how int8 was made, empty for other precisions.
        frame: sha256 of what both were fed.
        layers: in the order of the graph.
        answer: the outputs of the build as it is deployed, against the reference's.
        looking: the same outputs with all layers shown, against those as deployed: what looking
            changed.
        builds: how many builds were run to show the layers in the whole net, and alone.
        versions: of the software that ran on the device.
    """

    model: str
    engine: str
    precision: Precision
    target: str
    device: str
    knobs: tuple[tuple[str, str | int], ...]
    quantisation: str
    frame: str
    tolerance: Tolerance
    layers: tuple[LayerDifference, ...]
    answer: TensorError
    looking: TensorError | None
    builds: tuple[int, int]
    versions: tuple[tuple[str, str], ...]

    @property
    def first_alone(self) -> LayerDifference | None:
        """The first layer that deviates by itself."""
        return self._first(_alone, self.tolerance.alone)

    @property
    def first_accumulated(self) -> LayerDifference | None:
        """The first layer that deviates in the whole net."""
        return self._first(_accumulated, self.tolerance.accumulated)

    @property
    def passing_alone(self) -> float | None:
        """The least tolerance that every layer passes alone; ``None`` if none does."""
        return _passing(self.layers, _alone, self.tolerance.measure)

    @property
    def passing_accumulated(self) -> float | None:
        """The least tolerance that the answer and every layer in the whole net pass.

        ``None`` if none does.
        """
        measure = self.tolerance.measure
        layers = _passing(self.layers, _accumulated, measure)
        if layers is None or self.answer.non_finite:
            return None
        return max(layers, self.answer.by(measure))

    def fed(self, layer: LayerDifference) -> float:
        """Return how far off in the whole net the worst is of what a layer reads."""
        feeds = [each for each in self.layers if each.name in layer.feeds]
        errors = [each.accumulated for each in feeds if each.accumulated is not None]
        return max((error.by(self.tolerance.measure) for error in errors), default=0.0)

    @property
    def passed(self) -> bool:
        """Whether all that could be measured is within the tolerance, the answer included."""
        within = self.answer.within(self.tolerance.accumulated, self.tolerance.measure)
        return within and self.first_alone is None and self.first_accumulated is None

    def _first(self, side: "Side", tolerance: float) -> LayerDifference | None:
        for layer in self.layers:
            error = side(layer)
            if error is not None and not error.within(tolerance, self.tolerance.measure):
                return layer
        return None

    def as_json(self) -> Mapping[str, Any]:
        """The difference under the names that scripts rely on."""
        first, summed = self.first_alone, self.first_accumulated
        return {
            **{key: getattr(self, key) for key in _PLAIN},
            "knobs": dict(self.knobs),
            "versions": dict(self.versions),
            "passed": self.passed,
            "tolerance": asdict(self.tolerance),
            "first_alone": first.name if first else None,
            "first_accumulated": summed.name if summed else None,
            "passing_alone": self.passing_alone,
            "passing_accumulated": self.passing_accumulated,
            "answer": asdict(self.answer),
            "looking": asdict(self.looking) if self.looking else None,
            "builds": {"accumulated": self.builds[0], "alone": self.builds[1]},
            "layers": [asdict(layer) for layer in self.layers],
        }


Side = Callable[[LayerDifference], TensorError | None]

_PLAIN: Final = ("model", "engine", "precision", "target", "device", "quantisation", "frame")


def _alone(layer: LayerDifference) -> TensorError | None:
    return layer.alone


def _accumulated(layer: LayerDifference) -> TensorError | None:
    return layer.accumulated


def _passing(layers: Sequence[LayerDifference], side: Side, measure: Measure) -> float | None:
    errors = [error for error in map(side, layers) if error is not None]
    if not errors or any(error.non_finite for error in errors):
        return None
    return max(error.by(measure) for error in errors)


def worst(errors: Sequence[TensorError]) -> TensorError:
    """Return the worst of each figure.

    Raises:
        ValueError: there are none.
    """
    ratios = [error.decibels for error in errors if error.decibels is not None]
    return TensorError(
        max_abs=max(error.max_abs for error in errors),
        relative=max(error.relative for error in errors),
        rms=max(error.rms for error in errors),
        decibels=min(ratios, default=None),
        cosine=min(error.cosine for error in errors),
        non_finite=sum(error.non_finite for error in errors),
    )


def default_tolerance(precision: Precision) -> Tolerance:
    """Return what arithmetic of a precision explains, with room, and nothing more."""
    return _DEFAULTS[precision]


def asked_tolerance(precision: Precision, value: float) -> Tolerance:
    """Return a tolerance that was asked for, alone and in the whole net alike."""
    return Tolerance(value, value, _DEFAULTS[precision].measure, "as asked for")


_DEFAULTS: Final[Mapping[Precision, Tolerance]] = {
    "fp32": Tolerance(
        1e-3,
        1e-3,
        "largest",
        "float32 keeps 24 bits: sums in another order differ by some 1e-6 of the range, and "
        "whatever differs a thousand times as much computes something else",
    ),
    "fp16": Tolerance(
        5e-2,
        1e-1,
        "largest",
        "half precision keeps 11 bits, 5e-4 of each value: sums add up a few such roundings, and "
        "3x3 convolutions by Winograd's way make them some fifty times as large",
    ),
    "int8": Tolerance(
        2 * _INT8_STEP,
        8 * _INT8_STEP,
        "rms",
        "a step of int8 is 1/255 of the range: a layer rounds its inputs, weights and outputs, "
        "each by 0.3 steps in the mean, and cuts off what calibration left out (2 steps are let "
        "pass), which adds up in a net (8 steps)",
    ),
}
