"""TFLite on the board: LiteRT's interpreter, XNNPACK on the CPU.

Python 3.6 and newer, NumPy, and ai_edge_litert or its forerunner tflite_runtime.
"""

import json
import os
import sys
from typing import Any, Callable, Dict, Mapping, Tuple

import numpy as np

from edgekit.onboard import harness
from edgekit.onboard.arrays import Form, Quantised

# Axes that bring channels last to the model's order, and the model's to channels last.
_FROM_LAST = [0, 3, 1, 2]
_TO_LAST = [0, 2, 3, 1]


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
        interpreter, self._versions = _runtime()
        with open(os.path.join(folder, "tensors.json"), encoding="utf-8") as stream:
            tensors = json.load(stream)
        self._net = interpreter(
            model_path=os.path.join(folder, "model.tflite"), num_threads=knobs["threads"]
        )
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
        return self._versions


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


def _runtime() -> Tuple[Any, Dict[str, str]]:
    """Return the interpreter's class, and which package and version it is of."""
    try:
        import ai_edge_litert as package
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tflite_runtime as package
        from tflite_runtime.interpreter import Interpreter
    return Interpreter, {"tflite": "%s %s" % (package.__name__, package.__version__)}


if __name__ == "__main__":
    sys.exit(harness.main(Session))
