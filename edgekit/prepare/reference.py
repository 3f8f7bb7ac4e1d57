"""The float reference: what ONNX Runtime on the host makes of the same frames, computed once."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import edgekit
from edgekit.catalog.cache import KeyedCache, cache_root, sha256_of
from edgekit.core.errors import ModelError
from edgekit.core.events import EventSink, StepFinished, StepProgress, StepStarted, ignore
from edgekit.core.model import FileRef, Model, Pipeline
from edgekit.prepare.answers import Answers, Kind, answer_kind, score_threshold

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEP: Final = "reference"
# Counts up with every change to this file that changes an answer; the steps count by content.
REFERENCE_VERSION: Final = 1
_INDEX: Final = "reference.json"


@dataclass(frozen=True)
class FrameReference:
    """What is expected of one frame.

    Attributes:
        outputs: the outputs of the model in normal form, each a ``.npy`` file, by name.
        answers: the answers of the *whole* float32 graph.
    """

    outputs: Mapping[str, Path]
    answers: Answers


@dataclass(frozen=True)
class ReferenceOutputs:
    """What is expected of every frame, and how answers are to be compared."""

    frames: tuple[FrameReference, ...]
    kind: Kind
    score_threshold: float | None


def reference_outputs(
    model: Model, frames: Sequence[FileRef], *, emit: EventSink = ignore
) -> ReferenceOutputs:
    """Return what the float reference makes of the frames; cached by model, steps and frames.

    Raises:
        ModelError: ONNX Runtime cannot run the graph, or it answers with NaN.
    """
    emit(StepStarted(STEP, "Compute the float reference"))
    cache = KeyedCache(cache_root() / "reference")
    key = _key(model, frames)
    folder = cache.get(key)
    held = _read(model, folder) if folder is not None else None
    if held is not None:
        emit(StepFinished(STEP, "cached"))
        return held
    if folder is not None:
        cache.discard(key)

    def fill(building: Path) -> None:
        _compute(model, frames, building, emit)

    try:
        built = _read(model, cache.build(key, fill, emit=emit, subject="the float reference"))
    except BaseException:
        emit(StepFinished(STEP, "failed", ok=False))
        raise
    if built is None:
        raise OSError("the reference that was just written cannot be read back")
    emit(StepFinished(STEP, f"{len(frames)} frames"))
    return built


def _key(model: Model, frames: Sequence[FileRef]) -> str:
    def steps(pipeline: Pipeline) -> list[list[str]]:
        return [[s.name, s.parameters_json] for s in (pipeline.preprocess, pipeline.postprocess)]

    return json.dumps(
        [
            REFERENCE_VERSION,
            steps_content(),
            model.onnx.sha256,
            model.reference.sha256,
            steps(model.pipeline),
            steps(model.reference_pipeline),
            [frame.sha256 for frame in frames],
        ]
    )


def steps_content() -> list[str]:
    """Return the hashes of the steps' own files, found without importing them."""
    folder = Path(edgekit.__file__).parent / "onboard" / "steps"
    return [sha256_of(file) for file in sorted(folder.glob("*.py"))]


def _compute(model: Model, frames: Sequence[FileRef], folder: Path, emit: EventSink) -> None:
    import numpy as np

    from edgekit.onboard.steps import POSTPROCESS, PREPROCESS
    from edgekit.prepare.session import Reference

    pipeline = model.reference_pipeline
    before = PREPROCESS[pipeline.preprocess.name](json.loads(pipeline.preprocess.parameters_json))
    own = model.pipeline.preprocess
    # A lossless rewrite may want its input in another form than the whole graph.
    before_bare = PREPROCESS[own.name](json.loads(own.parameters_json))
    after = POSTPROCESS[pipeline.postprocess.name](json.loads(pipeline.postprocess.parameters_json))
    whole = Reference(model.reference.path, f"the whole graph of {model.name}")
    same = model.onnx.sha256 == model.reference.sha256
    bare = whole if same else Reference(model.onnx.path, model.name)
    index: list[dict[str, Any]] = []
    for number, frame in enumerate(frames):
        content = load_frame(frame.path)
        inputs = before_bare(content)
        outputs = bare.run(inputs)
        files: dict[str, str] = {}
        for position, spec in enumerate(model.outputs):
            values = outputs[spec.name]
            if values.dtype.kind == "f" and not np.isfinite(values).all():
                raise ModelError(
                    f"output {spec.name} of {model.name} is not finite even in float32",
                    hint="the weights or the recipe's normalisation are wrong",
                )
            files[spec.name] = f"{number}-{position}.npy"
            np.save(folder / files[spec.name], values)
        decoded = outputs
        if not same:
            decoded = whole.run(inputs if own == pipeline.preprocess else before(content))
        shape = content.shape if isinstance(content, np.ndarray) else ()
        index.append({"outputs": files, "answers": after(decoded, shape)})
        emit(StepProgress(STEP, number + 1, len(frames), "frames"))
    (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")


def load_frame(path: Path) -> "NDArray[np.uint8] | dict[str, NDArray[Any]]":
    """Read a frame as the runner on the board does: ``uint8[H, W, 3]``, or named tensors."""
    import numpy as np

    loaded = np.load(path, allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    with loaded:
        return {name: loaded[name] for name in loaded.files}


def _read(model: Model, folder: Path) -> ReferenceOutputs | None:
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        frames = tuple(
            FrameReference(
                {name: folder / file for name, file in entry["outputs"].items()}, entry["answers"]
            )
            for entry in index
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    if not all(path.is_file() for frame in frames for path in frame.outputs.values()):
        return None
    step = model.pipeline.postprocess
    return ReferenceOutputs(frames, answer_kind(step), score_threshold(step))
