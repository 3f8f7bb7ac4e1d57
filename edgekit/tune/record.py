"""What one trial of a candidate schedule was, and under what it counts.

Traces and workloads are opaque text here: what TVM's MetaSchedule writes with
``TuningRecord.as_json`` and ``Workload.as_json``. Nothing in this room imports TVM.
"""

import json
import math
from dataclasses import asdict, dataclass, fields
from statistics import median
from typing import Any, Final, Literal, get_args

from edgekit.core.names import ARCHITECTURES, Architecture

CostKind = Literal["seconds", "instructions"]
Failure = Literal["build_error", "run_error", "timeout", "device_lost"]

COST_KINDS: Final[tuple[CostKind, ...]] = get_args(CostKind)
FAILURES: Final[tuple[Failure, ...]] = get_args(Failure)


@dataclass(frozen=True)
class Fingerprint:
    """The hardware that code is made for and timed on, as far as times depend on it.

    Attributes:
        target: name of the kind of board, or of its SoC.
        mcpu: what the compiler takes after ``-mcpu=``.
        features: attributes that go with it, such as ``+dotprod``; the order says nothing.
        threads: that the code is made for; schedules differ with it.
        clocks_mhz: highest clock of each cluster in its order; empty if not known.
        governor: that the clocks were under; empty if not known.
    """

    target: str
    architecture: Architecture
    mcpu: str
    features: tuple[str, ...] = ()
    threads: int = 1
    clocks_mhz: tuple[int, ...] = ()
    governor: str = ""

    def __post_init__(self) -> None:
        _demand(self.target != "" and self.mcpu != "", "target and mcpu must be named")
        _demand(self.architecture in ARCHITECTURES, f"no architecture {self.architecture!r}")
        _demand(self.threads >= 1, "threads must be at least 1")
        _demand(all(clock > 0 for clock in self.clocks_mhz), "clocks must be positive")
        object.__setattr__(self, "features", tuple(sorted(set(self.features))))
        _demand_text(self.target, self.mcpu, self.governor, *self.features)


@dataclass(frozen=True)
class Scope:
    """Within one scope costs compare and traces apply; across scopes they need not.

    Attributes:
        tvm: version of TVM, whose traces no other version is bound to read.
        pipeline: version of the import pipeline, on which the fused graph depends.
        cost: what is counted; seconds and instructions never meet in one ranking.
    """

    fingerprint: Fingerprint
    tvm: str
    pipeline: str
    cost: CostKind = "seconds"

    def __post_init__(self) -> None:
        _demand(self.tvm != "" and self.pipeline != "", "tvm and pipeline must be named")
        _demand(self.cost in COST_KINDS, f"cost must be one of {', '.join(COST_KINDS)}")
        _demand_text(self.tvm, self.pipeline)

    def as_text(self) -> str:
        """Return canonical JSON: equal scopes give equal text."""
        return json.dumps(asdict(self), sort_keys=True, separators=(",", ":"))

    @classmethod
    def from_value(cls, value: object) -> "Scope":
        """Return the scope of a decoded JSON value; :meth:`as_text` undone.

        Raises:
            ValueError: it is not one, and how.
        """
        top = _fields_of(value, cls)
        place = _fields_of(top["fingerprint"], Fingerprint)
        fingerprint = Fingerprint(
            target=_typed(place, "target", str),
            architecture=_typed(place, "architecture", str),
            mcpu=_typed(place, "mcpu", str),
            features=_many(place, "features", str),
            threads=_typed(place, "threads", int),
            clocks_mhz=_many(place, "clocks_mhz", int),
            governor=_typed(place, "governor", str),
        )
        return cls(
            fingerprint,
            tvm=_typed(top, "tvm", str),
            pipeline=_typed(top, "pipeline", str),
            cost=_typed(top, "cost", str),
        )


@dataclass(frozen=True)
class Record:
    """One trial: a trace, and what it cost or how it failed.

    Attributes:
        structural_hash: of the task's module; names the task within a scope.
        task: what people call the task; a model's fused function, such as ``fused_conv2d3``.
        trace: JSON text of the schedule.
        measured_at_s: when, in seconds since the epoch.
        costs: of each run, in the unit that the scope says; empty if it failed.
        failure: how it failed; ``None`` if it did not.
        detail: of the failure, in words.
        flops: floating-point (or integer) operations of the task.
        device: which unit ran it; empty if none did.
    """

    scope: Scope
    structural_hash: str
    task: str
    trace: str
    measured_at_s: float
    costs: tuple[float, ...] = ()
    failure: Failure | None = None
    detail: str = ""
    flops: float = 0.0
    device: str = ""

    def __post_init__(self) -> None:
        _demand(self.structural_hash != "" and self.trace != "", "a trial has a task and a trace")
        _demand(
            bool(self.costs) != bool(self.failure),
            "a trial has either costs or a failure, not both and not none",
        )
        _demand(
            self.failure is None or self.failure in FAILURES,
            f"failure must be one of {', '.join(FAILURES)}",
        )
        _demand(
            all(math.isfinite(cost) and cost > 0 for cost in self.costs), "costs must be positive"
        )
        _demand(math.isfinite(self.flops) and self.flops >= 0, "flops must not be negative")
        _demand(math.isfinite(self.measured_at_s), "measured_at_s must be a time")
        object.__setattr__(self, "costs", tuple(float(cost) for cost in self.costs))
        object.__setattr__(self, "flops", float(self.flops))
        object.__setattr__(self, "measured_at_s", float(self.measured_at_s))
        _demand_text(self.structural_hash, self.task, self.trace, self.detail, self.device)

    @property
    def cost(self) -> float:
        """Median of the costs, which one disturbed run does not move; infinite for a failure."""
        return median(self.costs) if self.costs else math.inf

    def as_value(self) -> dict[str, object]:
        """Return plain JSON values, without the scope."""
        return {entry.name: getattr(self, entry.name) for entry in _OWN}

    @classmethod
    def from_value(cls, value: object, scope: Scope) -> "Record":
        """Return the record of a decoded JSON value; :meth:`as_value` undone.

        Raises:
            ValueError: it is not one, and how.
        """
        top = _fields_of(value, cls, without="scope")
        failure = top["failure"]
        return cls(
            scope,
            structural_hash=_typed(top, "structural_hash", str),
            task=_typed(top, "task", str),
            trace=_typed(top, "trace", str),
            measured_at_s=_typed(top, "measured_at_s", float),
            costs=_many(top, "costs", float),
            failure=None if failure is None else _typed(top, "failure", str),
            detail=_typed(top, "detail", str),
            flops=_typed(top, "flops", float),
            device=_typed(top, "device", str),
        )


_OWN: Final = tuple(entry for entry in fields(Record) if entry.name != "scope")


def _demand(holds: bool, text: str) -> None:
    if not holds:
        raise ValueError(text)


def _demand_text(*texts: str) -> None:
    for text in texts:
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ValueError("text with half a surrogate pair cannot be kept") from None


def _fields_of(value: object, schema: type[Any], without: str = "") -> dict[str, Any]:
    wanted = {entry.name for entry in fields(schema)} - {without}
    if not isinstance(value, dict):
        raise ValueError(f"a {schema.__name__.lower()} is an object")  # noqa: TRY004 - of a file
    lacking, unknown = sorted(wanted - value.keys()), sorted(value.keys() - wanted)
    _demand(not lacking, f"no {', '.join(lacking)}")
    _demand(not unknown, f"unknown: {', '.join(unknown)}")
    return value


_WORDS: Final = {str: "text", int: "a whole number", float: "a number"}


def _typed(value: dict[str, Any], name: str, kind: type) -> Any:  # noqa: ANN401 - as asked for
    return _of_kind(value[name], name, kind)


def _many(value: dict[str, Any], name: str, kind: type) -> tuple[Any, ...]:
    if not isinstance(value[name], list):
        raise ValueError(f"{name} must be an array")  # noqa: TRY004 - a fault of a file
    return tuple(_of_kind(each, name, kind) for each in value[name])


def _of_kind(found: object, name: str, kind: type) -> Any:  # noqa: ANN401 - as asked for
    allowed: tuple[type, ...] = (int, float) if kind is float else (kind,)
    if not isinstance(found, allowed) or isinstance(found, bool):
        raise ValueError(f"{name} must be {_WORDS[kind]}")  # noqa: TRY004 - a fault of a file
    try:
        return kind(found)
    except OverflowError:
        raise ValueError(f"{name} is too large a number") from None
