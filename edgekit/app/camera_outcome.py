"""What a pipeline's run comes to: figures, the record, a timeline."""

import errno
import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.app.camera_inputs import Inputs
from edgekit.app.camera_progress import Seen
from edgekit.app.camera_subject import CameraSubject
from edgekit.core.camera import CameraFigures, PipelineSpec
from edgekit.core.errors import UsageError
from edgekit.core.layers import LayerProfile
from edgekit.core.power import PowerRecord
from edgekit.onboard.camera.passwords import without_passwords

if TYPE_CHECKING:
    from edgekit.camera.record import CameraRecord
    from edgekit.device import RunResult

TRACE_NAME: Final = "trace.perfetto-trace"
_NS: Final = 1e9
_RESULT: Final = "report.json"


@dataclass(frozen=True)
class Timeline:
    """What is wanted of a run's timeline.

    Attributes:
        path: where it goes; ``None``: beside the record, if one can be drawn.
        layers: of the first bundle, profiled before; ``None``: not known.
    """

    path: Path | None = None
    layers: LayerProfile | None = None


@dataclass(frozen=True)
class CameraOutcome:
    """One run of a pipeline.

    Attributes:
        bundles: identity and engine with precision of each, the first choice first.
        source: what it told of itself.
        decoded: the picture that was made of a frame, ``by`` times smaller: ``by``, ``width`` and
            ``height``; ``None`` where it is not told.
        figures: without times where the device is emulated.
        folder: on the host, with the record and all that came home.
        trace: the timeline; ``None``: Perfetto's package is not here, or it is unwritten.
        answers: where a sink's file was brought to; ``None``: it writes none here, or likewise.
        unwritten: what could not be written on the host, and why. The figures are there all the
            same.
        stopped: whether it was ended before its time.
        broken: why the pipeline itself ended before its time; empty where it did not.
        switches: seconds after the beginning, what ran from then on, and why.
        watts: mean; ``None`` where there is no sensor, or the device is emulated.
    """

    device: str
    model: str
    bundles: tuple[tuple[str, str], ...]
    emulated: bool
    spec: PipelineSpec
    source: Mapping[str, Any]
    decoded: Mapping[str, int] | None
    figures: CameraFigures
    folder: Path
    trace: Path | None
    answers: Path | None
    unwritten: tuple[str, ...]
    stopped: bool
    broken: str
    switches: tuple[tuple[float, str, str], ...]
    watts: float | None
    hottest_c: float | None

    def as_json(self) -> Mapping[str, Any]:
        """The outcome under the names that scripts rely on."""
        return {
            **asdict(self),
            "bundles": [{"bundle": each, "runs": runs} for each, runs in self.bundles],
            "spec": self.spec.as_json(),
            "source": dict(self.source),
            "figures": self.figures.as_json(),
            "folder": str(self.folder),
            "trace": str(self.trace) if self.trace else None,
            "answers": str(self.answers) if self.answers else None,
        }


def can_trace() -> bool:
    """Tell whether timelines can be drawn here."""
    return find_spec("perfetto") is not None


def outcome_of(
    subject: CameraSubject,
    inputs: Inputs,
    result: "RunResult",
    timeline: Timeline,
    seen: Seen,
) -> CameraOutcome:
    """Read a run's record, work out its figures, and draw its timeline.

    Args:
        subject: what ran.
        inputs: the pipeline, as it ran.
        result: what came home.
        timeline: what is wanted of it.
        seen: what the device said of itself meanwhile.

    Raises:
        RunnerError: the record cannot be read.
    """
    from edgekit.camera.figures import figures
    from edgekit.camera.record import read_record

    assert result.camera is not None  # noqa: S101 - a run of this kind has one
    folder, emulated = result.camera, subject.device.facts.emulated
    record = read_record(folder)
    told = json.loads((folder / "camera.json").read_text(encoding="utf-8"))
    found = figures(record, inputs.spec)
    unwritten: list[str] = []

    def made(make: Callable[[], Path | None]) -> Path | None:
        # A run takes longer than to write what is left of it somewhere else.
        try:
            return make()
        except UsageError as error:
            unwritten.append(error.message)
            return None

    trace = made(lambda: _drawn(record, result, timeline)) if can_trace() else None
    answers = made(lambda: _brought_home(folder, inputs))
    outcome = CameraOutcome(
        device=subject.name,
        model=subject.model,
        bundles=tuple(zip(subject.bundles, subject.labels, strict=True)),
        emulated=emulated,
        spec=_shown(inputs.spec),
        source=told["source"],
        decoded=asdict(record.decoded) if record.decoded else None,
        figures=found.untimed() if emulated else found,
        folder=folder,
        trace=trace,
        answers=answers,
        unwritten=tuple(unwritten),
        stopped=result.cancelled,
        broken=str(told.get("broken") or ""),
        switches=tuple(
            ((each.at_ns - record.span_ns[0]) / _NS, subject.labels[each.to_bundle], each.why)
            for each in record.switches
        ),
        watts=None if emulated else seen.mean_watts,
        hottest_c=seen.hottest_c,
    )
    text = json.dumps(outcome.as_json(), indent=1)
    (folder / _RESULT).write_text(text + "\n", encoding="utf-8")
    return outcome


def _shown(spec: PipelineSpec) -> PipelineSpec:
    source = replace(spec.source, name=without_passwords(spec.source.name))
    return replace(
        spec, source=source, sink=replace(spec.sink, path=without_passwords(spec.sink.path))
    )


def _drawn(record: "CameraRecord", result: "RunResult", timeline: Timeline) -> Path:
    from edgekit.camera.trace import write_trace

    assert result.camera is not None  # noqa: S101 - as above
    path = timeline.path or result.camera / TRACE_NAME
    power = PowerRecord.from_json(result.power) if result.power is not None else None
    write_trace(record, path, power=power, health=result.health, layers=timeline.layers)
    return path


def _brought_home(folder: Path, inputs: Inputs) -> Path | None:
    if inputs.kept is None or not (folder / inputs.kept[0]).exists():
        return None
    name, home = inputs.kept
    try:
        _move(folder / name, home)
    except OSError as error:
        raise UsageError(
            f"cannot write {home}: {error.strerror or error}; what it was to hold is in "
            f"{folder / name}"
        ) from error
    return home


def _move(path: Path, home: Path) -> None:
    """Move a file, also to another disk: there, too, a name is only ever that of a whole one."""
    try:
        path.replace(home)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        _copy_whole(path, home)
        path.unlink()


def _copy_whole(path: Path, home: Path) -> None:
    growing = home.with_name(f".{home.name}.part")
    try:
        shutil.copyfile(path, growing)
        growing.replace(home)
    finally:
        growing.unlink(missing_ok=True)
