"""Which layers lose most in int8: each alone, whatever the engine."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Final

from edgekit.catalog.cache import KeyedCache, cache_root, remove_tree, sha256_of
from edgekit.core.contracts import Ranges
from edgekit.core.events import EventSink, StepFinished, StepProgress, StepStarted, ignore
from edgekit.core.model import Model
from edgekit.core.quantisation import (
    CalibrationMethod,
    CalibrationSet,
    LayerLoss,
    Sensitivity,
)

STEP: Final = "sensitivity"
# Counts up with every change here, in layer_noise.py or downstream.py that changes a figure.
SENSITIVITY_VERSION: Final = 2
# More samples move the ranking little and cost a run of the graph per layer each.
SAMPLES: Final = 4
# Operators that have weights, which is where int8 saves time.
WEIGHTED_OPERATORS: Final = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_FILE: Final = "sensitivity.json"


def quantisable(model: Model) -> bool:
    """Tell whether the model has any layer that int8 could make faster."""
    return not WEIGHTED_OPERATORS.isdisjoint(model.operators)


def sensitivity_of(
    model: Model,
    calibration: CalibrationSet,
    observer: Callable[[str], Ranges],
    *,
    method: CalibrationMethod = "percentile",
    samples: int = SAMPLES,
    emit: EventSink = ignore,
) -> Sensitivity:
    """Quantise one layer after the other and see what it does to the outputs; cached.

    A layer's weights are rounded to int8 for each channel, symmetrically; what it gives is
    rounded to int8 for the whole tensor, asymmetrically. Layers that only move values are left
    out, layers that join or map them are not: a scale shared at a Concat can kill a detector.

    Args:
        model: in normal form.
        calibration: its inputs; the first ``samples`` of it are used.
        observer: makes an observer of ranges for a method.
        method: how ranges are chosen; ``engine`` cannot be had outside of the engine, and is
            taken as ``minmax``.
        samples: on how many ranges are observed and outputs compared.
        emit: told of the step.

    Raises:
        ModelError: ONNX Runtime cannot run the graph.
        RuntimeError: a value is not finite during calibration.
    """
    chosen: CalibrationMethod = "minmax" if method == "engine" else method
    used = min(samples, calibration.count)
    emit(StepStarted(STEP, f"Quantise each layer of {model.name} alone"))
    cache = KeyedCache(cache_root() / "sensitivity")
    key = _key(model, calibration, observer, chosen, used)
    folder = cache.get(key)
    held = _read(folder, chosen, used) if folder is not None else None
    if held is not None:
        emit(StepFinished(STEP, "cached"))
        return held
    if folder is not None:
        cache.discard(key)

    def fill(building: Path) -> None:
        from edgekit.prepare.layer_noise import layer_losses

        def told(done: int, total: int) -> None:
            emit(StepProgress(STEP, done, total, "layers"))

        scratch = building / "tensors"
        scratch.mkdir()
        losses = layer_losses(model, calibration, observer(chosen), used, scratch, told)
        remove_tree(scratch)
        content = json.dumps([asdict(loss) for loss in losses])
        (building / _FILE).write_text(content, encoding="utf-8")

    try:
        made = _read(cache.build(key, fill, emit=emit, subject="the sensitivity"), chosen, used)
    except BaseException:
        emit(StepFinished(STEP, "failed", ok=False))
        raise
    if made is None:
        raise OSError("the sensitivity that was just written cannot be read back")
    emit(StepFinished(STEP, f"{len(made.layers)} layers on {used} samples"))
    return made


def _key(
    model: Model,
    calibration: CalibrationSet,
    observer: Callable[[str], Ranges],
    method: str,
    samples: int,
) -> str:
    import inspect

    step = model.pipeline.postprocess
    return json.dumps(
        [
            SENSITIVITY_VERSION,
            model.onnx.sha256,
            [step.name, step.parameters_json],
            calibration.identity,
            sha256_of(Path(inspect.getfile(observer))),
            method,
            samples,
        ]
    )


def _read(folder: Path, method: CalibrationMethod, samples: int) -> Sensitivity | None:
    try:
        content = json.loads((folder / _FILE).read_text(encoding="utf-8"))
        layers = tuple(LayerLoss(**entry) for entry in content)
    except (OSError, ValueError, TypeError):
        return None
    return Sensitivity(layers, method, samples)
