"""A :class:`~edgekit.core.model.Model` beside its files, as JSON."""

import json
from pathlib import Path
from typing import Any, Final

from edgekit.core.model import FileRef, Model, Pipeline, StepSpec, TensorSpec

FILE_NAME: Final = "model.json"


def write_model(model: Model, folder: Path) -> None:
    """Write ``model`` into ``folder``, which holds its files."""

    def file(ref: FileRef) -> dict[str, Any]:
        return {"name": ref.path.name, "sha256": ref.sha256, "size_bytes": ref.size_bytes}

    def tensor(spec: TensorSpec) -> dict[str, Any]:
        return {"name": spec.name, "dtype": spec.dtype, "shape": list(spec.shape)}

    def pipeline(steps: Pipeline) -> list[list[str]]:
        return [[s.name, s.parameters_json] for s in (steps.preprocess, steps.postprocess)]

    content = {
        "name": model.name,
        "onnx": file(model.onnx),
        "reference": file(model.reference),
        "source_sha256": model.source_sha256,
        "inputs": [tensor(spec) for spec in model.inputs],
        "outputs": [tensor(spec) for spec in model.outputs],
        "operators": list(model.operators),
        "head_cut": model.head_cut,
        "pipeline": pipeline(model.pipeline),
        "reference_pipeline": pipeline(model.reference_pipeline),
        "classes": list(model.classes),
    }
    (folder / FILE_NAME).write_text(json.dumps(content, indent=1), encoding="utf-8")


def read_model(folder: Path) -> Model | None:
    """Return the model in ``folder``; ``None`` if a file of it is missing or of another size."""
    try:
        content = json.loads((folder / FILE_NAME).read_text(encoding="utf-8"))
        files = [_file(folder, content[key]) for key in ("onnx", "reference")]
        if any(ref.path.stat().st_size != ref.size_bytes for ref in files):
            return None
        return Model(
            name=content["name"],
            onnx=files[0],
            reference=files[1],
            source_sha256=content["source_sha256"],
            inputs=_tensors(content["inputs"]),
            outputs=_tensors(content["outputs"]),
            operators=tuple(content["operators"]),
            head_cut=content["head_cut"],
            pipeline=_pipeline(content["pipeline"]),
            reference_pipeline=_pipeline(content["reference_pipeline"]),
            classes=tuple(content["classes"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _file(folder: Path, entry: dict[str, Any]) -> FileRef:
    return FileRef(folder / entry["name"], entry["sha256"], entry["size_bytes"])


def _tensors(entries: list[dict[str, Any]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(e["name"], e["dtype"], tuple(e["shape"])) for e in entries)


def _pipeline(entries: list[list[str]]) -> Pipeline:
    preprocess, postprocess = (StepSpec(name, parameters) for name, parameters in entries)
    return Pipeline(preprocess, postprocess)
