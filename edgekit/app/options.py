"""What a user asks of a deployment, checked."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, cast

from edgekit.core.errors import UsageError
from edgekit.core.goal import Goal
from edgekit.core.measurement import BenchPlan
from edgekit.core.names import ENGINE_NAMES, PRECISIONS, EngineName, Precision, unknown_name

AUTO: Final = "auto"


@dataclass(frozen=True)
class DeployOptions:
    """One deployment as it was asked for.

    Attributes:
        model: a recipe's name, or the path of an ONNX file.
        target: a target's name; ``None``: what the device's entry or the settings say.
        device: ``local``, ``virtual[:NAME]``, ``user@host[:port]`` or a name from the inventory.
        engines, precisions: empty for all.
        size: input height and width in pixels, ``None`` for the recipe's own.
        threads: ``None`` for the number of cores in the fastest cluster.
        goals: in order of priority; ``()`` for the recipe's own.
        max_drop: ``None`` for the recipe's own.
        images: folder of images to compare outputs on, ``None`` for the recipe's own.
        frames: on how many; ``None`` for the recipe's own number, few on an emulated device.
        plan: how long to measure; ``None`` for the default, a single run where the device is
            emulated.
        accept_licence: engines whose vendor's terms are accepted, beside those of the settings.
        activate: whether the winner becomes the device's current bundle.
        calibration: folder of images for int8's ranges, ``None`` for the recipe's set.
        calibration_count: on how many of them.
        labels: COCO annotations, or lines ``FILE LABEL``, for ``images``.
        evaluate: images to tell accuracy on; ``None`` for the recipe's own number.
        cut_head: whether decode may be moved out of the graph.
        quick: each engine's defaults only, no search for settings.
        fresh: whether to measure again what was measured before.
        repeat_budget_s: seconds to wait and to measure again what is not believed; ``None``: as
            the settings say.
        timeout_s: after which one run on the device counts as hung.
    """

    model: str
    target: str | None = None
    device: str | None = None
    engines: tuple[EngineName, ...] = ()
    precisions: tuple[Precision, ...] = ()
    size: tuple[int, int] | None = None
    threads: int | None = None
    goals: tuple[Goal, ...] = ()
    max_drop: float | None = None
    images: Path | None = None
    frames: int | None = None
    plan: BenchPlan | None = None
    accept_new: bool = False
    accept_licence: tuple[EngineName, ...] = ()
    activate: bool = True
    calibration: Path | None = None
    calibration_count: int | None = None
    labels: Path | None = None
    evaluate: int | None = None
    cut_head: bool = True
    quick: bool = False
    fresh: bool = False
    repeat_budget_s: float | None = None
    timeout_s: float | None = None

    def as_json(self) -> Mapping[str, Any]:
        """Plain values for the run's folder, so that the run can be asked for again."""
        return {
            "model": self.model,
            "target": self.target,
            "device": self.device,
            "engine": list(self.engines) or "auto",
            "precision": list(self.precisions) or "auto",
            "size": self.size,
            "threads": self.threads,
            "goal": [str(goal) for goal in self.goals],
            "max_drop": self.max_drop,
            "images": str(self.images) if self.images else None,
            "frames": self.frames,
            "accept_licence": list(self.accept_licence),
            "activate": self.activate,
            "calibration": str(self.calibration) if self.calibration else None,
            "calibration_count": self.calibration_count,
            "labels": str(self.labels) if self.labels else None,
            "evaluate": self.evaluate,
            "cut_head": self.cut_head,
            "quick": self.quick,
            "fresh": self.fresh,
            "repeat_budget_s": self.repeat_budget_s,
            "timeout_s": self.timeout_s,
        }


def parse_engines(text: str) -> tuple[EngineName, ...]:
    """Read ``a,b`` or ``auto`` (which is all of them: an empty tuple).

    Raises:
        UnknownNameError: edgekit knows no engine of that name.
    """
    names = _split(text)
    for name in names:
        if name not in (AUTO, *ENGINE_NAMES):
            raise unknown_name("engine", name, ENGINE_NAMES)
    return () if AUTO in names else tuple(cast("EngineName", name) for name in names)


def parse_precisions(text: str) -> tuple[Precision, ...]:
    """Read ``fp32,fp16`` or ``auto`` (which is all of them: an empty tuple).

    Raises:
        UnknownNameError: there is no such precision.
    """
    names = _split(text)
    for name in names:
        if name not in (AUTO, *PRECISIONS):
            raise unknown_name("precision", name, PRECISIONS)
    return () if AUTO in names else tuple(cast("Precision", name) for name in names)


def parse_size(text: str) -> tuple[int, int]:
    """Read ``320`` or ``480x640`` (height x width), in pixels.

    Raises:
        UsageError: it is not one or two positive whole numbers.
    """
    parts = text.lower().split("x")
    if len(parts) > 2 or not all(part.isdecimal() and int(part) > 0 for part in parts):  # noqa: PLR2004
        raise UsageError(
            f"{text!r} is not a size", hint="write 320, or 480x640 for height x width, in pixels"
        )
    return int(parts[0]), int(parts[-1])


def _split(text: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def bench_plan(*, runs: int | None, seconds: float | None) -> BenchPlan | None:
    """Plan at least ``runs`` runs and ``seconds`` seconds; ``None`` if neither is said.

    Who asks for less than a moment is not kept waiting by a warm-up that takes longer.
    """
    if runs is None and seconds is None:
        return None
    plan = BenchPlan()
    min_seconds = plan.min_seconds if seconds is None else seconds
    return replace(
        plan,
        warmup_seconds=min(plan.warmup_seconds, min_seconds),
        min_runs=plan.min_runs if runs is None else runs,
        min_seconds=min_seconds,
        max_seconds=max(plan.max_seconds, 2 * min_seconds),
    )
