"""The result of a deployment."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgekit.core.candidate import Candidate, CandidateResult
from edgekit.core.target import DeviceFacts


@dataclass(frozen=True)
class Choice:
    """The winner, and why it won, in words.

    ``missed`` are the goals that it does not reach: then it is the best there is, not good
    enough.
    """

    candidate: Candidate
    bundle: str
    reason: str
    missed: tuple[str, ...] = ()

    def as_json(self) -> Mapping[str, Any]:
        """The choice under the names that scripts rely on."""
        return {
            "engine": self.candidate.engine,
            "precision": self.candidate.precision,
            "knobs": dict(self.candidate.knobs),
            "bundle": self.bundle,
            "reason": self.reason,
            "missed": list(self.missed),
        }


@dataclass(frozen=True)
class Activation:
    """What is active on the device, and what ``rollback`` would bring back."""

    current: str | None
    previous: str | None
    generation: int
    changed: bool

    def as_json(self) -> Mapping[str, Any]:
        """Plain JSON values."""
        return asdict(self)


@dataclass(frozen=True)
class Transfer:
    """What a push moved: only content that the device lacked."""

    files_sent: int
    bytes_sent: int
    files_present: int


@dataclass(frozen=True)
class Report:
    """One deployment: every candidate, the choice, and what is active now.

    ``best`` is the best candidate that passed the gate; ``chosen`` is the same one, or ``None``
    where it misses a goal. ``pareto`` are the indices of those candidates that no other beats in
    speed, accuracy and size at once. ``valid`` is false where nothing measured deserves belief
    as a speed (an emulated device, or a disturbed run).
    """

    run_id: str
    recipe: str
    target: str
    device_name: str
    facts: DeviceFacts
    candidates: tuple[CandidateResult, ...]
    best: Choice | None
    pareto: tuple[int, ...]
    active: Activation | None
    transfer: Transfer
    valid: bool
    run_dir: Path
    seconds: Mapping[str, float]

    @property
    def chosen(self) -> Choice | None:
        """The winner, if it reaches every goal."""
        return self.best if self.best and not self.best.missed else None

    def as_json(self) -> Mapping[str, Any]:
        """The report under the names that scripts rely on."""
        return {
            "run_id": self.run_id,
            "recipe": self.recipe,
            "target": self.target,
            "device": {"name": self.device_name, **asdict(self.facts)},
            "candidates": [row.as_json() for row in self.candidates],
            "chosen": self.chosen.as_json() if self.chosen else None,
            "best": self.best.as_json() if self.best else None,
            "pareto": list(self.pareto),
            "active": self.active.as_json() if self.active else None,
            "transfer": asdict(self.transfer),
            "valid": self.valid,
            "run_dir": str(self.run_dir),
            "seconds": dict(self.seconds),
        }
