"""Calibration sets: frames brought to the model's inputs once, stacked, held by content."""

import hashlib
import json
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.catalog.cache import KeyedCache, cache_root
from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, Note, StepFinished, StepProgress, StepStarted
from edgekit.core.model import FileRef, Model, TensorSpec
from edgekit.core.quantisation import CalibrationSet
from edgekit.core.recipe import Calibration, Recipe, Samples
from edgekit.prepare.frames import drawn_tensors, file_state, held_frames, picture_frames
from edgekit.prepare.reference import load_frame, steps_content

if TYPE_CHECKING:
    from numpy.typing import NDArray

STEP: Final = "calibration"
# Counts up with every change to this file that makes other inputs of the same frames.
CALIBRATION_VERSION: Final = 1
# Ranges seen on fewer are chance.
FEWEST: Final = 8
OPTION: Final = "--calibration"
_DEFAULT: Final = Calibration(kind="shapes")
_DRAWN_TENSORS: Final = 16  # each may be as large as many images
_INDEX: Final = "calibration.json"


def load_calibration(
    recipe: Recipe, model: Model, *, images: Path | None, count: int | None, emit: EventSink
) -> CalibrationSet:
    """Return the inputs on which the model's int8 ranges are observed.

    The samples stand in the order of their frames' hashes and each frame stands once, so that
    neither the names of the images nor their order count. An unchanged call reads no image and
    imports nothing heavy.

    Args:
        recipe: names its calibration frames; without any, or where they are not at hand, scenes
            are drawn and a warning says so.
        model: its own preprocess step makes the inputs.
        images: the user's folder of images; for a model that takes bare tensors a folder of
            ``.npz`` files, each with one array for every input.
        count: of frames; ``None`` for the recipe's own number.
        emit: told of the step.

    Raises:
        UsageError: fewer than eight frames can be read, or a file does not fit the inputs.
    """
    emit(StepStarted(STEP, "Load the calibration set"))
    try:
        calibration = recipe.calibration or _DEFAULT
        frames, detail = _frames(recipe, model, images, count or calibration.count, emit)
        # By hash, each once: no order but this is the same whatever the files are called.
        frames = tuple(sorted({frame.sha256: frame for frame in frames}.values(), key=_hash))
        if len(frames) < FEWEST:
            raise UsageError(  # noqa: TRY301 - it ends the step like any other failure
                f"{len(frames)} calibration frames are too few to see ranges on: at least "
                f"{FEWEST} different ones must be readable",
                hint=f"give a folder with more of them ({OPTION} DIR); 100 to 300 are usual",
            )
        held, cached = _stacked(model, frames, emit)
    except BaseException:
        emit(StepFinished(STEP, "failed", ok=False))
        raise
    emit(StepFinished(STEP, "cached" if cached else f"{held.count} {detail}"))
    return held


def _hash(frame: FileRef) -> str:
    return frame.sha256


def _frames(
    recipe: Recipe, model: Model, images: Path | None, count: int, emit: EventSink
) -> tuple[tuple[FileRef, ...], str]:
    calibration = recipe.calibration or _DEFAULT
    if model.pipeline.preprocess.name == "tensor":
        if images is not None:
            return _tensor_files(images, model, count, emit), f"tensors of {images}"
        emit(
            Note(
                f"{recipe.name} takes bare tensors, and int8 ranges seen on random ones are "
                f"poor: give real inputs as .npz files ({OPTION} DIR)",
                warning=True,
            )
        )
        drawn = drawn_tensors(model, seed=calibration.seed, count=min(count, _DRAWN_TENSORS))
        return drawn, "seeded tensors"
    if recipe.calibration is None and images is None:
        emit(
            Note(
                f"{recipe.name} names no calibration images: int8 ranges are seen on drawn "
                f"scenes, which may be far from yours: give {OPTION} DIR",
                warning=True,
            )
        )
    samples = Samples(calibration.kind, calibration.path, count, calibration.seed)
    return picture_frames(samples, recipe.name, images=images, option=OPTION, emit=emit)


def _tensor_files(folder: Path, model: Model, count: int, emit: EventSink) -> tuple[FileRef, ...]:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}", hint=f"check {OPTION}")
    files = sorted(folder.glob("*.npz"))
    key = json.dumps(["files", CALIBRATION_VERSION, _specs(model), [file_state(f) for f in files]])

    def make() -> Iterator[bytes]:
        for file in files:
            if _is_readable(file, model.inputs):
                yield file.read_bytes()
            else:
                emit(Note(f"{file} is no readable .npz file and is left out", warning=True))

    # Picked by content: names do not count.
    return tuple(sorted(held_frames(key, make), key=_hash)[:count])


def _specs(model: Model) -> list[tuple[str, str, tuple[int, ...]]]:
    return [(spec.name, spec.dtype, spec.shape) for spec in model.inputs]


def _is_readable(file: Path, inputs: Sequence[TensorSpec]) -> bool:
    """Tell whether a file holds tensors at all.

    Raises:
        UsageError: it does, but not those of the model.
    """
    try:
        tensors = load_frame(file)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile):
        return False
    if not isinstance(tensors, dict):
        return False
    for spec in inputs:
        found = tensors.get(spec.name)
        if found is None or found.shape != spec.shape or found.dtype.name != spec.dtype:
            held = "nothing" if found is None else f"{found.dtype}{list(found.shape)}"
            raise UsageError(
                f"{file} does not fit the model: it holds {held} for the input {spec}",
                hint="save each sample with numpy.savez(file, **{name: array})",
            )
    return True


def _stacked(
    model: Model, frames: Sequence[FileRef], emit: EventSink
) -> tuple[CalibrationSet, bool]:
    """Return the set for these frames, and whether it was there."""
    cache = KeyedCache(cache_root() / "calibration")
    step = model.pipeline.preprocess
    key = json.dumps(
        [
            CALIBRATION_VERSION,
            steps_content(),
            [step.name, step.parameters_json],
            _specs(model),
            [frame.sha256 for frame in frames],
        ]
    )
    folder = cache.get(key)
    held = _read(folder) if folder is not None else None
    if held is not None:
        return held, True
    if folder is not None:
        cache.discard(key)  # damaged: something outside edgekit changed it

    def fill(building: Path) -> None:
        _write(model, frames, building, emit)

    made = _read(cache.build(key, fill, emit=emit, subject="the calibration set"))
    if made is None:
        raise OSError("the calibration set that was just written cannot be read back")
    return made, False


def _write(model: Model, frames: Sequence[FileRef], folder: Path, emit: EventSink) -> None:
    """Fill one ``.npy`` per input, sample by sample: the whole is larger than memory."""
    import numpy as np

    from edgekit.onboard.steps import PREPROCESS

    step = model.pipeline.preprocess
    preprocess = PREPROCESS[step.name](json.loads(step.parameters_json))
    stacks: dict[str, Any] = {
        spec.name: np.lib.format.open_memmap(
            folder / f"{position}.npy",
            mode="w+",
            dtype=np.dtype(spec.dtype),
            shape=(len(frames), *spec.shape[1:]),
        )
        for position, spec in enumerate(model.inputs)
    }
    for number, frame in enumerate(frames):
        tensors = preprocess(load_frame(frame.path))
        for spec in model.inputs:
            stacks[spec.name][number] = _sample(tensors.get(spec.name), spec)
        emit(StepProgress(STEP, number + 1, len(frames), "frames"))
    files = []
    for position, spec in enumerate(model.inputs):
        stacks[spec.name].flush()
        file = folder / f"{position}.npy"
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        files.append([spec.name, file.name, digest, file.stat().st_size])
    index = {"inputs": files, "frames": [frame.sha256 for frame in frames]}
    (folder / _INDEX).write_text(json.dumps(index), encoding="utf-8")


def _sample(tensor: "NDArray[Any] | None", spec: TensorSpec) -> "NDArray[Any]":
    if tensor is None or tensor.shape != spec.shape:
        found = "nothing" if tensor is None else f"{tensor.dtype}{list(tensor.shape)}"
        raise UsageError(
            f"preprocessing makes {found} for the input {spec}",
            hint="see the recipe's preprocess step",
        )
    if spec.shape[0] != 1:
        raise UsageError(
            f"the input {spec} has no batch axis of one, which calibration needs",
            hint="export the model with a batch of one, or take fp32 or fp16",
        )
    sample: NDArray[Any] = tensor[0]
    return sample


def _read(folder: Path) -> CalibrationSet | None:
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="utf-8"))
        inputs = tuple(
            (name, FileRef(folder / file, sha, size)) for name, file, sha, size in index["inputs"]
        )
        frames = tuple(index["frames"])
        whole = all(file.path.stat().st_size == file.size_bytes for _, file in inputs)
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # What the inputs hold says all that a build depends on.
    identity = json.dumps([[name, file.sha256] for name, file in inputs])
    digest = hashlib.sha256(identity.encode()).hexdigest()
    return CalibrationSet(inputs, len(frames), frames, digest) if whole else None
