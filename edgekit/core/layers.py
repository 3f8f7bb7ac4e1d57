"""What each layer of a model takes on a device, in the names of the prepared ONNX model."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from edgekit.core.candidate import Candidate
from edgekit.core.names import EngineName, Precision, Status


@dataclass(frozen=True)
class LayerTime:
    """One layer as an engine computes it.

    Attributes:
        name: the engine's own; names of layers that only together are some ONNX nodes, joined.
        nodes: the ONNX nodes that it computes; empty where nobody can tell, or where it is none
            of them (a change of layout).
        operator: as the engine calls it.
        time_ns: median of the profiled runs; ``None`` where the device is emulated.
        share: of all layers' time, 0 to 1.
        unit: what computed it, such as ``CPU``.
        kernel: which of the engine's implementations, where it tells.
    """

    name: str
    nodes: tuple[str, ...]
    operator: str
    time_ns: int | None
    share: float
    unit: str
    kernel: str = ""


@dataclass(frozen=True)
class LayerProfile:
    """All layers of a candidate, in the order in which they were computed.

    Attributes:
        total_ms: of all layers' medians; ``None`` where the device is emulated.
        run_ms: of all layers in the median run: more than ``total_ms`` where something else ran.
        model_ms: median of the whole model in the same process, with nothing profiled.
        ratio: all layers of the fastest profiled run over the fastest run of the model with nothing
            profiled: what profiling adds, and what it misses. Of the fastest, for these are the
            least disturbed by whatever else runs.
        unmapped_share: of the time, what belongs to layers without ONNX nodes.
        runs: how many inferences were profiled.
        method: how the times were taken, where it is not by the engine's own counters.
    """

    engine: EngineName
    precision: Precision
    layers: tuple[LayerTime, ...]
    total_ms: float | None
    model_ms: float | None
    unmapped_share: float
    run_ms: float | None = None
    ratio: float | None = None
    runs: int = 0
    method: str = ""

    def untimed(self) -> "LayerProfile":
        """Return it without times, which mean nothing where the device is emulated."""
        layers = tuple(replace(layer, time_ns=None) for layer in self.layers)
        return replace(self, layers=layers, total_ms=None, run_ms=None, model_ms=None, ratio=None)

    def as_json(self) -> Mapping[str, Any]:
        """The figures under the names that scripts rely on."""
        return asdict(self)


@dataclass(frozen=True)
class LayersRow:
    """A candidate's profile, or why there is none."""

    candidate: Candidate
    status: Status
    reason: str = ""
    profile: LayerProfile | None = None

    def as_json(self) -> Mapping[str, Any]:
        """The row under the names that scripts rely on."""
        candidate = self.candidate
        return {
            "engine": candidate.engine,
            "precision": candidate.precision,
            "knobs": dict(candidate.knobs),
            "status": self.status,
            "reason": self.reason,
            "profile": self.profile.as_json() if self.profile else None,
        }
