"""Frames that keep their names, so that labels find them."""

import random
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from edgekit.core.errors import UsageError
from edgekit.core.events import EventSink, Note, ignore
from edgekit.core.model import FileRef, Model
from edgekit.core.recipe import Calibration, Evaluation, Recipe, Samples
from edgekit.prepare.frames import frames_of, load_frames

_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png"})


@dataclass(frozen=True)
class NamedFrames:
    """Frames and what they are called.

    Attributes:
        files: each ``uint8[H, W, 3]`` in RGB, as ``.npy``.
        names: the image's file name, or ``scene N`` of a drawn series.
        drawn: whether they are drawn scenes.
    """

    files: tuple[FileRef, ...]
    names: tuple[str, ...]
    drawn: bool


def named_images(
    place: Path, wanted: Calibration | Evaluation, *, keep: Iterable[str] | None, emit: EventSink
) -> NamedFrames:
    """Return images of a folder; those that cannot be read are left out with a note.

    Args:
        place: the folder, or one image.
        wanted: how many, and the seed by which they are picked.
        keep: names that may be picked; ``None``: all.
        emit: told of images left out.

    Raises:
        UsageError: there is none.
    """
    files = [place] if place.is_file() else _listed(place)
    if keep is not None:
        labelled = frozenset(keep)
        files = _labelled(files, labelled, place, emit)
    # Sorted first, so that the pick does not hang on the order of the file system.
    count = min(wanted.count, len(files))
    picked = sorted(random.Random(wanted.seed).sample(files, count))  # noqa: S311 (no secret)
    frames: list[FileRef] = []
    names: list[str] = []
    for file in picked:
        try:
            frames += frames_of([file])
        except UsageError as error:
            emit(Note(f"{error.message}: it is left out, with its label", warning=True))
        else:
            names.append(file.name)
    if not frames:
        raise UsageError(f"no image in {place} can be read", hint="give .jpg or .png files")
    return NamedFrames(tuple(frames), tuple(names), drawn=False)


def named_scenes(recipe: Recipe, model: Model, *, seed: int, count: int) -> NamedFrames:
    """Return drawn scenes of a series."""
    sampled = replace(recipe, samples=Samples("shapes", count=count, seed=seed))
    frames = load_frames(sampled, model, images=None, emit=ignore)
    names = tuple(f"scene {index} of seed {seed}" for index in range(count))
    return NamedFrames(frames, names, drawn=True)


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise UsageError(f"there is no folder or image {folder}", hint="check the path")
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)
    if not files:
        raise UsageError(
            f"there is no image in {folder}", hint="give a folder that holds .jpg or .png files"
        )
    return files


def _labelled(
    files: list[Path], labelled: frozenset[str], place: Path, emit: EventSink
) -> list[Path]:
    """Leave out what has no label: a detector would be blamed for what it finds there."""
    known = [file for file in files if file.name in labelled]
    if not known:
        raise UsageError(
            f"the labels name none of the {len(files)} images in {place}",
            hint="file names must be those of the labels",
        )
    if len(known) < len(files):
        without = next(file.name for file in files if file.name not in labelled)
        emit(
            Note(
                f"{len(files) - len(known)} images in {place} have no label and are left out, "
                f"{without} first",
                warning=True,
            )
        )
    return known
