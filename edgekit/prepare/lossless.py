"""Rewrites of a graph that change how it is computed, not what: tried, proven, cached."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final

from edgekit.catalog.cache import KeyedCache, cache_root
from edgekit.core.events import EventSink, StepFinished, StepStarted, ignore
from edgekit.core.model import FileRef, Model, Pipeline, StepSpec, TensorSpec

SPACE_TO_DEPTH: Final = "space-to-depth"
REWRITES: Final = (SPACE_TO_DEPTH,)
STEP: Final = "rewrite"
# Counts up with every change that makes another graph, or judges it otherwise.
LOSSLESS_VERSION: Final = 1
_FILE: Final = "model.onnx"
_INDEX: Final = "rewrite.json"
_IMAGE_STEPS: Final = frozenset({"letterbox", "resize"})


def lossless_rewrites(model: Model) -> tuple[str, ...]:
    """Return the names of the rewrites that apply to ``model``; cached."""
    return tuple(name for name in REWRITES if rewritten(model, (name,), emit=ignore) is not None)


def rewritten(model: Model, rewrites: tuple[str, ...], *, emit: EventSink = ignore) -> Model | None:
    """Return ``model`` with its graph rewritten; ``None`` where a rewrite does not apply.

    Before a rewritten graph is given out it was held against the original by ONNX Runtime, on
    seeded inputs: no output may differ by more than 1e-4 of its largest value. The reference
    stays the whole float graph as it was. Cached: an unchanged call imports nothing heavy.

    ``space-to-depth``: the convolutions of stride 2 that read the image become convolutions of
    stride 1 on ``float32[1, 12, H/2, W/2]``, in which channel ``(dy * 2 + dx) * 3 + c`` holds
    the pixels ``(2 y + dy, 2 x + dx)`` of channel ``c``; the preprocess step is told
    ``"block": 2``.

    Raises:
        ValueError: no rewrite has such a name.
    """
    for name in rewrites:
        if name not in REWRITES:
            raise ValueError(f"no lossless rewrite is named {name!r}")
    changed: Model | None = model
    for name in dict.fromkeys(rewrites):
        changed = _rewritten(changed, name, emit) if changed is not None else None
    return changed


def _rewritten(model: Model, name: str, emit: EventSink) -> Model | None:
    if not _takes_planes(model):
        return None
    cache = KeyedCache(cache_root() / "lossless")
    key = json.dumps([LOSSLESS_VERSION, name, model.onnx.sha256, asdict(model.inputs[0])])
    folder = cache.get(key)
    if folder is not None:
        known, held = _read(model, folder)
        if known:
            return held
        cache.discard(key)  # damaged: something outside edgekit changed it
    emit(StepStarted(STEP, f"Rewrite {model.name}: {name}"))

    def fill(building: Path) -> None:
        _write(model, building)

    try:
        _, made = _read(model, cache.build(key, fill, emit=emit, subject=f"the {name} rewrite"))
    except BaseException:
        emit(StepFinished(STEP, "failed", ok=False))
        raise
    emit(StepFinished(STEP, "does not apply" if made is None else "equal to the original"))
    return made


def _takes_planes(model: Model) -> bool:
    """Tell whether the model takes one image in planes, of even height and width."""
    step = model.pipeline.preprocess
    parameters = json.loads(step.parameters_json)
    if step.name not in _IMAGE_STEPS or parameters.get("layout", "NCHW") != "NCHW":
        return False
    if len(model.inputs) != 1 or parameters.get("block", 1) != 1:
        return False
    shape = model.inputs[0].shape
    return len(shape) == 4 and shape[0] == 1 and shape[2] % 2 == 0 and shape[3] % 2 == 0  # noqa: PLR2004 - NCHW


def _write(model: Model, folder: Path) -> None:
    from edgekit.prepare.space_to_depth import proven_graph

    graph = proven_graph(model)
    index: dict[str, Any] = {"applies": graph is not None}
    if graph is not None:
        data = graph.SerializeToString(deterministic=True)
        (folder / _FILE).write_bytes(data)
        index["sha256"] = hashlib.sha256(data).hexdigest()
        index["size_bytes"] = len(data)
    (folder / _INDEX).write_text(json.dumps(index), encoding="ascii")


def _read(model: Model, folder: Path) -> tuple[bool, Model | None]:
    """Return whether the folder can be read, and the model in it if the rewrite applied."""
    try:
        index = json.loads((folder / _INDEX).read_text(encoding="ascii"))
        if not index["applies"]:
            return True, None
        file = FileRef(folder / _FILE, index["sha256"], index["size_bytes"])
        if file.path.stat().st_size != file.size_bytes:
            return False, None
    except (OSError, ValueError, KeyError, TypeError):
        return False, None
    spec = model.inputs[0]
    _, channels, height, width = spec.shape
    blocks = TensorSpec(spec.name, spec.dtype, (1, 4 * channels, height // 2, width // 2))
    step = model.pipeline.preprocess
    parameters = {**json.loads(step.parameters_json), "block": 2}
    before = StepSpec(step.name, json.dumps(parameters, sort_keys=True, separators=(",", ":")))
    return True, replace(
        model,
        onnx=file,
        inputs=(blocks,),
        pipeline=Pipeline(before, model.pipeline.postprocess),
    )
