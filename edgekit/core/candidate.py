"""One way to run a model: engine, precision, knobs; and what became of it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from edgekit.core.knobs import Knobs
from edgekit.core.measurement import Accuracy, Latency, Measurement, OutputError
from edgekit.core.names import EngineName, Precision, Status
from edgekit.core.quantisation import Quantisation
from edgekit.core.validity import Reason


@dataclass(frozen=True)
class Candidate:
    """Engine, precision, how it is built and how it is run; not yet built.

    Attributes:
        knobs: what the runner is told on the device, such as ``threads``.
        quantisation: how int8 is made; ``None`` at any other precision.
        rewrites: lossless rewrites of the graph that it is built from
            (``edgekit.prepare.lossless``).
    """

    engine: EngineName
    precision: Precision
    knobs: Knobs = ()
    quantisation: Quantisation | None = None
    rewrites: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.engine} {self.precision}"


@dataclass(frozen=True)
class CandidateResult:
    """One row of the table. Whatever was not measured is ``None``, never a made-up number.

    Attributes:
        status: ``ok`` ran and passed; ``gate`` ran and missed the gate; ``failed`` broke;
            ``skipped`` was not judged; ``unsupported`` cannot be; ``invalid`` was measured,
            but not so that it may be believed.
        reason: in words; with ``ok`` only where the figures want a remark.
        size_bytes: the engine's own files.
        bundle: the bundle's identity once it was built.
        doubts: why the times are not to be believed; empty where nothing spoke against them.
    """

    candidate: Candidate
    status: Status
    reason: str = ""
    size_bytes: int | None = None
    measurement: Measurement | None = None
    accuracy: Accuracy | None = None
    error: OutputError | None = None
    bundle: str | None = None
    doubts: tuple[Reason, ...] = ()

    def as_json(self) -> Mapping[str, Any]:
        """The row under the names that scripts rely on."""
        measured = self.measurement
        return {
            "engine": self.candidate.engine,
            "precision": self.candidate.precision,
            "knobs": dict(self.candidate.knobs),
            "quantisation": self.candidate.quantisation.as_json()
            if self.candidate.quantisation
            else None,
            "rewrites": list(self.candidate.rewrites),
            "status": self.status,
            "reason": self.reason,
            "size_bytes": self.size_bytes,
            "latency_ms": _latency(measured.model if measured else None),
            "end_to_end_ms": _latency(measured.end_to_end if measured else None),
            "fps": measured.fps if measured else None,
            "memory_peak_bytes": measured.memory_peak_bytes if measured else None,
            "load_ms": measured.load_ms if measured else None,
            "accuracy": self.accuracy.as_json() if self.accuracy else None,
            "error": self.error.as_json() if self.error else None,
            "bundle": self.bundle,
            "doubts": [asdict(reason) for reason in self.doubts],
        }


def _latency(latency: Latency | None) -> Mapping[str, Any] | None:
    return latency.as_json() if latency else None
