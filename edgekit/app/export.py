"""``export``: an engine's files for a kind of board, with all that is needed to use them there."""

import inspect
import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

from edgekit.app.bundles import refuse_terms
from edgekit.app.models import prepared_model, resolve_recipe
from edgekit.app.quantise import refuse_int8
from edgekit.app.runtimes import refuse_tree
from edgekit.app.tuned import tuned_engine
from edgekit.catalog.targets import load_target
from edgekit.core.bundle import BundleFile
from edgekit.core.contracts import Engine, Unsupported
from edgekit.core.errors import EngineError, UsageError
from edgekit.core.events import EventSink, ignore
from edgekit.core.model import Model, StepSpec
from edgekit.core.names import EngineName, Precision
from edgekit.core.quantisation import CalibrationMethod, Int8, Quantisation
from edgekit.core.recipe import Recipe
from edgekit.core.target import Target

MANIFEST: Final = "manifest.json"
README: Final = "README.md"
PROGRAM: Final = "run-model"
_FORMAT: Final = 1
# How the programs for boards without Python are called there.
_PROGRAMS: Final = {
    "ncnn-run": "./ncnn-run -l LIBRARY -p {half} -t THREADS -o . model.ncnn.param INPUT.npy...",
    PROGRAM: f"./{PROGRAM} -t THREADS -o . INPUT.npy...",
    "tvm-run": "./tvm-run -l LIBRARIES -t THREADS -o . model.so INPUT.npy...",
}
_LIBRARIES: Final = {
    "ncnn-run": "LIBRARY is the board's libncnn.so, or its folder; it must have the C interface.",
    PROGRAM: "It needs no library.",
    "tvm-run": (
        "LIBRARIES is a folder with libtvm_ffi.so and libtvm_runtime.so, which are in the wheels "
        "of apache-tvm-ffi {apache-tvm-ffi} and apache-tvm {apache-tvm}; for 32-bit ARM there are "
        "none, and `edgekit export --static` makes a program that needs none."
    ),
}


@dataclass(frozen=True)
class ExportOptions:
    """What is to be exported.

    Attributes:
        model: a recipe's name, or the path of an ONNX file.
        engine: whose files.
        target: the kind of board; no device is needed.
        output: folder to make; an empty one may be there.
        size: input height and width in pixels, ``None`` for the recipe's own.
        method: how int8 ranges are chosen, ``None`` for the engine's best first guess.
        calibration: folder of images for int8, ``None`` for the recipe's set.
        calibration_count: on how many frames; ``None`` for the recipe's number.
        accept_licence: engines whose vendor's terms are accepted, beside those of the settings.
        static: whether the files are one program that holds the model and its runtime.
    """

    model: str
    engine: str
    target: str
    output: Path
    precision: Precision = "fp32"
    size: tuple[int, int] | None = None
    method: CalibrationMethod | None = None
    calibration: Path | None = None
    calibration_count: int | None = None
    accept_licence: tuple[EngineName, ...] = ()
    static: bool = False


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        manifest: what ``manifest.json`` holds.
    """

    folder: Path
    files: tuple[BundleFile, ...]
    manifest: Mapping[str, Any]

    def as_json(self) -> Mapping[str, Any]:
        """Plain values for scripts."""
        return {"folder": str(self.folder), **self.manifest}


def export(options: ExportOptions, *, emit: EventSink = ignore) -> Exported:
    """Build a model for an engine and a kind of board; write the files where the user says.

    Raises:
        UsageError: the folder is taken, or what was asked for cannot be meant.
        EngineError: the engine cannot serve this model so, or the build failed.
    """
    from edgekit.engines import load_engine
    from edgekit.toolbox.programs import program

    engine, target = load_engine(options.engine), load_target(options.target)
    _check_asked(engine, options)
    recipe = resolve_recipe(options.model)
    model = prepared_model(recipe, options.size, emit=emit)
    refusal = refuse_int8(model) if options.precision == "int8" else None
    _stop_at(refusal or engine.check(model, options.precision, target))
    int8 = _int8(engine, recipe, model, options, emit)
    tuned = tuned_engine(engine, model, options.precision, target, emulated=False, emit=emit)
    work = _Work(tuned or engine, model, options.precision, target, int8)
    if options.static:
        files = _static(work, emit)
    else:
        runs = program(engine.name, target.architecture, emit=emit)
        files = (*_build(work, emit), *((runs,) if runs else ()))
    manifest = _manifest(engine, model, target, options.precision, int8, files)
    _write(options.output, files, manifest, _readme(engine, manifest))
    return Exported(options.output, files, manifest)


@dataclass(frozen=True)
class _Work:
    """What is built."""

    engine: Engine
    model: Model
    precision: Precision
    target: Target
    int8: Int8 | None


def _build(work: _Work, emit: EventSink) -> tuple[BundleFile, ...]:
    from edgekit.toolbox.build import build

    return build(work.engine, work.model, work.precision, work.target, int8=work.int8, emit=emit)


def _static(work: _Work, emit: EventSink) -> tuple[BundleFile, ...]:
    from edgekit.app.static import static_program
    from edgekit.engines.tvm import Tvm

    engine = work.engine
    if not isinstance(engine, Tvm):
        raise TypeError(f"{engine.name} leaves no object files")  # _check_asked refused it
    files = _build(replace(work, engine=engine.with_objects()), emit)
    return static_program(files, work.target, emit=emit)


def _check_asked(engine: Engine, options: ExportOptions) -> None:
    if options.precision not in engine.precisions:
        raise EngineError(
            f"{engine.name} does not offer {options.precision}",
            hint=f"--precision {' or '.join(engine.precisions)}",
        )
    if options.method is not None and options.precision != "int8":
        raise UsageError(f"{options.precision} has no calibration", hint="leave --method out")
    if options.method is not None and options.method not in engine.methods:
        raise UsageError(
            f"{engine.name} does not calibrate by {options.method}",
            hint=f"--method {' or '.join(engine.methods)}",
        )
    if options.static and engine.name != "tvm":
        raise UsageError(
            f"{engine.name} cannot be linked into one program with its model",
            hint="--engine tvm, or without --static",
        )
    _stop_at(refuse_terms(engine, options.accept_licence))
    _stop_at(refuse_tree() if options.static else None)
    _check_output(options.output)


def _check_output(output: Path) -> None:
    """Refuse, before anything is built, a folder whose place the export could not take."""
    place = output.resolve()
    above = next(folder for folder in place.parents if folder.exists())
    if not above.is_dir():
        raise UsageError(f"{above} is no folder", hint="name another with --output")
    if output.exists() and (not output.is_dir() or any(output.iterdir())):
        raise UsageError(
            f"{output} is there and is no empty folder", hint="name another with --output"
        )
    if place == Path.cwd() or place.is_mount():
        raise UsageError(
            f"{output} is in use, and an export appears whole or not at all",
            hint=f"name a folder in it: --output {output / 'NAME'}",
        )


def _stop_at(refusal: Unsupported | None) -> None:
    if refusal is not None:
        raise EngineError(refusal.reason, hint=refusal.hint)


def _int8(
    engine: Engine, recipe: Recipe, model: Model, options: ExportOptions, emit: EventSink
) -> Int8 | None:
    from edgekit.prepare.calibration import load_calibration

    if options.precision != "int8":
        return None
    calibration = load_calibration(
        recipe, model, images=options.calibration, count=options.calibration_count, emit=emit
    )
    return Int8(Quantisation(options.method or engine.methods[0]), calibration)


def _manifest(
    engine: Engine,
    model: Model,
    target: Target,
    precision: Precision,
    int8: Int8 | None,
    files: tuple[BundleFile, ...],
) -> Mapping[str, Any]:
    return {
        "format": _FORMAT,
        "model": model.name,
        "source_sha256": model.source_sha256,
        "engine": engine.name,
        "precision": precision,
        "target": target.name,
        "architecture": target.architecture,
        "inputs": [asdict(spec) for spec in model.inputs],
        "outputs": [asdict(spec) for spec in model.outputs],
        "preprocess": _step(model.pipeline.preprocess),
        "postprocess": _step(model.pipeline.postprocess),
        "classes": list(model.classes),
        "quantisation": int8.quantisation.as_json() if int8 else None,
        "calibration": (
            {"count": int8.calibration.count, "identity": int8.calibration.identity}
            if int8
            else None
        ),
        "files": [
            {"path": file.path, "sha256": file.sha256, "size_bytes": file.size_bytes}
            for file in files
        ],
        "made_with": _pins(engine),
    }


def _step(step: StepSpec) -> Mapping[str, Any]:
    return {"name": step.name, "parameters": json.loads(step.parameters_json)}


def _pins(engine: Engine) -> Mapping[str, str]:
    """Return the exact versions in the engine's toolbox: runtimes must match some of them."""
    lock = engine.toolbox.requirements.read_text(encoding="utf-8")
    return dict(re.findall(r"^([A-Za-z0-9._-]+)==([^\s;\\]+)", lock, re.MULTILINE))


def _readme(engine: Engine, manifest: Mapping[str, Any]) -> str:
    """Say in words what the files are and how they are used."""

    def tensors(specs: list[Mapping[str, Any]]) -> list[str]:
        return [f"- `{s['name']}` {s['dtype']}[{', '.join(map(str, s['shape']))}]" for s in specs]

    def steps(name: str) -> str:
        step = manifest[name]
        return f"`{step['name']}`, parameters `{json.dumps(step['parameters'])}`"

    files = [f"- `{file['path']}`, {file['size_bytes']} bytes" for file in manifest["files"]]
    lines = [
        f"# {manifest['model']} for {engine.name} {manifest['precision']}, {manifest['target']}",
        "",
        # What follows is for whoever makes one in Python.
        (inspect.getdoc(type(engine)) or "").partition("\nArgs:\n")[0].rstrip(),
        "",
        "Files:",
        *files,
        "",
        *_program(manifest),
        "Inputs:",
        *tensors(manifest["inputs"]),
        "",
        "Outputs:",
        *tensors(manifest["outputs"]),
        "",
        f"Before the model: {steps('preprocess')}.",
        f"After it: {steps('postprocess')}.",
        "",
        f"Hashes, classes and the versions that made the files are in `{MANIFEST}`.",
        "",
    ]
    return "\n".join(lines)


def _program(manifest: Mapping[str, Any]) -> list[str]:
    """Say how the files are run without Python, where there is a program for it."""
    half = "fp16" if manifest["precision"] == "fp16" else "fp32"
    return [
        line
        for file in manifest["files"]
        if file["path"] in _PROGRAMS
        for line in (
            "On a board without Python, with inputs in the order below; outputs become out-0.npy,",
            "out-1.npy...:",
            "",
            f"    {_PROGRAMS[file['path']].format(half=half)}",
            "",
            _LIBRARIES[file["path"]].format_map(manifest["made_with"]),
            "",
        )
    ]


def _write(
    output: Path, files: tuple[BundleFile, ...], manifest: Mapping[str, Any], readme: str
) -> None:
    """Write all of it beside ``output`` first: a folder that is there is whole."""
    output = output.resolve()  # a link would stand in the way itself
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{output.name}-", dir=output.parent) as temporary:
        folder = Path(temporary, "export")
        for file in files:
            path = folder / file.path
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.source, path)
            if os.access(file.source, os.X_OK):
                path.chmod(0o755)
        text = json.dumps(manifest, indent=2, sort_keys=True)
        (folder / MANIFEST).write_text(f"{text}\n", encoding="utf-8")
        (folder / README).write_text(readme, encoding="utf-8")
        # Takes the place of an empty folder too, and of nothing else.
        folder.rename(output)
