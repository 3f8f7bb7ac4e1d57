"""ncnn on the board: the CPU, one net.

Python 3.6 and newer, NumPy and ncnn.
"""

import json
import os
import sys
from typing import Any, Dict, Mapping

import numpy as np

from edgekit.onboard import harness

_SPIN_COUNT = 1000


class Session:
    """One loaded model.

    ``blobs.json`` (written by ``build.py``) maps the model's tensor names to ncnn's blobs, and
    says which inputs must be copied; ncnn's own tensors have no batch axis.

    Knobs:
        threads: OpenMP threads.
        spin_count: how often a waiting thread looks for work before it sleeps; 1000 unless given,
            libgomp's own is 300000. YOLOv5n at 640 (2 threads on 2 shared x86 cores): on a quiet
            machine 28 to 46 ms with libgomp's, 31 to 34 ms with 1000, 41 ms asleep at once; with
            one core busy otherwise 35 to 490 ms, 55 to 58 ms and 36 to 41 ms.
    """

    def __init__(
        self, folder: str, job: Mapping[str, Any], precision: str, knobs: Mapping[str, Any]
    ) -> None:
        # libgomp reads it once, when ncnn brings it in.
        os.environ["GOMP_SPINCOUNT"] = str(int(knobs.get("spin_count", _SPIN_COUNT)))
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
