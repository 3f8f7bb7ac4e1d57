"""Two runs held against each other: what differs, and how much of the gap that explains."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from edgekit.core.health import HealthSnapshot

CauseKind = Literal[
    "model", "input", "engine", "precision", "rewrites", "files", "threads", "knobs", "device",
    "kernel", "versions", "clocks", "throttling", "under-voltage", "load", "swapping", "heat",
]  # fmt: skip


@dataclass(frozen=True)
class ComparedRun:
    """One candidate of one run, as its folder tells it; ``None`` and empty are not known.

    Attributes:
        name: the run, and the candidate if it has several.
        p50_ms: median of the engine's call.
        interval_ms: 95 % interval of it.
        device: the facts of the device, as plain values.
        reasons: kind and text of everything that spoke against the run.
        health: the device's state before, during and after it.
    """

    name: str
    model: str
    engine: str
    precision: str
    knobs: Mapping[str, str | int]
    bundle: str | None
    p50_ms: float
    interval_ms: tuple[float, float] | None
    end_to_end_ms: float | None
    device: Mapping[str, Any]
    versions: Mapping[str, str]
    rewrites: tuple[str, ...] = ()
    model_sha256: str | None = None
    inputs: tuple[tuple[str, tuple[int, ...]], ...] = ()
    reasons: tuple[tuple[str, str], ...] = ()
    health: tuple[HealthSnapshot, ...] = ()


@dataclass(frozen=True)
class Cause:
    """Something that differs between two runs.

    Attributes:
        text: what, with the values of both.
        factor: how many times as long the second run takes for it alone; ``None`` where that
            cannot be told.
        at_most: how many times at most (or, below 1, at least); ``None`` where nothing bounds it.
    """

    kind: CauseKind
    text: str
    factor: float | None = None
    at_most: float | None = None


@dataclass(frozen=True)
class Comparison:
    """How far two runs lie apart, and why.

    Attributes:
        ratio: how many times as long the second takes as the first.
        differs: whether the runs can tell them apart at all.
        causes: what differs and could be at work.
        left: what remains of ``ratio`` once every known factor is taken out.
        explained: whether what remains is noise, or within what the causes without a known
            factor can do.
        unknown: what could not be held against each other.
    """

    first: ComparedRun
    second: ComparedRun
    ratio: float
    differs: bool
    causes: tuple[Cause, ...]
    left: float
    explained: bool
    unknown: tuple[str, ...]

    def as_json(self) -> Mapping[str, Any]:
        """The comparison under the names that scripts rely on."""
        return {
            "first": _run_json(self.first),
            "second": _run_json(self.second),
            "ratio": self.ratio,
            "differs": self.differs,
            "causes": [asdict(cause) for cause in self.causes],
            "left": self.left,
            "explained": self.explained,
            "unknown": list(self.unknown),
        }


def _run_json(run: ComparedRun) -> Mapping[str, Any]:
    return {
        "name": run.name,
        "model": run.model,
        "engine": run.engine,
        "precision": run.precision,
        "knobs": dict(run.knobs),
        "p50_ms": run.p50_ms,
        "interval_ms": list(run.interval_ms) if run.interval_ms else None,
        "not_believed": [{"kind": kind, "text": text} for kind, text in run.reasons],
    }
