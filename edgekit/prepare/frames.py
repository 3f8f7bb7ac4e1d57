"""Frames to run a model on: the recipe's images, the user's, or drawn ones; held by content."""

import io
import json
import random
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edgekit.catalog.cache import ContentStore, KeyedCache, cache_root
from edgekit.catalog.settings import data_folders
from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, Note, StepFinished, StepStarted
from edgekit.core.model import FileRef, Model
from edgekit.core.recipe import Recipe, Samples

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEP: Final = "frames"
FRAMES_VERSION: Final = 1
_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png"})
_DEFAULT: Final = Samples(kind="shapes")
_DEFAULT_TENSORS: Final = Samples(kind="shapes", count=4)  # each may be as large as many images
_LIST: Final = "frames.json"


def load_frames(
    recipe: Recipe, model: Model, *, images: Path | None, emit: EventSink
) -> tuple[FileRef, ...]:
    """Return the frames on which the model is run and compared.

    Each is a ``.npy`` of ``uint8[H, W, 3]`` in RGB; for a model that takes bare tensors, a
    ``.npz`` of its named inputs, drawn from a seed.

    Args:
        recipe: names its samples; without any, or where they are not at hand, scenes are
            drawn and a note says so.
        model: its inputs are drawn where it takes bare tensors.
        images: the user's own folder of images, or one image.
        emit: told of the step.

    Raises:
        UsageError: ``images`` holds no readable image.
    """
    emit(StepStarted(STEP, "Load frames"))
    try:
        frames, detail = _load(recipe, model, images, emit)
    except BaseException:
        emit(StepFinished(STEP, "failed", ok=False))
        raise
    emit(StepFinished(STEP, f"{len(frames)} {detail}"))
    return frames


def frames_of(images: Sequence[Path]) -> tuple[FileRef, ...]:
    """Return one frame, ``uint8[H, W, 3]`` in RGB, for each of the user's images, in their order.

    Raises:
        UsageError: an image is not there or cannot be read.
    """
    for image in images:
        if not image.is_file():
            raise UsageError(f"there is no image {image}", hint="check the path")

    def make() -> Iterator[bytes]:
        for image in images:
            frame = _read_image(image)
            if frame is None:
                raise UsageError(f"{image} is no readable image", hint="give .jpg or .png files")
            yield _npy(frame)

    return held_frames(_pictures_key(images), make)


def _load(
    recipe: Recipe, model: Model, images: Path | None, emit: EventSink
) -> tuple[tuple[FileRef, ...], str]:
    if model.pipeline.preprocess.name == "tensor":
        if images is not None:
            raise UsageError(
                f"{recipe.name} takes bare tensors, not images", hint="leave out --images"
            )
        samples = recipe.samples or _DEFAULT_TENSORS
        return drawn_tensors(model, seed=samples.seed, count=samples.count), "seeded tensors"
    samples = recipe.samples or _DEFAULT
    return picture_frames(samples, recipe.name, images=images, option="--images", emit=emit)


def picture_frames(
    samples: Samples, owner: str, *, images: Path | None, option: str, emit: EventSink
) -> tuple[tuple[FileRef, ...], str]:
    """Return pictures as frames, and in words what they are.

    Args:
        samples: which; where its images are not at hand, scenes are drawn and a note says so.
        owner: whose they are, for that note.
        images: the user's own folder of images, or one image, which goes before.
        option: with which the user gives such a folder.
        emit: told of that note, and of images that cannot be read.

    Raises:
        UsageError: ``images`` holds no readable image.
    """
    if images is not None:
        return _pictures(images, samples, option, emit), f"images of {images}"
    if samples.kind == "images":
        folder = find_data(samples.path)
        if folder is not None and folder.is_dir():
            return _pictures(folder, samples, option, emit), f"images of {samples.path}"
        emit(
            Note(
                f"the images {samples.path} of {owner} are not at hand: drawn scenes serve "
                f"instead, which tell less (give {option}, or put the images into a folder of "
                "EDGEKIT_DATA_PATH)",
                warning=True,
            )
        )
    return _drawn(samples), "drawn scenes"


def find_data(path: str) -> Path | None:
    """Return a file or folder of the data path; ``None`` where it is not at hand."""
    for base in data_folders():
        found = base / path
        if found.exists():
            return found
    return None


def _pictures(place: Path, samples: Samples, option: str, emit: EventSink) -> tuple[FileRef, ...]:
    files = [place] if place.is_file() else _listed(place, option)
    if not files:
        raise UsageError(
            f"there is no image in {place}", hint="give a folder that holds .jpg or .png files"
        )
    # Sorted first, so that the pick does not hang on the order of the file system.
    count = min(samples.count, len(files))
    picked = sorted(random.Random(samples.seed).sample(files, count))  # noqa: S311 (no secret)
    return held_frames(_pictures_key(picked), lambda: map(_npy, _readable(picked, place, emit)))


def _pictures_key(files: Sequence[Path]) -> str:
    return json.dumps(["pictures", FRAMES_VERSION, [file_state(file) for file in files]])


def _listed(folder: Path, option: str) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"there is no folder or image {folder}", hint=f"check {option}")
    return sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)


def file_state(file: Path) -> list[str | int]:
    """Return what tells, without reading it, whether a file is the one it was."""
    stat = file.stat()
    return [str(file.absolute()), stat.st_size, stat.st_mtime_ns, stat.st_ino]


def _readable(files: Sequence[Path], place: Path, emit: EventSink) -> "Iterator[NDArray[np.uint8]]":
    """Read one image after the other: a calibration set is larger than memory."""
    readable = 0
    for file in files:
        image = _read_image(file)
        if image is None:
            emit(Note(f"{file} is no readable image and is left out", warning=True))
        else:
            readable += 1
            yield image
    if not readable:
        raise UsageError(f"no image in {place} can be read", hint="give .jpg or .png files")


def _read_image(file: Path) -> "NDArray[np.uint8] | None":
    """Read an image as ``uint8[H, W, 3]`` in RGB; ``None`` where it is none."""
    import cv2
    import numpy as np

    image = cv2.imread(str(file), cv2.IMREAD_COLOR)
    if image is None:
        return None
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _drawn(samples: Samples) -> tuple[FileRef, ...]:
    key = json.dumps(["drawn", FRAMES_VERSION, samples.seed, samples.count])

    def make() -> Iterator[bytes]:
        from edgekit.prepare.shapes import draw_scene

        return (_npy(draw_scene(samples.seed, index).frame) for index in range(samples.count))

    return held_frames(key, make)


def drawn_tensors(model: Model, *, seed: int, count: int) -> tuple[FileRef, ...]:
    """Return frames for a model that takes bare tensors: its inputs, drawn from a seed."""
    inputs = [[spec.name, spec.dtype, spec.shape] for spec in model.inputs]
    key = json.dumps(["tensors", FRAMES_VERSION, seed, count, inputs])

    def make() -> Iterator[bytes]:
        from edgekit.prepare.session import seeded_inputs

        return (as_frame(seeded_inputs(model.inputs, seed + index)) for index in range(count))

    return held_frames(key, make)


def _npy(frame: "NDArray[np.uint8]") -> bytes:
    import numpy as np

    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(frame))
    return buffer.getvalue()


def as_frame(arrays: "Mapping[str, NDArray[np.generic]]") -> bytes:
    """Return named tensors as a frame's ``.npz``.

    ``numpy.savez`` would do so, but no input could be named after its own parameters.
    """
    import numpy as np

    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            # A fixed date: equal tensors are equal content.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, array, allow_pickle=False)
    return buffer.getvalue()


def held_frames(key: str, make: Callable[[], Iterable[bytes]]) -> tuple[FileRef, ...]:
    """Return the frames for ``key``; frames are held by content, their list by key."""
    cache = KeyedCache(cache_root() / "frames")
    store = ContentStore()
    folder = cache.get(key)
    held = _listed_frames(folder, store) if folder is not None else None
    if held is not None:
        return held
    if folder is not None:
        cache.discard(key)  # some content is gone

    def fill(building: Path) -> None:
        frames = [store.add_bytes(data) for data in make()]
        listed = [[frame.sha256, frame.size_bytes] for frame in frames]
        (building / _LIST).write_text(json.dumps(listed), encoding="ascii")

    made = _listed_frames(cache.build(key, fill, subject="sample frames"), store)
    if made is None:
        raise OSError("frames that were just written cannot be read back")
    return made


def _listed_frames(folder: Path, store: ContentStore) -> tuple[FileRef, ...] | None:
    try:
        listed = json.loads((folder / _LIST).read_text(encoding="ascii"))
        frames = tuple(FileRef(store.path_of(sha), sha, size) for sha, size in listed)
    except (OSError, ValueError, TypeError):
        return None
    return frames if all(store.has(frame.sha256) for frame in frames) else None
