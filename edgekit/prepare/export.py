"""Weights that are not ONNX, made ONNX once by the recipe's own script."""

import json
import subprocess
from pathlib import Path
from typing import Final

from edgekit.catalog.cache import ContentStore, KeyedCache, cache_root, sha256_of
from edgekit.core.errors import ModelError
from edgekit.core.events import EventSink, StepFinished, StepStarted
from edgekit.core.model import FileRef
from edgekit.core.recipe import Export, Recipe

STEP: Final = "export"
_TAIL_LINES: Final = 5
_RECORD: Final = "export.json"


def cached_export(recipe: Recipe, file: FileRef) -> FileRef | None:
    """Return what an earlier call made of these weights, so that no Python need be made."""
    if recipe.export is None:
        return file
    folder = _cache().get(_key(recipe.export, file))
    return _read(folder) if folder is not None else None


def export_model(recipe: Recipe, file: FileRef, *, python: Path, emit: EventSink) -> FileRef:
    """Run the recipe's export script, ``script WEIGHTS OUTPUT``, and return the ONNX file.

    Args:
        recipe: without an export, ``file`` is returned as it is.
        file: the weights, verified.
        python: interpreter that has what ``recipe.export.requirements`` lists.
        emit: told of the step.

    Raises:
        ModelError: the script fails, or its output is not the one promised.
    """
    export = recipe.export
    if export is None:
        return file
    emit(StepStarted(STEP, f"Export {recipe.name} to ONNX"))
    held = cached_export(recipe, file)
    if held is not None:
        emit(StepFinished(STEP, "cached"))
        return held
    key = _key(export, file)
    _cache().discard(key)  # its content is gone, or it never was

    def fill(folder: Path) -> None:
        made = _run(recipe.name, export, file, python, folder / "model.onnx")
        held = ContentStore().add_file(made)
        made.unlink()
        (folder / _RECORD).write_text(json.dumps([held.sha256, held.size_bytes]), encoding="ascii")

    try:
        folder = _cache().build(key, fill, emit=emit, subject=f"the export of {recipe.name}")
    except BaseException:
        emit(StepFinished(STEP, "failed", ok=False))
        raise
    made = _read(folder)
    if made is None:
        raise OSError("the export that was just made cannot be read back")
    emit(StepFinished(STEP, f"{made.size_bytes / 1e6:.1f} MB"))
    return made


def _run(name: str, export: Export, file: FileRef, python: Path, output: Path) -> Path:
    # -I: neither the user's site folder nor PYTHON* variables change what the script imports.
    command = [str(python), "-I", str(export.script), str(file.path), str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0 or not output.is_file():
        lines = [line for line in done.stderr.splitlines() if line.strip()][-_TAIL_LINES:]
        raise ModelError(
            f"the export of {name} failed: {' / '.join(lines) or f'exit {done.returncode}'}",
            hint=f"run it by hand: {' '.join(command)}",
        )
    found = sha256_of(output)
    if export.sha256 is not None and found != export.sha256:
        raise ModelError(
            f"the export of {name} has sha256 {found}, expected {export.sha256}",
            hint=f"install exactly what {export.requirements.name} lists",
        )
    return output


def _cache() -> KeyedCache:
    return KeyedCache(cache_root() / "exports")


def _key(export: Export, file: FileRef) -> str:
    parts = [file.sha256, sha256_of(export.script), sha256_of(export.requirements), export.sha256]
    return json.dumps(parts)


def _read(folder: Path) -> FileRef | None:
    try:
        sha256, size_bytes = json.loads((folder / _RECORD).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None
    path = ContentStore().path_of(sha256)
    return FileRef(path, sha256, size_bytes) if path.is_file() else None
