"""One candidate measured by itself, with what proves that the figures may be believed."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit.core.clocks import PinnedClocks, ReleasedClocks
from edgekit.core.health import HealthSnapshot
from edgekit.core.knobs import Knobs
from edgekit.core.measurement import BenchPlan, Measurement
from edgekit.core.target import DeviceFacts
from edgekit.core.validity import Validity


@dataclass(frozen=True)
class Subject:
    """What was measured.

    Attributes:
        model: the recipe's name.
        bundle: identity of all that ran, knobs included.
        target: which it was built for.
        model_sha256: of the model as it was prepared; ``None`` where the device alone knew what
            it runs.
        inputs: each input's name and shape; empty likewise.
        rewrites: lossless rewrites of the graph that it was built from; empty likewise.
    """

    model: str
    engine: str
    precision: str
    knobs: Knobs
    bundle: str
    target: str
    model_sha256: str | None = None
    inputs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    rewrites: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.model} {self.engine} {self.precision}"

    def as_json(self) -> Mapping[str, Any]:
        """The subject under the names that scripts rely on."""
        inputs = {name: list(shape) for name, shape in self.inputs}
        return {**asdict(self), "knobs": dict(self.knobs), "inputs": inputs}


@dataclass(frozen=True)
class Attempt:
    """A run that was not believed, and what was waited for before the next one.

    Attributes:
        validity: why.
        p50_ms: what it would have told.
        waited_s: until the next run.
    """

    validity: Validity
    p50_ms: float
    waited_s: float

    def as_json(self) -> Mapping[str, Any]:
        """The attempt under the names that scripts rely on."""
        return {**asdict(self), "validity": self.validity.as_json()}


@dataclass(frozen=True)
class SoakWindow:
    """A stretch of a long run.

    Attributes:
        start_s, end_s: since the first inference.
        temperature_c: of the hottest zone, the highest of the readings in it.
        clock_mhz: of the fastest cluster, the lowest of the readings in it.
    """

    start_s: float
    end_s: float
    fps: float
    temperature_c: float | None
    clock_mhz: float | None


@dataclass(frozen=True)
class Soak:
    """How speed held out.

    Attributes:
        windows: in order.
        initial_fps: of the first tenth, sustained_fps: of the last quarter.
        throttled_after_s: when a sign of throttling was first seen; ``None``: never.
        sign: that sign, in words.
        slowed_after_s: from when on every window was more than 5 % slower than the first tenth;
            ``None``: speed held.
    """

    windows: tuple[SoakWindow, ...]
    initial_fps: float
    sustained_fps: float
    throttled_after_s: float | None
    sign: str
    slowed_after_s: float | None

    def as_json(self) -> Mapping[str, Any]:
        """The figures under the names that scripts rely on."""
        return asdict(self)


@dataclass(frozen=True)
class PowerFigures:
    """What a run took, of the rail or rails that stand for the device.

    Attributes:
        name: ``board``, ``wall``, ``sum of rails`` or ``no sensor``.
        j_per_inference, above_idle_j_per_inference, mean_w: ``None`` where they cannot be told.
        words: all there is to say: scope, sensors, rate, uncertainty, the sampler's own cost, or
            why nothing can be told.
        details: the same of every rail, under names that carry their units.
    """

    name: str
    j_per_inference: float | None
    above_idle_j_per_inference: float | None
    mean_w: float | None
    words: tuple[str, ...]
    details: Mapping[str, Any]

    def as_json(self) -> Mapping[str, Any]:
        """The figures under the names that scripts rely on."""
        return {**asdict(self), "words": list(self.words), "details": dict(self.details)}


@dataclass(frozen=True)
class BenchResult:
    """The run that counts, believed or not, and those before it.

    Attributes:
        plan: how long was measured at least.
        attempts: runs before it that were not believed, in order.
        health: the device's state before, during and after it.
        spans_ns: when ``model`` and ``end_to_end`` began and ended by the device's clock.
        soak: of a long run.
        power: of the engine's calls; ``None`` where it was not asked for.
    """

    subject: Subject
    plan: BenchPlan
    measurement: Measurement
    validity: Validity
    attempts: tuple[Attempt, ...]
    health: tuple[HealthSnapshot, ...]
    spans_ns: Mapping[str, tuple[int, int]]
    soak: Soak | None = None
    power: PowerFigures | None = None

    def as_json(self) -> Mapping[str, Any]:
        """The result under the names that scripts rely on; samples and health stand apart."""
        measured = self.measurement
        return {
            "subject": self.subject.as_json(),
            "plan": asdict(self.plan),
            "latency_ms": measured.model.as_json(),
            "end_to_end_ms": measured.end_to_end.as_json() if measured.end_to_end else None,
            "fps": measured.fps,
            "memory_peak_bytes": measured.memory_peak_bytes,
            "load_ms": measured.load_ms,
            "versions": dict(measured.versions),
            "measured_at_s": measured.measured_at_s,
            "validity": self.validity.as_json(),
            "attempts": [attempt.as_json() for attempt in self.attempts],
            "spans_ns": {name: list(span) for name, span in self.spans_ns.items()},
            "soak": self.soak.as_json() if self.soak else None,
            "power": self.power.as_json() if self.power else None,
        }


@dataclass(frozen=True)
class FixedClocks:
    """Clocks that were to be pinned meanwhile: what the device took, and what became of them.

    Attributes:
        released: ``None`` where nothing could be pinned, or the link was lost.
    """

    pinned: PinnedClocks
    released: ReleasedClocks | None

    @property
    def held(self) -> bool:
        """Whether what was pinned held to the end."""
        return not any(clock.set for clock in self.pinned.clocks) or (
            self.released is not None and self.released.held
        )

    def as_json(self) -> Mapping[str, Any]:
        """The clocks under the names that scripts rely on."""
        return {
            "pinned": self.pinned.cores_pinned,
            "held": self.held,
            "clocks": [asdict(clock) for clock in self.pinned.clocks],
            "why_not": list(self.pinned.why_not),
            "released": asdict(self.released) if self.released else None,
        }


@dataclass(frozen=True)
class BenchReport:
    """What ``bench`` answers with: one result for each candidate, and where it was.

    Attributes:
        clocks: what became of them when they were to be pinned; ``None``: they were not.
    """

    run_id: str
    device_name: str
    facts: DeviceFacts
    results: tuple[BenchResult, ...]
    run_dir: Path
    clocks: FixedClocks | None = None

    @property
    def valid(self) -> bool:
        """All of it may be believed: clocks that were pinned held to the end, too."""
        lost = self.clocks is not None and not self.clocks.held
        return not lost and all(result.validity.valid for result in self.results)

    def as_json(self) -> Mapping[str, Any]:
        """The report under the names that scripts rely on."""
        return {
            "kind": "bench",
            "run_id": self.run_id,
            "device": {"name": self.device_name, **asdict(self.facts)},
            "results": [result.as_json() for result in self.results],
            "valid": self.valid,
            "clocks": self.clocks.as_json() if self.clocks else None,
            "run_dir": str(self.run_dir),
        }
