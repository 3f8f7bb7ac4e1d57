"""Which tensors of an engine's file are which of the ONNX model: told by the values they hold.

Converters give tensors names of their own. The numbers that flow do not change by that: the built
file runs in its toolbox, the model under ONNX Runtime, both on one seeded input.
"""

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from edgekit.catalog.cache import KeyedCache, cache_root
from edgekit.core.bundle import BundleFile
from edgekit.core.contracts import Engine
from edgekit.core.errors import BuildError
from edgekit.core.events import EventSink
from edgekit.core.model import Model
from edgekit.onboard import figures as onboard_figures
from edgekit.onboard.figures import figures
from edgekit.toolbox.environments import environment, lock_sha256, own_python
from edgekit.toolbox.process import last_lines, new_log, run_logged

if TYPE_CHECKING:
    from numpy.typing import NDArray

FILE: Final = "twins.json"
_FIGURES: Final = Path(onboard_figures.__file__)
_RUN: Final = Path(__file__).with_name("run_values.py")
_TIMEOUT_S: Final = 600.0
_SEED: Final = 20261122
# By how much both may differ: of the largest value, and of the moments of values up to 1.
_TOLERANCE: Final = 2e-4
# How many of the model's tensors are held at once.
_AT_ONCE: Final = 24


def values_script(engine: Engine) -> Path | None:
    """Return the engine's ``values.py``; ``None`` where its names are the model's own."""
    script = engine.build_script.with_name("values.py")
    return script if script.is_file() else None


def twins(
    engine: Engine, model: Model, files: Sequence[BundleFile], *, emit: EventSink
) -> Path | None:
    """Return a JSON file: for each tensor of the engine's, the model's that hold the same.

    Args:
        engine: whose ``values.py`` runs the files.
        model: in normal form.
        files: built of it at fp32: other precisions hold other values.
        emit: told of the toolbox, if it must be made.

    Returns:
        ``None`` where the engine needs no such file.

    Raises:
        BuildError: the files cannot be run in the toolbox.
    """
    script = values_script(engine)
    if script is None:
        return None
    key = json.dumps(
        {
            "engine": engine.name,
            "model": model.onnx.sha256,
            "files": [[file.path, file.sha256] for file in files],
            "toolbox": [engine.toolbox.python, lock_sha256(engine.toolbox)],
            "scripts": [_digest(path) for path in (script, _RUN, _FIGURES, Path(__file__))],
        },
        sort_keys=True,
    )

    def fill(folder: Path) -> None:
        python = environment(engine.toolbox, emit=emit).python
        with tempfile.TemporaryDirectory(prefix="edgekit-twins-") as scratch:
            inputs = _inputs(model)
            theirs = _theirs(engine, python, script, files, inputs, Path(scratch))
        _write(folder / FILE, model, inputs, theirs)

    cache = KeyedCache(cache_root() / "twins")
    return cache.build(key, fill, emit=emit, subject=f"{model.name} for {engine.name}") / FILE


def twins_of(model: Model, inputs: Path, values: Path, output: Path) -> Path:
    """Write such a file of figures that a device told.

    Args:
        model: in normal form.
        inputs: ``.npz`` with what the device inferred on, by the inputs' names.
        values: JSON, by the name of each tensor of the engine's its figures.
        output: file to write.
    """
    import numpy as np

    with np.load(inputs, allow_pickle=False) as loaded:
        arrays = {name: loaded[name] for name in loaded.files}
    _write(output, model, arrays, json.loads(values.read_text(encoding="utf-8")))
    return output


def _write(
    path: Path,
    model: Model,
    inputs: "Mapping[str, NDArray[Any]]",
    theirs: Mapping[str, Sequence[float]],
) -> None:
    ours = dict(_ours(model, inputs))
    found = {name: _equal(held, ours) for name, held in theirs.items()}
    path.write_text(json.dumps(found), encoding="utf-8")


def _theirs(
    engine: Engine,
    python: Path,
    script: Path,
    files: Sequence[BundleFile],
    inputs: "Mapping[str, NDArray[Any]]",
    scratch: Path,
) -> Mapping[str, Sequence[float]]:
    import numpy as np

    for file in files:
        place = scratch / "files" / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file.source, place)
    held = {"inputs": str(scratch / "inputs.npz"), "folder": str(scratch / "files")}
    arrays: dict[str, Any] = dict(inputs)
    np.savez(held["inputs"], **arrays)
    job = scratch / "job.json"
    job.write_text(
        json.dumps({"script": str(script), "figures": str(_FIGURES), **held}), encoding="utf-8"
    )
    log = new_log(cache_root() / "logs", f"values-{engine.name}")
    what = f"{engine.name}'s layers cannot be matched with the model's"
    try:
        command = [*own_python(python), str(_RUN), str(job)]
        status = run_logged(command, log, timeout_s=_TIMEOUT_S)
    except (TimeoutError, OSError) as error:
        raise BuildError(f"{what}: {error}", hint=f"log: {log}") from error
    if status != 0:
        raise BuildError(f"{what}:\n{last_lines(log)}", hint=f"the whole log: {log}")
    told: Mapping[str, Sequence[float]] = json.loads(
        (scratch / "values.json").read_text(encoding="utf-8")
    )
    return told


def _inputs(model: Model) -> "dict[str, NDArray[Any]]":
    import numpy as np

    random = np.random.default_rng(_SEED)
    return {
        spec.name: random.random(spec.shape, np.float32)
        if spec.dtype == "float32"
        else np.zeros(spec.shape, spec.dtype)
        for spec in model.inputs
    }


def _ours(
    model: Model, inputs: "Mapping[str, NDArray[Any]]"
) -> Iterator[tuple[str, Sequence[float]]]:
    """Give the figures of the model's inputs, and of all that its nodes make, fused by nobody."""
    import onnx
    import onnxruntime

    for name, values in inputs.items():
        if (held := figures(values)) is not None:
            yield name, held
    graph = onnx.load(str(model.onnx.path))
    made = [name for node in graph.graph.node for name in node.output if name]
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    for first in range(0, len(made), _AT_ONCE):
        names = made[first : first + _AT_ONCE]
        del graph.graph.output[:]
        graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
        session = onnxruntime.InferenceSession(
            graph.SerializeToString(), options, providers=["CPUExecutionProvider"]
        )
        for name, values in zip(names, session.run(names, dict(inputs)), strict=True):
            if (held := figures(values)) is not None:
                yield name, held


def _equal(one: Sequence[float], others: Mapping[str, Sequence[float]]) -> list[str]:
    size, largest, *moments = one
    found = []
    for name, (other_size, other_largest, *other_moments) in others.items():
        if size != other_size or abs(largest - other_largest) > _TOLERANCE * largest:
            continue
        apart = [abs(a - b) for a, b in zip(moments, other_moments, strict=True)]
        if max(apart) <= _TOLERANCE:
            found.append(name)
    return found


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
