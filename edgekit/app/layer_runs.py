"""Models that show their layers, built and run on the device beside what is deployed."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.app.arena import Arena, in_one_line
from edgekit.app.bundles import Feasible, assemble
from edgekit.app.entries import Entry, run
from edgekit.core.bundle import Bundle
from edgekit.core.contracts import Unsupported
from edgekit.core.difference import TensorError, worst
from edgekit.core.errors import BuildError, EngineError, ModelError
from edgekit.core.events import Note, ignore
from edgekit.core.model import FileRef, Model
from edgekit.core.quantisation import CalibrationSet

if TYPE_CHECKING:
    from edgekit.prepare.layer_groups import LayerGroup
    from edgekit.prepare.layer_models import LayerModels, Shown

# What one run is fed and gives: boards have as little as half a gigabyte for all.
CHUNK_BYTES: Final = 64 << 20
# Each is a build that failed: an engine that refuses so often will refuse the rest.
_MOST_REFUSALS: Final = 24

Outputs = Mapping[str, Path]
Calibrate = Callable[["Shown"], CalibrationSet]


@dataclass
class LayerRuns:
    """Runs of one engine at one precision.

    Attributes:
        layers: of the model, as the reference made them of ``frame``.
        versions: of the software that ran last.
        copied: whether the engine shows layers in the net only as copies
            (:meth:`~edgekit.prepare.layer_models.LayerModels.exposed`).
        looking: what the outputs with layers shown were away from those of the plain build.
    """

    arena: Arena
    plan: Feasible
    layers: "LayerModels"
    frame: FileRef
    versions: tuple[tuple[str, str], ...] = ()
    copied: bool = False
    looking: list[TensorError] = field(default_factory=list)

    def plain(self, model: Model) -> Outputs:
        """Run the model as it is deployed; also where its build's own check refuses it.

        Raises:
            EngineError: it cannot be built, or its runner fails.
            DeviceError: the device was lost.
        """
        try:
            return self._run(self._built(model, None, judged=True), self.frame)
        except BuildError as error:
            try:
                bundle = self._built(model, None, judged=False)
            except BuildError:
                raise error from None
            text = f"measured all the same: {in_one_line(error)}"
            self.arena.emit(Note(text, warning=True))
            return self._run(bundle, self.frame)

    def shown(self, shown: "Shown", calibration: CalibrationSet | None = None) -> Outputs:
        """Run a model that shows layers; return the tensors of the original graph.

        It is not for its build to judge what is measured here.

        Raises:
            EngineError: it cannot be built, or its runner fails.
            DeviceError: the device was lost.
        """
        given = self._run(self._built(shown.model, calibration, judged=False), shown.frame)
        return {tensor: given[name] for tensor, name in shown.outputs.items()}

    def _built(self, model: Model, calibration: CalibrationSet | None, *, judged: bool) -> Bundle:
        arena, plan = self.arena, self.plan
        refusal = plan.engine.check(model, plan.candidate.precision, arena.target)
        if isinstance(refusal, Unsupported):
            raise EngineError(refusal.reason, hint=refusal.hint)
        if calibration is None and plan.candidate.quantisation is not None:
            calibration = arena.calibration()
        with arena.stopwatch.lap("build"):
            return assemble(
                plan,
                model,
                arena.target,
                arena.device.facts,
                calibration=calibration,
                judged=judged,
                emit=arena.emit,
            )

    def _run(self, bundle: Bundle, frame: FileRef) -> Outputs:
        from edgekit.device import RunRequest

        arena, candidate = self.arena, self.plan.candidate
        arena.deliver_frames((frame,))
        request = RunRequest(
            kind="infer",
            frames=(frame.sha256,),
            knobs=candidate.knobs,
            timeout_s=arena.limits.timeout_s,
        )
        entry = Entry(candidate, bundle, self.plan.runtime.first_load_s)
        result = run(arena, entry, request, ignore)
        self.versions = tuple(sorted(result.versions.items()))
        return result.outputs[0]


@dataclass
class LayerErrors:
    """What was found out of layers, by their names.

    Attributes:
        builds: how many builds showed them.
    """

    found: dict[str, TensorError] = field(default_factory=dict)
    refused: dict[str, str] = field(default_factory=dict)
    builds: int = 0


def accumulated(runs: LayerRuns, plain: Outputs) -> LayerErrors:
    """Show all layers in the whole net; also what that changed of the outputs.

    Args:
        runs: of the engine.
        plain: the outputs of the build that shows nothing.

    Raises:
        DeviceError: the device was lost.
    """

    def measure(chunk: "tuple[LayerGroup, ...]") -> Outputs:
        given = exposed(chunk)
        runs.looking.append(worst([_error_between(plain[name], given[name]) for name in plain]))
        return given

    def exposed(chunk: "tuple[LayerGroup, ...]") -> Outputs:
        if not runs.copied:
            try:
                return runs.shown(runs.layers.exposed(chunk))
            except EngineError as error:
                text = f"layers are shown as copies now: {in_one_line(error)}"
                runs.arena.emit(Note(text))
        given = runs.shown(runs.layers.exposed(chunk, copied=True))
        runs.copied = True
        return given

    return _by_chunks(runs, measure, alone=False)


def alone(runs: LayerRuns, calibrate: Calibrate | None = None) -> LayerErrors:
    """Run every layer by itself, fed with what the reference fed it.

    Args:
        runs: of the engine.
        calibrate: makes the calibration set for what int8 layers are fed; ``None`` for other
            precisions.

    Raises:
        DeviceError: the device was lost.
    """

    def measure(chunk: "tuple[LayerGroup, ...]") -> Outputs:
        shown = runs.layers.exploded(chunk)
        return runs.shown(shown, calibrate(shown) if calibrate is not None else None)

    return _by_chunks(runs, measure, alone=True)


def _by_chunks(
    runs: LayerRuns,
    measure: "Callable[[tuple[LayerGroup, ...]], Outputs]",
    *,
    alone: bool,
) -> LayerErrors:
    """Measure as many layers in one build as go; where a build fails, in halves."""
    made = LayerErrors()
    able = list(_able(runs.layers, made, alone=alone))
    pending = list(runs.layers.chunks(able, CHUNK_BYTES, alone=alone))
    refusals = 0
    while pending:
        chunk = pending.pop(0)
        if refusals >= _MOST_REFUSALS:
            reason = f"not tried after {refusals} builds that failed"
            made.refused.update({group.name: reason for group in chunk})
            continue
        try:
            outputs = measure(chunk)
        except (EngineError, ModelError) as error:
            refusals += 1
            pending[:0] = _halves(runs, chunk, error, made)
            continue
        made.builds += 1
        for group in chunk:
            made.found[group.name] = _error(runs.layers, group, outputs)
    return made


def _able(layers: "LayerModels", made: LayerErrors, *, alone: bool) -> "Iterable[LayerGroup]":
    for group in layers.groups:
        refusal = layers.refusal(group, alone=alone)
        if refusal:
            made.refused[group.name] = refusal
        else:
            yield group


def _halves(
    runs: LayerRuns,
    chunk: "tuple[LayerGroup, ...]",
    error: EngineError | ModelError,
    made: LayerErrors,
) -> "Sequence[tuple[LayerGroup, ...]]":
    if len(chunk) == 1:
        made.refused[chunk[0].name] = in_one_line(error)
        return ()
    middle = len(chunk) // 2
    text = f"{len(chunk)} layers cannot be shown at once, now in halves: {in_one_line(error)}"
    runs.arena.emit(Note(text))
    return chunk[:middle], chunk[middle:]


def _error(layers: "LayerModels", group: "LayerGroup", outputs: Outputs) -> TensorError:
    import numpy as np

    from edgekit.prepare.layer_errors import tensor_error

    return worst(
        [
            tensor_error(layers.value(name), np.load(outputs[name], allow_pickle=False))
            for name in group.made
        ]
    )


def _error_between(before: Path, after: Path) -> TensorError:
    import numpy as np

    from edgekit.prepare.layer_errors import tensor_error

    arrays = (np.load(path, allow_pickle=False) for path in (before, after))
    return tensor_error(*arrays)
