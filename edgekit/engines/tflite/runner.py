"""TFLite on the board: LiteRT's interpreter, XNNPACK on the CPU.

Python 3.6 and newer, NumPy, and ai_edge_litert or its forerunner tflite_runtime.
"""

import json
import os
import sys
from typing import Any, Dict, Mapping, Tuple

import numpy as np

from edgekit.onboard import harness


class Session:
    """One loaded model.

    ``tensors.json`` (written by ``build.py``) maps the model's tensor names to places in the
    file, and says by which axes an output's layout becomes the model's.

    Knobs:
        threads: threads of XNNPACK and of the interpreter's own kernels.
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
        self._inputs = [
            (item["name"], given[item["place"]]["index"], given[item["place"]]["dtype"])
            for item in tensors["inputs"]
        ]
        dtypes = {spec["name"]: spec["dtype"] for spec in job["outputs"]}
        self._outputs = [
            (item["name"], made[item["place"]]["index"], item["axes"], dtypes[item["name"]])
            for item in tensors["outputs"]
        ]

    def run(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Infer once; names and shapes are the model's own, the layout in memory TFLite's."""
        net = self._net
        for name, index, dtype in self._inputs:
            net.set_tensor(index, np.asarray(inputs[name], dtype=dtype))
        net.invoke()
        # get_tensor copies, transpose does not.
        return {
            name: net.get_tensor(index).transpose(axes).astype(dtype, copy=False)
            for name, index, axes, dtype in self._outputs
        }

    def versions(self) -> Dict[str, str]:
        """Tell the software that ran."""
        return self._versions


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
