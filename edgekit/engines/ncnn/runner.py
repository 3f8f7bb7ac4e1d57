"""ncnn on the board: the CPU, one net.

Python 3.6 and newer, NumPy and ncnn.
"""

import json
import os
import sys
from typing import Any, Dict, Mapping

import numpy as np

from edgekit.onboard import harness


class Session:
    """One loaded model.

    ``blobs.json`` (written by ``build.py``) maps the model's tensor names to ncnn's blobs, and
    says which inputs must be copied; ncnn's own tensors have no batch axis.

    Knobs:
        threads: OpenMP threads.
        spinning: 1 lets waiting threads spin, libgomp's own default; 0, the default here, lets
            them sleep. A thread that spins for one that is not running holds its core: with a
            light load beside it, YOLOv5n at 640 (2 threads, 2 shared cores) took a steady 40 ms
            sleeping, and 35 to 490 ms spinning.
    """

    def __init__(
        self, folder: str, job: Mapping[str, Any], precision: str, knobs: Mapping[str, Any]
    ) -> None:
        if int(knobs.get("spinning", 0)) == 0:
            # libgomp reads it once, when ncnn brings it in.
            os.environ["OMP_WAIT_POLICY"] = "passive"
        import ncnn

        with open(os.path.join(folder, "blobs.json"), encoding="utf-8") as stream:
            blobs = json.load(stream)
        self._ncnn = ncnn
        self._inputs = [
            (b["name"], b["blob"], tuple(b["shape"]), b["copy"]) for b in blobs["inputs"]
        ]
        shapes = {spec["name"]: tuple(spec["shape"]) for spec in job["outputs"]}
        self._outputs = [(b["name"], b["blob"], shapes[b["name"]]) for b in blobs["outputs"]]
        self._net = ncnn.Net()
        _set_options(self._net.opt, precision, knobs["threads"])
        for load, name in (
            (self._net.load_param, "model.ncnn.param"),
            (self._net.load_model, "model.ncnn.bin"),
        ):
            if load(os.path.join(folder, name)) != 0:
                raise RuntimeError("ncnn cannot load %s" % name)

    def run(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Infer once; names and shapes are the model's own."""
        extractor = self._net.create_extractor()
        # ncnn.Mat(array) keeps no reference: the arrays must outlive the extractor.
        alive = []
        for name, blob, shape, copy in self._inputs:
            array = np.ascontiguousarray(inputs[name], dtype=np.float32).reshape(shape)
            alive.append(array)
            mat = self._ncnn.Mat(array)
            # A layer that works in place crashes on memory that is not ncnn's own.
            if extractor.input(blob, mat.clone() if copy else mat) != 0:
                raise RuntimeError("ncnn refused input %s" % name)
        outputs = {}
        for name, blob, shape in self._outputs:
            status, mat = extractor.extract(blob)
            if status != 0:
                raise RuntimeError("ncnn could not compute output %s" % name)
            # A copy: ncnn's memory goes with the extractor.
            outputs[name] = np.array(mat).reshape(shape)
        return outputs

    def versions(self) -> Dict[str, str]:
        """Tell the software that ran."""
        return {"ncnn": self._ncnn.__version__}


def _set_options(options: Any, precision: str, threads: int) -> None:
    """Strictly float32 for fp32; half-precision storage and arithmetic for fp16.

    ncnn turns on whatever the CPU has unless it is told otherwise.
    """
    half = precision == "fp16"
    options.num_threads = threads
    options.use_vulkan_compute = False
    options.use_fp16_packed = half
    options.use_fp16_storage = half
    options.use_fp16_arithmetic = half
    options.use_bf16_storage = False


if __name__ == "__main__":
    sys.exit(harness.main(Session))
