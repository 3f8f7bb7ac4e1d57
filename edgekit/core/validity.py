"""Whether a run may be believed, and why not."""

from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

ReasonKind = Literal[
    "throttled",
    "under-voltage",
    "clocks-dropped",
    "hot",
    "swapping",
    "disturbed",
    "noisy",
    "emulated",
]


@dataclass(frozen=True)
class Reason:
    """One thing that makes a run invalid.

    Attributes:
        kind: for scripts.
        text: for people, with the numbers.
        cools: it comes of heat, so that a cool-down before the next run helps.
    """

    kind: ReasonKind
    text: str
    cools: bool = False


EMULATED: Final = Reason(
    "emulated", "the processor is emulated: its times say nothing of a real one's"
)


@dataclass(frozen=True)
class Validity:
    """The judgement of one run.

    Attributes:
        reasons: why it is invalid; none, and it is valid as far as was seen.
        not_judged: what this device, or this run, gave no grounds to judge.
        median_interval_ms: 95 % interval of the median; ``None`` of too few samples.
    """

    reasons: tuple[Reason, ...]
    not_judged: tuple[str, ...]
    median_interval_ms: tuple[float, float] | None

    @property
    def valid(self) -> bool:
        """Nothing speaks against the run."""
        return not self.reasons

    @property
    def cool_down_helps(self) -> bool:
        """A cool-down before the next run removes at least one of the reasons."""
        return any(reason.cools for reason in self.reasons)

    def as_json(self) -> dict[str, Any]:
        """The judgement under the names that scripts rely on."""
        return {"valid": self.valid, "cool_down_helps": self.cool_down_helps, **asdict(self)}
