"""ncnn on the board: one net, on the CPU or through Vulkan on the GPU.

Python 3.6 and newer, NumPy and ncnn.
"""

import atexit
import json
import os
import sys
from typing import Any, Dict, List, Mapping, Tuple

import numpy as np

from edgekit.onboard import harness
from edgekit.onboard.timing import clock_ns

_SPIN_COUNT = 1000
_AS_IT_LIES = 1  # the type that ncnn's extract() takes for: in its own layout and precision
_UNSETTLED_RUNS = 2


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
        gpu: ``on`` computes on the GPU through Vulkan; ``off`` unless given. Not for int8.
        winograd: ``off`` computes 3x3 convolutions the plain way; ``on`` unless given. It has
            more additions for fewer multiplications, which suits not every core.
        half: ``on`` lets the layers of an int8 model that are not int8 compute in half
            precision; ``off`` unless given.

    Raises:
        RuntimeError: the files cannot be loaded, or there is no Vulkan device.
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
        self._device = _vulkan_device(ncnn, precision) if knobs.get("gpu") == "on" else None
        # What goes to the GPU must lie as ncnn lays it out: it aligns channels, NumPy does not.
        always = self._device is not None
        self._inputs = [
            (b["name"], b["blob"], tuple(b["shape"]), always or b["copy"]) for b in blobs["inputs"]
        ]
        shapes = {spec["name"]: tuple(spec["shape"]) for spec in job["outputs"]}
        self._outputs = [(b["name"], b["blob"], shapes[b["name"]]) for b in blobs["outputs"]]
        self._net = ncnn.Net()
        if self._device is not None:
            # The driver must outlive all that the net holds on the device.
            atexit.register(self._net.clear)
        _set_options(self._net.opt, precision, knobs)
        for load, name in (
            (self._net.load_param, "model.ncnn.param"),
            (self._net.load_model, "model.ncnn.bin"),
        ):
            if load(os.path.join(folder, name)) != 0:
                raise RuntimeError("ncnn cannot load %s" % name)

    def run(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Infer once; names and shapes are the model's own."""
        extractor, _alive = self._fed(inputs)
        outputs = {}
        for name, blob, shape in self._outputs:
            status, mat = extractor.extract(blob)
            if status != 0:
                raise RuntimeError("ncnn could not compute output %s" % name)
            # A copy: ncnn's memory goes with the extractor.
            outputs[name] = np.array(mat).reshape(shape)
        return outputs

    def _fed(self, inputs: Mapping[str, Any]) -> Tuple[Any, List[Any]]:
        """Return an extractor with its inputs, and arrays that must outlive it."""
        extractor = self._net.create_extractor()
        # ncnn.Mat(array) keeps no reference.
        alive = []
        for name, blob, shape, copy in self._inputs:
            array = np.ascontiguousarray(inputs[name], dtype=np.float32).reshape(shape)
            alive.append(array)
            mat = self._ncnn.Mat(array)
            # A layer that works in place crashes on memory that is not ncnn's own.
            if extractor.input(blob, mat.clone() if copy else mat) != 0:
                raise RuntimeError("ncnn refused input %s" % name)
        return extractor, alive

    def profile(self, inputs: Mapping[str, Any], runs: int, layers: Any, folder: str) -> None:
        """Extract one blob after the other: each time one layer more is computed.

        ncnn's own timing of layers must be compiled in, which it is in no wheel.
        """
        del folder
        if self._device is not None:
            raise RuntimeError("ncnn does not tell what layers take on a GPU")
        steps = _steps(self._net)
        for _run in range(_UNSETTLED_RUNS + runs):
            extractor, _alive = self._fed(inputs)
            times = []
            for _facts, top in steps:
                started = clock_ns()
                # As it lies: turned into plain floats it would take longer than in the model.
                # Not kept either: a layer that works in place would have to copy it first.
                status = extractor.extract(top, _AS_IT_LIES)[0]
                times.append(clock_ns() - started)
                if status != 0:
                    raise RuntimeError("ncnn could not compute blob %s" % top)
            if _run >= _UNSETTLED_RUNS:
                _tell(steps, times, layers)
        layers.method = (
            "blobs are extracted one after the other, from Python: every layer's time holds "
            "that of such a call, which is what each Split shows"
        )

    def versions(self) -> Dict[str, str]:
        """Tell the software that ran, and the GPU where one did."""
        versions = {"ncnn": self._ncnn.__version__}
        if self._device is not None:
            versions["vulkan"] = self._device
        return versions


def _steps(net: Any) -> List[Tuple[Dict[str, Any], str]]:
    """Return what there is to tell of each layer, in ncnn's order, and a blob that it makes."""
    blobs = [blob.name for blob in net.blobs()]
    steps = []
    for layer in net.layers():
        if layer.type == "Input":
            continue
        facts = {"name": layer.name, "operator": layer.type, "unit": "CPU"}  # type: Dict[str, Any]
        facts["tops"] = [blobs[number] for number in layer.tops]
        facts["bottoms"] = [blobs[number] for number in layer.bottoms]
        steps.append((facts, facts["tops"][0]))
    return steps


def _tell(steps: List[Tuple[Dict[str, Any], str]], times: List[int], layers: Any) -> None:
    for (facts, _top), time_ns in zip(steps, times):
        layers.see(facts["name"], time_ns, facts.copy)
    layers.end_run()


def _vulkan_device(ncnn: Any, precision: str) -> str:
    """Return the name of the GPU that ncnn will use."""
    if precision == "int8":
        raise RuntimeError("ncnn computes int8 on the CPU only")
    # A build of ncnn without Vulkan lacks the function.
    if not hasattr(ncnn, "get_gpu_count") or ncnn.get_gpu_count() == 0:
        raise RuntimeError("no Vulkan device: no driver for this GPU, or no libvulkan.so.1")
    return str(ncnn.get_gpu_info(ncnn.get_default_gpu_index()).device_name())


def _set_options(options: Any, precision: str, knobs: Mapping[str, Any]) -> None:
    """Strictly float32 for fp32; half-precision storage and arithmetic for fp16.

    ncnn turns on whatever the CPU has unless it is told otherwise.
    """
    half = precision == "fp16" or (precision == "int8" and knobs.get("half") == "on")
    options.num_threads = knobs["threads"]
    options.use_vulkan_compute = knobs.get("gpu") == "on"
    options.use_winograd_convolution = knobs.get("winograd") != "off"
    options.use_fp16_packed = half
    options.use_fp16_storage = half
    options.use_fp16_arithmetic = half
    options.use_bf16_storage = False


if __name__ == "__main__":
    sys.exit(harness.main(Session))
