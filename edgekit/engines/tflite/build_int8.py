"""Full integer from a float .tflite: int8 in, int8 out, every operator int8.

Runs inside the toolbox, beside ``build.py``. Ranges come from ``job.ranges()``: the float model
is run with every tensor kept, XNNPACK included, which gives what the plain kernels give to 1e-5.
"""

import copy
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import build_file as file
from . import build_scales as scales

if TYPE_CHECKING:
    from ai_edge_litert.schema_py_generated import ModelT, OperatorT, SubGraphT

    from edgekit.core.contracts import Ranges

Feeds = Iterable[Mapping[str, Any]]  # what the file's inputs take, sample by sample


class Observer:
    """The float model with all of its tensors kept."""

    def __init__(self, path: Path) -> None:
        from ai_edge_litert.interpreter import Interpreter

        with warnings.catch_warnings():
            # That it needs memory for every tensor is the point.
            warnings.simplefilter("ignore", UserWarning)
            self._net = Interpreter(
                model_path=str(path),
                num_threads=len(os.sched_getaffinity(0)),
                experimental_preserve_all_tensors=True,
            )
        self._net.allocate_tensors()
        self._places = {item["name"]: item["index"] for item in self._net.get_input_details()}
        model = file.read(path.read_bytes())
        wanted = {name for graph in model.subgraphs[:1] for name in _float_tensors(graph)}
        self._kept = {
            item["name"]: item["index"]
            for item in self._net.get_tensor_details()
            if item["name"] in wanted
        }

    def values(self, feeds: Mapping[str, Any]) -> dict[str, Any]:
        """Infer once; give views of all float tensors, which must be gone before the next."""
        for name, value in feeds.items():
            self._net.set_tensor(self._places[name], value)
        self._net.invoke()
        return {name: self._net.tensor(index)() for name, index in self._kept.items()}


def _float_tensors(graph: "SubGraphT") -> Iterator[str]:
    """Name the graph's inputs and all that its operators make, where they are float32."""
    from ai_edge_litert import schema_py_generated as schema

    numbers = [*graph.inputs, *(number for item in graph.operators for number in item.outputs)]
    for number in numbers:
        if graph.tensors[number].type == schema.TensorType.FLOAT32:
            yield file.name_of(graph, number)


def quantise(float_file: Path, feeds: Feeds, ranges: "Ranges", islands: frozenset[str]) -> bytes:
    """Return the int8 file.

    Args:
        float_file: the float model.
        feeds: calibration samples, as the file's inputs take them.
        ranges: chooses the tensors' ranges.
        islands: scopes (:func:`scope`) of operators that stay in float.

    Raises:
        RuntimeError: no samples, values that are not finite, or operators without int8 kernels.
    """
    model = file.read(float_file.read_bytes())
    limits = _observe(float_file, feeds, ranges)
    scales.join(model, limits)
    made = file.read(_quantised(float_file, model, limits, islands))
    _give_floats(made)
    _assert_integer(made, islands)
    return file.write(made)


def _observe(float_file: Path, feeds: Feeds, ranges: "Ranges") -> scales.Limits:
    observer = Observer(float_file)
    widest: scales.Limits = {}
    count = 0
    for feed in feeds:
        ranges.see(observer.values(feed))
        count += 1
        for name, value in feed.items():
            low, high = widest.get(name, (0.0, 0.0))
            widest[name] = min(low, float(value.min())), max(high, float(value.max()))
    if not count:
        raise RuntimeError("int8 needs calibration samples, and there are none")
    limits = {name: ranges.of(name) for name in ranges.names()}
    for name, (low, high) in widest.items():
        # What goes in has known ends, which no method needs to guess.
        limits[name] = (low, high)
        if low >= 0.0 and high <= 1.0:
            limits[name] = (0.0, 1.0)
            print(f"input {name} lies in 0..1: scale 1/255, zero point -128")  # noqa: T201 - the log
    print(f"ranges of {len(limits)} tensors from {count} samples")  # noqa: T201 - the log
    return limits


def scope(graph: "SubGraphT", operator: "OperatorT") -> str:
    """Return what the quantiser's recipes match: the names of all that an operator makes."""
    return "".join(f"{file.name_of(graph, number)};" for number in operator.outputs)


def _quantised(
    float_file: Path, model: "ModelT", limits: scales.Limits, islands: frozenset[str]
) -> bytes:
    import numpy as np
    from litert_quantizer import quantizer, recipe

    ranks = {
        file.name_of(graph, number): 0 if tensor.shape is None else len(tensor.shape)
        for graph in model.subgraphs
        for number, tensor in enumerate(graph.tensors)
    }
    rules = recipe.static_wi8_ai8()
    # Its kernels take one scale for all of the weights, and compute nonsense of one per column.
    matmul = copy.deepcopy(rules[0])
    matmul["operation"] = "BATCH_MATMUL"
    matmul["op_config"]["weight_tensor_config"]["granularity"] = "TENSORWISE"
    rules.append(matmul)
    for name in sorted(islands):
        rule = {"regex": f"^{re.escape(name)}$", "operation": "*", "algorithm_key": "no_quantize"}
        rules.append({**rule, "op_config": {}})
    # The ends have the tensor's rank: constants that are joined to it are quantised alike.
    statistics = {
        name: {
            "min": np.full((1,) * ranks[name], low, np.float32),
            "max": np.full((1,) * ranks[name], high, np.float32),
        }
        for name, (low, high) in limits.items()
    }
    result = quantizer.Quantizer(str(float_file), rules).quantize(
        statistics, enable_progress_bar=False, enable_progress_report=False
    )
    return bytes(result.quantized_model)


def _give_floats(model: "ModelT") -> None:
    """Let an output that is computed in float leave in float: int8 would only round it."""
    graph = model.subgraphs[0]
    made = {int(number): item for item in graph.operators for number in item.outputs}
    for place, number in enumerate(graph.outputs):
        last = made.get(int(number))
        if last is None or file.kind(model, last) != "QUANTIZE":
            continue
        source = int(last.inputs[0])
        if not _is_float(graph, source):
            continue
        if not _used(graph, int(number)):
            graph.operators.remove(last)
        graph.outputs[place] = source
        for signature in model.signatureDefs or []:
            for item in signature.outputs:
                if item.tensorIndex == number:
                    item.tensorIndex = source


def _used(graph: "SubGraphT", number: int) -> bool:
    return any(number in [int(item) for item in operator.inputs] for operator in graph.operators)


def _is_float(graph: "SubGraphT", number: int) -> bool:
    from ai_edge_litert import schema_py_generated as schema

    kinds = (schema.TensorType.FLOAT32, schema.TensorType.FLOAT16)
    return number >= 0 and graph.tensors[number].type in kinds


def _assert_integer(model: "ModelT", islands: frozenset[str]) -> None:
    """Read the file: no operator works on floats but those that were left there.

    Raises:
        RuntimeError: others do, or nothing is int8; the message names their kinds.
    """
    floats: set[str] = set()
    whole = 0
    for graph, operator in file.made(model):
        kind = file.kind(model, operator)
        numbers = [int(number) for number in (*operator.inputs, *operator.outputs)]
        if not any(_is_float(graph, number) for number in numbers):
            whole += 1
        elif kind not in {"QUANTIZE", "DEQUANTIZE"} and scope(graph, operator) not in islands:
            floats.add(kind)
    if floats:
        kinds = ", ".join(sorted(floats))
        raise RuntimeError(f"TFLite has no int8 kernel for {kinds}: not all of it can be integer")
    if not islands and any(
        _is_float(graph, number)
        for graph in model.subgraphs
        for number in range(len(graph.tensors))
    ):
        raise RuntimeError("the quantiser left float tensors in a model that should have none")
    if not whole:
        raise RuntimeError("nothing is left in int8: the model has no layer that can be")
