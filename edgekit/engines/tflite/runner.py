"""TFLite on the board: LiteRT's interpreter, XNNPACK on the CPU.

Python 3.6 and newer, NumPy, and ai_edge_litert or its forerunner tflite_runtime.
"""

import json
import os
import sys
from typing import Any, Callable, Dict, List, Mapping, Sequence, Tuple

import numpy as np

from edgekit.onboard import harness
from edgekit.onboard.arrays import Form, Quantised

# Axes that bring channels last to the model's order, and the model's to channels last.
_FROM_LAST = [0, 3, 1, 2]
_TO_LAST = [0, 2, 3, 1]
# By how much both ways into LiteRT may differ, by the kind of dtype.
_NEAR = {"f": 1e-3, "i": 1, "u": 1, "b": 0}


class Session:
    """One loaded model.

    ``tensors.json`` (written by ``build.py``) maps the model's tensor names to places in the
    file, and says how each is laid out and quantised.

    Knobs:
        threads: threads of XNNPACK and of the interpreter's own kernels.

    Attributes:
        input_forms: how inputs must come that are not plain tensors of the model's own shape.
    """

    def __init__(
        self, folder: str, job: Mapping[str, Any], _precision: str, knobs: Mapping[str, Any]
    ) -> None:
        interpreter, self._package = _runtime()
        self._model = os.path.join(folder, "model.tflite")
        self._threads = knobs["threads"]
        with open(os.path.join(folder, "tensors.json"), encoding="utf-8") as stream:
            tensors = json.load(stream)
        self._net = interpreter(model_path=self._model, num_threads=self._threads)
        self._net.allocate_tensors()
        given, made = self._net.get_input_details(), self._net.get_output_details()
        self.input_forms = {
            item["name"]: _form(item) for item in tensors["inputs"] if _is_special(item)
        }
        self._inputs = [
            (item["name"], given[item["place"]]["index"], item["dtype"])
            for item in tensors["inputs"]
        ]
        dtypes = {spec["name"]: spec["dtype"] for spec in job["outputs"]}
        self._outputs = [
            (item["name"], made[item["place"]]["index"], _reader(item, dtypes[item["name"]]))
            for item in tensors["outputs"]
        ]

    def run(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Infer once; inputs in their forms, outputs as TFLite lays them out in memory."""
        net = self._net
        for name, index, dtype in self._inputs:
            net.set_tensor(index, np.asarray(inputs[name], dtype=dtype))
        net.invoke()
        # A copy: a view would forbid the next inference for as long as anyone holds it.
        return {name: read(net.get_tensor(index)) for name, index, read in self._outputs}

    def versions(self) -> Dict[str, str]:
        """Tell the software that ran."""
        package = self._package
        return {"tflite": "%s %s" % (package.__name__, package.__version__)}

    def profile(self, inputs: Mapping[str, Any], runs: int, layers: Any, folder: str) -> None:
        """Infer by LiteRT's other way in, whose profiler counts whole microseconds.

        The operators of the file as the interpreter has them go along: XNNPACK tells of its own
        only what they are and their order.
        """
        from edgekit.engines.tflite import runner_profiler as profiler

        name, version = self._package.__name__, self._package.__version__
        if name != "ai_edge_litert" or not version.startswith(profiler.RELEASES):
            raise RuntimeError("the profiler of %s %s is not known" % (name, version))
        self.run(inputs)
        library = os.path.dirname(self._package.__file__)
        model = profiler.Profiled(library, self._model, self._threads)
        places = {detail["index"]: at for at, detail in enumerate(self._net.get_input_details())}
        for name, index, dtype in self._inputs:
            model.feed(places[index], np.asarray(inputs[name], dtype=dtype, order="C").tobytes())
        model.run()
        self._check(model.outputs())
        for _run in range(runs):
            _tell(model.profile(), layers)
        layers.files["operators.json"] = os.path.join(folder, "operators.json")
        with open(layers.files["operators.json"], "w", encoding="utf-8") as stream:
            json.dump(self._operators(), stream)
        layers.method = (
            "through LiteRT's CompiledModel, not the interpreter that is deployed; both have the "
            "same XNNPACK; times are cut off to whole microseconds"
        )

    def _check(self, outputs: Sequence[bytes]) -> None:
        """Find out whether the other way in computes the same, input for input."""
        for detail, data in zip(self._net.get_output_details(), outputs):
            expected = self._net.get_tensor(detail["index"])
            found = np.frombuffer(data, expected.dtype).reshape(expected.shape)
            # Threads may share work out otherwise: sums differ in last digits, a step in int8.
            if not np.allclose(found, expected, rtol=1e-3, atol=_NEAR[expected.dtype.kind]):
                raise RuntimeError("LiteRT's CompiledModel gives another %s" % detail["name"])

    def _operators(self) -> List[Dict[str, Any]]:
        names = {item["index"]: item["name"] for item in self._net.get_tensor_details()}
        return [
            {
                "name": item["op_name"],
                "inputs": [names.get(int(number), "") for number in item["inputs"]],
                "outputs": [names.get(int(number), "") for number in item["outputs"]],
            }
            for item in self._net._get_ops_details()  # noqa: SLF001 - of the one release we use
        ]


def _tell(events: Sequence[Any], layers: Any) -> None:
    """Tell one run: the interpreter's own operators, and those within each of its delegates."""
    from edgekit.engines.tflite.runner_profiler import IN_DELEGATE, OPERATOR

    delegate = -1
    for event in events:
        if event.kind == IN_DELEGATE:
            delegate += event.number == 0
            key = delegate, event.number  # type: Tuple[int, int]
        elif event.kind == OPERATOR:
            key = -1, event.number
        else:
            continue
        layers.see(key, event.elapsed_us * 1000, _facts(key, event.tag.decode()))
    layers.end_run()


def _facts(key: Tuple[int, int], tag: str) -> Callable[[], Mapping[str, Any]]:
    def tell() -> Mapping[str, Any]:
        delegate, number = key
        operator, _, kernel = tag.partition(" (")
        where = "interpreter" if delegate < 0 else "xnnpack %d" % delegate
        return {
            "name": "%s, operator %d" % (where, number),
            "operator": operator,
            "unit": "CPU",
            "kernel": kernel.replace(")", ""),
            "delegate": delegate,
            "number": number,
        }

    return tell


def _is_special(item: Mapping[str, Any]) -> bool:
    return item["scale"] is not None or item["axes"] == _TO_LAST


def _form(item: Mapping[str, Any]) -> Form:
    layout = "NHWC" if item["axes"] == _TO_LAST else "NCHW"
    return Form(layout, item["dtype"], item["scale"], item["zero_point"])


def _reader(item: Mapping[str, Any], dtype: str) -> Callable[[Any], Any]:
    """Return what makes the model's output of the file's, without touching its values."""
    axes, scale, zero_point = item["axes"], item["scale"], item["zero_point"]
    if dtype != "float32":
        return lambda values: values.transpose(axes).astype(dtype, copy=False)
    if axes == _FROM_LAST:
        return lambda values: Quantised(values, scale, zero_point, "NHWC")
    if scale is not None:
        return lambda values: Quantised(values.transpose(axes), scale, zero_point, "NCHW")
    return lambda values: values.transpose(axes)


def _runtime() -> Tuple[Any, Any]:
    """Return the interpreter's class, and the package that it is of."""
    try:
        import ai_edge_litert as package
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tflite_runtime as package
        from tflite_runtime.interpreter import Interpreter
    return Interpreter, package


if __name__ == "__main__":
    sys.exit(harness.main(Session))
