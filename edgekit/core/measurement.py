"""What was measured on a device. Every field carries its unit in its name."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class BenchPlan:
    """How long to measure: at least ``min_runs`` runs *and* ``min_seconds`` seconds.

    ``max_seconds`` ends a measurement that reached neither; what it has by then counts if it
    is at least one run. Without ``end_to_end`` only the engine's own call is timed.
    """

    warmup_runs: int = 3
    warmup_seconds: float = 0.3
    min_runs: int = 30
    min_seconds: float = 2.0
    max_seconds: float = 60.0
    end_to_end: bool = True


@dataclass(frozen=True)
class Latency:
    """Order statistics of one run's samples, in milliseconds."""

    min: float
    mean: float
    p50: float
    p90: float
    p99: float
    runs: int

    def as_json(self) -> Mapping[str, Any]:
        """The figures under the names that scripts rely on."""
        return asdict(self)


@dataclass(frozen=True)
class Measurement:
    """Speed and memory of one candidate on one device.

    Attributes:
        model: the engine's call alone.
        end_to_end: preprocess, model and postprocess of a frame in memory; ``None`` where the
            recipe has no frames.
        fps: one over the mean of ``model``; ``None`` where the device is emulated.
        memory_peak_bytes: peak resident set of the runner process.
        load_ms: from the start of loading to the first answer being possible.
        samples_ns: the raw samples behind ``model``, in order.
        rounds: how many of them each round has, where candidates were measured by turns.
        measured_at_s: when, in seconds since 1970 by the host's clock.
    """

    model: Latency
    end_to_end: Latency | None
    fps: float | None
    memory_peak_bytes: int | None
    load_ms: float | None
    emulated: bool
    samples_ns: tuple[int, ...] = ()
    end_to_end_samples_ns: tuple[int, ...] = ()
    versions: tuple[tuple[str, str], ...] = ()
    rounds: tuple[int, ...] = ()
    measured_at_s: int | None = None


@dataclass(frozen=True)
class Accuracy:
    """A metric on the device's own outputs, the reference's value, and the drop.

    Attributes:
        metric: ``coco-map``, ``top1``, ``text`` or ``agreement``.
        value: of the candidate, 1 is perfect.
        reference: of the float reference on the same images.
        drop: ``reference - value``, absolute.
        interval: 95 % interval of the drop, by a paired bootstrap over the images; ``None``
            where there are too few to tell.
        images: how many were scored.
        images_needed: how many it would take until the interval clears the limit, where it does
            not; ``None`` where it does, or nobody can say.
    """

    metric: str
    value: float
    reference: float
    drop: float
    interval: tuple[float, float] | None = None
    images: int = 0
    images_needed: int | None = None

    def verdict(self, max_drop: float) -> Literal["pass", "fail", "undecided"]:
        """Tell whether the images decide that the drop is within, or beyond, ``max_drop``."""
        if self.interval is None:
            return "undecided"
        low, high = self.interval
        if high <= max_drop:
            return "pass"
        return "fail" if low > max_drop else "undecided"

    def as_json(self) -> Mapping[str, Any]:
        """The figures under the names that scripts rely on."""
        return {**asdict(self), "interval": list(self.interval) if self.interval else None}


@dataclass(frozen=True)
class OutputError:
    """How far the device's outputs lie from the float reference.

    Attributes:
        max_abs: largest absolute difference of any output element.
        mean_abs: mean absolute difference over all elements.
        min_cosine: smallest cosine similarity of any output tensor.
        max_box_px: largest distance of matched box edges, in frame pixels; detections only.
        max_score: largest difference of matched scores; detections only.
        unmatched: answers that stand on one side only; detections only.
        matched: answers that stand on both sides; detections only.
    """

    max_abs: float
    mean_abs: float
    min_cosine: float
    max_box_px: float | None = None
    max_score: float | None = None
    unmatched: int | None = None
    matched: int | None = None

    def as_json(self) -> Mapping[str, Any]:
        """The figures under the names that scripts rely on."""
        return asdict(self)
