"""Calibration sets for layers by themselves: what the float net feeds each of them.

Imports onnx and ONNX Runtime.
"""

import hashlib
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from edgekit.core.errors import ModelError
from edgekit.core.model import FileRef, Model
from edgekit.core.quantisation import CalibrationSet
from edgekit.prepare.session import Reference

Array = NDArray[Any]

_VERSION: Final = 1


def layer_calibration(
    model: Model,
    calibration: CalibrationSet,
    inputs: Mapping[str, str],
    folder: Path,
    limit_bytes: int,
) -> CalibrationSet:
    """Return what the model's tensors hold on its calibration samples.

    Args:
        model: in normal form.
        calibration: the model's own.
        inputs: tensors of the model, each with the name of the input that it is to be fed to.
        folder: empty; the set lives as long as it does.
        limit_bytes: as many samples are taken as fit, the first ones.

    Raises:
        ModelError: a tensor has no batch axis of one, or ONNX Runtime cannot run the graph.
    """
    session = _tapped(model, inputs)
    names = [spec.name for spec in model.inputs]
    stacks: dict[str, Array] = {}
    count = calibration.count
    for number, sample in enumerate(itertools.islice(_samples(calibration), count)):
        values = {**{name: sample[name] for name in names}, **session.run(sample)}
        if not stacks:
            own = sum(values[tensor].nbytes for tensor in inputs)
            count = max(1, min(count, limit_bytes // max(own, 1)))
            stacks = _stacks(folder, {inputs[name]: values[name] for name in inputs}, count)
        for tensor, name in inputs.items():
            stacks[name][number] = values[tensor][0]
        if number + 1 == count:
            break
    files = []
    for name, stack in stacks.items():
        stack.flush()  # type: ignore[attr-defined] # a memmap, which is an array that is a file
        path = folder / f"{name}.npy"
        with path.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        files.append((name, FileRef(path, digest, path.stat().st_size)))
    identity = json.dumps([_VERSION, [[name, file.sha256] for name, file in files]])
    digest = hashlib.sha256(identity.encode()).hexdigest()
    return CalibrationSet(tuple(files), count, calibration.frames, digest)


def _tapped(model: Model, inputs: Mapping[str, str]) -> Reference:
    proto = onnx.load(model.onnx.path)
    made = {name for node in proto.graph.node for name in node.output}
    held = {value.name for value in proto.graph.output}
    proto.graph.output.extend(
        helper.make_empty_tensor_value_info(name)
        for name in inputs
        if name in made and name not in held
    )
    return Reference(proto, model.name)


def _samples(calibration: CalibrationSet) -> Iterator[dict[str, Array]]:
    stacks = {
        name: np.load(file.path, mmap_mode="r", allow_pickle=False)
        for name, file in calibration.inputs
    }
    for number in range(calibration.count):
        yield {name: np.array(stack[number : number + 1]) for name, stack in stacks.items()}


def _stacks(folder: Path, values: Mapping[str, Array], count: int) -> dict[str, Array]:
    for name, value in values.items():
        if value.ndim == 0 or value.shape[0] != 1:
            raise ModelError(
                f"{name} has no batch axis of one, which calibration needs",
                hint="compare fp32 or fp16",
            )
    return {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy",
            mode="w+",
            dtype=value.dtype,
            shape=(count, *value.shape[1:]),
        )
        for name, value in values.items()
    }
