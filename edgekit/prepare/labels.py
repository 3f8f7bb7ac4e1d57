"""Labels of evaluation images: COCO annotations, lists of lines, and drawn scenes' own."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, NoReturn

from edgekit.catalog.cache import KeyedCache, cache_root, sha256_of
from edgekit.core.errors import UsageError
from edgekit.core.recipe import Metric

LABELS_VERSION: Final = 1
_TRUTH: Final = "truth.json"
_LISTED: Final = 8


@dataclass(frozen=True)
class ObjectLabel:
    """One labelled object.

    Attributes:
        box: x, y, width, height in frame pixels, as COCO writes it.
        kind: index of its class.
        crowd: whether the box holds many of them; what is found in it is neither right nor wrong.
    """

    box: tuple[float, float, float, float]
    kind: int
    crowd: bool = False


# Of one image: its objects, its class, or its text.
Truth = tuple[ObjectLabel, ...] | int | str


def read_labels(
    file: Path, metric: Metric, classes: Sequence[str], names: Sequence[str]
) -> dict[str, Truth]:
    """Return what ``file`` says of the images that it knows among ``names``, by file name.

    Args:
        file: COCO annotations (``coco-map``), or lines ``FILE LABEL``, where the label is a
            class's name or number (``top1``) or the text to be read (``text``).
        metric: decides which of them.
        classes: the model's; categories find theirs by name.
        names: file names of the images.

    Raises:
        UsageError: the file is not to be read, is of another format, or names classes that the
            model does not have.
    """
    try:
        digest = sha256_of(file)
    except OSError as error:
        raise UsageError(
            f"cannot read the labels {file}: {error.strerror}", hint="check the path"
        ) from error
    key = json.dumps([LABELS_VERSION, digest, metric, list(classes), sorted(names)])

    def read() -> Mapping[str, Truth]:
        known = _read_file(file, metric, classes)
        return {name: known[name] for name in names if name in known}

    return _cached(key, read)


def drawn_labels(classes: Sequence[str], *, seed: int, count: int) -> tuple[Truth, ...]:
    """Return what each drawn scene of a series shows.

    Raises:
        UsageError: the model does not have the classes that are drawn.
    """

    def draw() -> Mapping[str, Truth]:
        from edgekit.prepare.shapes import CLASSES, draw_scene

        missing = [name for name in CLASSES if name not in classes]
        if missing:
            _unknown("of drawn scenes", missing, classes)
        index = [classes.index(name) for name in CLASSES]
        truth: dict[str, Truth] = {}
        for number in range(count):
            scene = draw_scene(seed, number)
            truth[str(number)] = tuple(
                ObjectLabel((x0, y0, x1 - x0, y1 - y0), index[kind])
                for (x0, y0, x1, y1), kind in zip(
                    scene.boxes.tolist(), scene.classes.tolist(), strict=True
                )
            )
        return truth

    key = json.dumps([LABELS_VERSION, "drawn", seed, count, list(classes)])
    held = _cached(key, draw)
    return tuple(held[str(number)] for number in range(count))


def _cached(key: str, make: Callable[[], Mapping[str, Truth]]) -> dict[str, Truth]:
    cache = KeyedCache(cache_root() / "labels")

    def fill(folder: Path) -> None:
        plain = {name: _plain(truth) for name, truth in make().items()}
        (folder / _TRUTH).write_text(json.dumps(plain), encoding="utf-8")

    folder = cache.build(key, fill, subject="the labels")
    held = json.loads((folder / _TRUTH).read_text(encoding="utf-8"))
    return {name: _truth(value) for name, value in held.items()}


def truth_json(truth: Sequence[Truth]) -> str:
    """Return labels as canonical JSON text, for keys."""
    return json.dumps([_plain(each) for each in truth])


def _plain(truth: Truth) -> Any:  # noqa: ANN401 (JSON values)
    if isinstance(truth, tuple):
        return [[*label.box, label.kind, label.crowd] for label in truth]
    return truth


def _truth(value: Any) -> Truth:  # noqa: ANN401 (JSON values)
    if isinstance(value, list):
        return tuple(ObjectLabel((x, y, w, h), kind, crowd) for x, y, w, h, kind, crowd in value)
    told: int | str = value
    return told


def _read_file(file: Path, metric: Metric, classes: Sequence[str]) -> Mapping[str, Truth]:
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the labels {file} are no UTF-8 text", hint="save them as UTF-8"
        ) from error
    if metric == "coco-map":
        return _coco(file, text, classes)
    return _lines(file, text, _class_index(file, classes) if metric == "top1" else str)


def _lines(file: Path, text: str, read: Callable[[str], int | str]) -> dict[str, Truth]:
    labels: dict[str, Truth] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        name, _, label = line.strip().partition("\t" if "\t" in line else " ")
        if not label.strip():
            _refuse(file, f"line {number} is no FILE LABEL: {line.strip()[:60]!r}")
        labels[_file_name(name)] = read(label.strip())
    return labels


def _class_index(file: Path, classes: Sequence[str]) -> Callable[[str], int]:
    index = {name: number for number, name in enumerate(classes)}

    def read(label: str) -> int:
        if label in index:
            return index[label]
        if label.isdecimal() and (not classes or int(label) < len(classes)):
            return int(label)
        return _unknown(file, [label], classes)

    return read


def _coco(file: Path, text: str, classes: Sequence[str]) -> dict[str, Truth]:
    try:
        told = json.loads(text)
        names = {image["id"]: _file_name(image["file_name"]) for image in told["images"]}
        categories = {entry["id"]: str(entry["name"]) for entry in told["categories"]}
        used = {entry["category_id"] for entry in told["annotations"]}
        index = {name: number for number, name in enumerate(classes)}
        unknown = sorted(categories.get(key, f"category {key}") for key in used)
        unknown = [name for name in unknown if name not in index]
        if unknown:
            _unknown(file, unknown, classes)
        objects: dict[str, list[ObjectLabel]] = {name: [] for name in names.values()}
        for entry in told["annotations"]:
            kind = index[categories[entry["category_id"]]]
            label = ObjectLabel(_box(entry["bbox"]), kind, bool(entry.get("iscrowd", 0)))
            objects[names[entry["image_id"]]].append(label)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        _refuse(file, f"they are no COCO annotations of boxes ({type(error).__name__}: {error})")
    if len(objects) != len(names):
        _refuse(file, "two of their images have the same file name")
    return {name: tuple(found) for name, found in objects.items()}


def _box(values: Sequence[float]) -> tuple[float, float, float, float]:
    x, y, width, height = map(float, values)
    if not all(map(math.isfinite, (x, y, width, height))) or width < 0 or height < 0:
        raise ValueError(f"{values} is no box")
    return x, y, width, height


def _file_name(path: str) -> str:
    return PurePosixPath(path).name


def _unknown(what: Path | str, names: Sequence[str], classes: Sequence[str]) -> NoReturn:
    listed = ", ".join(names[:_LISTED]) + (", ..." if len(names) > _LISTED else "")
    known = ", ".join(classes[:_LISTED]) + (", ..." if len(classes) > _LISTED else "")
    raise UsageError(
        f"the labels {what} do not fit the model's classes: it has no {listed}",
        hint=f"its {len(classes)} classes are {known}; categories must have the same names"
        if classes
        else "the model's classes have no names: give the recipe 'classes'",
    )


def _refuse(file: Path, reason: str) -> NoReturn:
    raise UsageError(
        f"the labels {file} cannot be used: {reason}",
        hint="detections take COCO annotations (.json), classes and text lines FILE LABEL",
    )
