"""What all candidates of one race share: the device, the model, what they are judged on."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgekit.app.memory import Memory
from edgekit.app.patience import Patience
from edgekit.app.prebuilt import Prebuilt
from edgekit.app.stopwatch import Stopwatch
from edgekit.core.bundle import Bundle, BundleFile
from edgekit.core.errors import EngineError, MeasurementInvalidError, ModelError
from edgekit.core.events import EventSink, StepFinished, StepStarted, ignore
from edgekit.core.measurement import BenchPlan
from edgekit.core.model import FileRef, Model
from edgekit.core.quantisation import CalibrationSet
from edgekit.core.recipe import Recipe
from edgekit.core.report import Transfer
from edgekit.core.target import Target

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit.device import Device
    from edgekit.prepare.answers import Answers
    from edgekit.prepare.evaluation import EvaluationSet
    from edgekit.prepare.reference import ReferenceOutputs


@dataclass(frozen=True)
class Limits:
    """How long candidates are measured, and what they must reach.

    Attributes:
        plan: of the last measurement, over all its rounds together.
        rounds: how many turns each candidate gets in it.
        max_drop: largest drop in accuracy that passes the gate.
        timeout_s: after which a single run counts as hung.
    """

    plan: BenchPlan
    rounds: int
    max_drop: float
    timeout_s: float


@dataclass
class Arena:
    """One race's surroundings. ``transfer`` counts what all candidates sent.

    Attributes:
        frames, reference: what outputs are compared on, and what is expected there; none where
            nothing is judged.
        evaluation: what accuracy is told on; ``None`` where the recipe names nothing, and
            agreement on ``frames`` must do.
        prebuilt: what devices like this one made of builds, beside what is built here.
        loaded: contents of entries (``edgekit.app.entries``) that this device has loaded before.
        calibration_images: the user's own folder, ``None`` for the recipe's set.
        patience: how long may be waited for a turn that is believed.
    """

    device: "Device"
    recipe: Recipe
    target: Target
    model: Model
    frames: tuple[FileRef, ...]
    reference: "ReferenceOutputs | None"
    evaluation: "EvaluationSet | None"
    limits: Limits
    memory: Memory
    prebuilt: Prebuilt
    emit: EventSink
    stopwatch: Stopwatch
    calibration_images: "Path | None" = None
    calibration_count: int | None = None
    patience: Patience = field(default_factory=Patience)
    loaded: set[str] = field(default_factory=set)
    transfer: Transfer = field(default_factory=lambda: Transfer(0, 0, 0))
    _variants: dict[tuple[str, ...], Model] = field(default_factory=dict)
    _calibrations: dict[tuple[str, ...], CalibrationSet] = field(default_factory=dict)
    _delivered: set[str] = field(default_factory=set)
    _expected: "tuple[Answers, ...] | None" = None

    @property
    def emulated(self) -> bool:
        """Whether times mean nothing here."""
        return self.device.facts.emulated

    def variant(self, rewrites: tuple[str, ...]) -> Model:
        """Return the model after lossless rewrites.

        Raises:
            ModelError: they do not apply.
        """
        from edgekit.prepare.lossless import rewritten

        if not rewrites:
            return self.model
        if rewrites not in self._variants:
            made = rewritten(self.model, rewrites, emit=self.emit)
            if made is None:
                raise ModelError(f"{self.model.name} cannot be rewritten by {', '.join(rewrites)}")
            self._variants[rewrites] = made
        return self._variants[rewrites]

    def calibration(self, rewrites: tuple[str, ...] = ()) -> CalibrationSet:
        """Return the calibration set as a variant's inputs want it.

        Raises:
            UsageError: there are too few images, or they cannot be read.
        """
        from edgekit.prepare.calibration import load_calibration

        if rewrites not in self._calibrations:
            self._calibrations[rewrites] = load_calibration(
                self.recipe,
                self.variant(rewrites),
                images=self.calibration_images,
                count=self.calibration_count,
                emit=self.emit,
            )
        return self._calibrations[rewrites]

    def expected(self) -> "tuple[Answers, ...]":
        """Return the float reference's answers on the evaluation set, worked out once.

        Raises:
            ModelError: the reference cannot be run.
        """
        from edgekit.prepare.scoring import reference_answers

        assert self.evaluation is not None  # noqa: S101 - who scores looked before
        if self._expected is None:
            self._expected = reference_answers(self.evaluation, self.model, emit=self.emit)
        return self._expected

    def push(self, content: Sequence[BundleFile]) -> None:
        """Send content that the device lacks."""
        with self.stopwatch.lap("push"):
            sent = self.device.push(content, self.emit)
        self.transfer = Transfer(
            self.transfer.files_sent + sent.files_sent,
            self.transfer.bytes_sent + sent.bytes_sent,
            self.transfer.files_present + sent.files_present,
        )

    def deliver(self, bundle: Bundle) -> None:
        """Send and install a bundle, once."""
        if bundle.identity in self._delivered:
            return
        self.push(bundle.content)
        with self.stopwatch.lap("install"):
            self.device.install(bundle, ignore)
        self._delivered.add(bundle.identity)

    def deliver_frames(self, frames: Sequence[FileRef]) -> None:
        """Send frames, once."""
        absent = [frame for frame in frames if frame.sha256 not in self._delivered]
        if absent:
            self.push(frame_content(absent))
            self._delivered.update(frame.sha256 for frame in absent)

    @contextmanager
    def step(self, step: str, title: str) -> Iterator[None]:
        """Tell of a step's beginning and end."""
        self.emit(StepStarted(step, title))
        try:
            yield
        except BaseException:
            self.emit(StepFinished(step, "failed", ok=False))
            raise
        self.emit(StepFinished(step))


def frame_content(frames: Sequence[FileRef]) -> tuple[BundleFile, ...]:
    """Return frames as content that can be pushed to a device."""
    return tuple(
        BundleFile(f"frames/{frame.sha256}", frame.sha256, frame.size_bytes, frame.path)
        for frame in frames
    )


def in_one_line(error: EngineError | MeasurementInvalidError | ModelError) -> str:
    """Return an error and its hint as a row's reason."""
    text = f"{error.message} ({error.hint})" if error.hint else error.message
    return " ".join(text.split())


def part_of(plan: BenchPlan, rounds: int) -> BenchPlan:
    """Return the share of ``plan`` that each of its rounds takes."""
    return replace(
        plan,
        min_runs=-(-plan.min_runs // rounds),
        min_seconds=plan.min_seconds / rounds,
        max_seconds=plan.max_seconds / rounds,
    )
