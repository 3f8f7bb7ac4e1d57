"""Models by name: ``recipes/<name>.toml`` to :class:`~edgekit.core.recipe.Recipe`."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from edgekit.catalog.folders import catalog_files, find_file
from edgekit.catalog.recipe_pipeline import PipelineTable
from edgekit.catalog.toml_reader import KeyFaultError, read_toml
from edgekit.core.errors import ModelError
from edgekit.core.model import StepSpec
from edgekit.core.names import check_name, is_name
from edgekit.core.recipe import Calibration, Evaluation, Export, Metric, Recipe, Samples, Source

_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_SEEDS: Final = 1 << 32  # what NumPy's frozen generator takes


@dataclass(frozen=True)
class _StepTable:
    name: str
    parameters: Mapping[str, object] = field(default_factory=dict)

    def value(self) -> StepSpec:
        return StepSpec(
            self.name, json.dumps(self.parameters, sort_keys=True, separators=(",", ":"))
        )


@dataclass(frozen=True)
class _SourceTable:
    """What each kind of source must and may say is checked here: types cannot."""

    kind: Literal["url", "pypi", "file"]
    sha256: str
    size_bytes: int
    filename: str | None = None
    url: str | None = None
    package: str | None = None
    version: str | None = None
    member: str | None = None
    path: Path | None = None

    def __post_init__(self) -> None:
        if not _SHA256.fullmatch(self.sha256):
            raise KeyFaultError("sha256", "source.sha256 must be 64 lower-case hexadecimal digits")
        if self.size_bytes < 1:
            raise KeyFaultError("size_bytes", "source.size_bytes must be positive")
        needed = {"url": ("url",), "pypi": ("package", "version", "member"), "file": ("path",)}
        for kind, keys in needed.items():
            for key in keys:
                if (getattr(self, key) is not None) != (kind == self.kind):
                    verb = "needs" if kind == self.kind else "has no"
                    raise KeyFaultError(key, f"a source of kind {self.kind!r} {verb} key {key!r}")
        if self.url is not None and not self.url.startswith("https://"):
            raise KeyFaultError("url", "source.url must begin with https://")
        if not is_plain_filename(self._filename()):
            raise KeyFaultError(
                "filename", f"source.filename {self._filename()!r} must be a plain file name"
            )

    def _filename(self) -> str:
        origin = self.filename or self.url or self.member or str(self.path)
        return origin.rpartition("/")[2]

    def value(self, folder: Path) -> Source:
        return Source(
            kind=self.kind,
            filename=self._filename(),
            sha256=self.sha256,
            size_bytes=self.size_bytes,
            url=self.url,
            package=self.package,
            version=self.version,
            member=self.member,
            path=None if self.path is None else folder / self.path.expanduser(),
        )


@dataclass(frozen=True)
class _ExportTable:
    script: Path
    requirements: Path
    sha256: str | None = None

    def __post_init__(self) -> None:
        if self.sha256 is not None and not _SHA256.fullmatch(self.sha256):
            raise KeyFaultError("sha256", "export.sha256 must be 64 lower-case hexadecimal digits")

    def value(self, folder: Path) -> Export:
        return Export(folder / self.script, folder / self.requirements, self.sha256)


@dataclass(frozen=True)
class _CalibrationTable:
    kind: Literal["images", "shapes"]
    path: str = ""
    count: int = 100
    seed: int = 0
    labels: str = ""

    def __post_init__(self) -> None:
        _check_frames("calibration", self)

    def value(self) -> Calibration:
        return Calibration(self.kind, self.path, self.count, self.seed, self.labels)


@dataclass(frozen=True)
class _EvaluationTable:
    metric: Metric
    kind: Literal["images", "shapes"]
    path: str = ""
    count: int = 100
    seed: int = 0
    labels: str = ""
    postprocess: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_frames("evaluation", self)
        if self.kind == "shapes" and self.metric not in {"coco-map", "agreement"}:
            raise KeyFaultError("metric", f"drawn shapes have no labels for {self.metric!r}")
        if self.kind == "images" and (self.metric == "agreement") == bool(self.labels):
            verb = "has no" if self.labels else "needs"
            raise KeyFaultError("labels", f"the metric {self.metric!r} {verb} labels")

    def value(self) -> Evaluation:
        parameters = json.dumps(self.postprocess, sort_keys=True, separators=(",", ":"))
        return Evaluation(
            self.metric, self.kind, self.path, self.count, self.seed, self.labels, parameters
        )


def _check_frames(table: str, frames: _CalibrationTable | _EvaluationTable) -> None:
    if frames.count < 1:
        raise KeyFaultError("count", f"{table}.count must be at least 1")
    if not 0 <= frames.seed < _SEEDS:
        raise KeyFaultError("seed", f"{table}.seed must lie between 0 and {_SEEDS - 1}")
    if (frames.kind == "images") != bool(frames.path):
        verb = "needs" if frames.kind == "images" else "has no"
        raise KeyFaultError("path", f"{table} of kind {frames.kind!r} {verb} key 'path'")
    if frames.kind == "shapes" and frames.labels:
        raise KeyFaultError("labels", f"{table} of kind 'shapes' has no key 'labels'")


@dataclass(frozen=True)
class _RecipeTable:
    title: str
    task: Literal["detect", "classify", "text-detect", "text-recognise", "tensor"]
    licence: str
    source: _SourceTable
    preprocess: _StepTable
    postprocess: _StepTable
    homepage: str = ""
    size: tuple[int, int] | None = None
    export: _ExportTable | None = None
    samples: Samples | None = None
    calibration: _CalibrationTable | None = None
    evaluation: _EvaluationTable | None = None
    pipeline: PipelineTable | None = None
    classes: tuple[str, ...] = ()
    max_drop: float = 0.01
    goals: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.size is not None and min(self.size) < 1:
            raise KeyFaultError("size", "size must be [height, width] in pixels, both positive")
        if not 0 <= self.max_drop <= 1:
            raise KeyFaultError("max_drop", "max_drop must lie between 0 and 1")
        if self.samples is not None and self.samples.count < 1:
            raise KeyFaultError("samples", "samples.count must be at least 1")
        if len(set(self.classes)) != len(self.classes):
            raise KeyFaultError("classes", "classes must be distinct")


def is_plain_filename(text: str) -> bool:
    """Tell whether ``text`` may name a file in mirror and cache, never a way out of them."""
    return re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._+-]*", text) is not None


def recipe_names() -> tuple[str, ...]:
    """Return the names of all recipes, sorted."""
    return tuple(catalog_files("recipes"))


def load_recipe(name: str) -> Recipe:
    """Return the recipe with this name.

    Raises:
        UnknownNameError: there is none; the hint says what was probably meant.
        CatalogError: its file is wrong.
    """
    return read_recipe(find_file("recipes", name))


def read_recipe(file: Path) -> Recipe:
    """Return the recipe that ``file`` describes, named by the file's stem.

    Paths in it count from the file's own folder.

    Raises:
        CatalogError: the file is wrong.
    """
    table = read_toml(file, _RecipeTable)
    folder = file.resolve().parent
    return Recipe(
        name=file.stem,
        title=table.title,
        task=table.task,
        source=table.source.value(folder),
        preprocess=table.preprocess.value(),
        postprocess=table.postprocess.value(),
        size=table.size,
        export=table.export.value(folder) if table.export else None,
        samples=table.samples,
        calibration=table.calibration.value() if table.calibration else None,
        evaluation=table.evaluation.value() if table.evaluation else None,
        pipeline=table.pipeline.value(folder) if table.pipeline else None,
        classes=table.classes,
        licence=table.licence,
        homepage=table.homepage,
        max_drop=table.max_drop,
        goals=table.goals,
        defined_in=file,
    )


def recipe_for_onnx(path: Path, *, name: str | None = None) -> Recipe:
    """Return a recipe for a user's own ONNX file: tensors in, tensors out, no hash promised.

    Args:
        path: the file; it must exist.
        name: what to call it; the file's stem, made lawful, if not given.

    Raises:
        ModelError: there is no such file.
        UsageError: ``name`` cannot be a name.
    """
    absolute = path.expanduser().absolute()
    if not absolute.is_file():
        raise ModelError(
            f"no model file {path}", hint="give the path of an .onnx file, or a recipe's name"
        )
    return Recipe(
        name=check_name(name, "model") if name is not None else _lawful(absolute.stem),
        title=absolute.name,
        task="tensor",
        source=Source(
            kind="file",
            filename=absolute.name,
            size_bytes=absolute.stat().st_size,
            path=absolute,
        ),
        preprocess=StepSpec("tensor"),
        postprocess=StepSpec("tensor"),
    )


def _lawful(stem: str) -> str:
    """Return the nearest lawful name to a file's stem."""
    name = re.sub(r"[^a-z0-9._-]+", "-", stem.lower()).strip("._-")
    return name if is_name(name) else "model"
