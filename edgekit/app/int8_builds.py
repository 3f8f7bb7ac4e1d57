"""``quantize``: each engine's int8, made the way that loses least on this machine."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgekit.app.options import DeployOptions
from edgekit.app.settle import settle_int8
from edgekit.app.start import finished, line_up
from edgekit.core.candidate import CandidateResult
from edgekit.core.events import EventSink, ignore
from edgekit.core.names import EngineName
from edgekit.core.quantisation import ChosenQuantisation


@dataclass(frozen=True)
class Int8Options:
    """What is to be made int8.

    Attributes:
        model: a recipe's name, or the path of an ONNX file.
        engines: empty for all.
        size: input height and width in pixels, ``None`` for the recipe's own.
        calibration: the user's folder, ``None`` for the recipe's set.
        calibration_count: on how many frames; ``None`` for the recipe's number.
        max_drop: ``None`` for the recipe's own.
        cut_head: whether a detector's decode is moved out of the graph.
    """

    model: str
    engines: tuple[EngineName, ...] = ()
    size: tuple[int, int] | None = None
    calibration: Path | None = None
    calibration_count: int | None = None
    max_drop: float | None = None
    cut_head: bool = True


@dataclass(frozen=True)
class Int8Builds:
    """What became of each engine's int8.

    Attributes:
        rows: one for each engine; nothing is measured on a device.
        chosen: what was tried, for the engines whose settings could be judged here.
        max_drop: the limit that held.
    """

    rows: tuple[CandidateResult, ...]
    chosen: Mapping[EngineName, ChosenQuantisation]
    max_drop: float

    @property
    def within_limit(self) -> bool:
        """Whether any engine's int8 loses no more than the limit."""
        drops = [found.drop for found in self.chosen.values() if found.drop is not None]
        return any(drop <= self.max_drop for drop in drops)

    def as_json(self) -> Mapping[str, Any]:
        """Plain values for scripts."""
        return {
            "max_drop": self.max_drop,
            "engines": [
                {
                    "engine": row.candidate.engine,
                    "status": row.status,
                    "size_bytes": row.size_bytes,
                    "reason": row.reason,
                    **(_tried(self.chosen.get(row.candidate.engine))),
                }
                for row in self.rows
            ],
        }


def _tried(chosen: ChosenQuantisation | None) -> Mapping[str, Any]:
    return chosen.as_json() if chosen is not None else {"quantisation": None, "tried": []}


def quantise(options: Int8Options, *, emit: EventSink = ignore) -> Int8Builds:
    """Make the model int8 for each engine, the way that loses least on the calibration side.

    Raises:
        UsageError: what was asked for cannot be meant.
        DeviceError: this machine cannot be used as a device.
    """
    asked = DeployOptions(
        model=options.model,
        target="local",
        device="local",
        engines=options.engines,
        precisions=("int8",),
        size=options.size,
        max_drop=options.max_drop,
        calibration=options.calibration,
        calibration_count=options.calibration_count,
        cut_head=options.cut_head,
        activate=False,
    )
    with ExitStack() as stack:
        start = line_up(asked, stack, emit=emit)
        chosen = settle_int8(start.arena, start.lanes, effort="all")
        for lane in start.lanes:
            if lane.running:
                lane.build()
    return Int8Builds(finished(start.rows), chosen, start.arena.limits.max_drop)
