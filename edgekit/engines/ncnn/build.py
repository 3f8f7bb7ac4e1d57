"""ONNX to ncnn through pnnx, then run once with ncnn and compared with ONNX Runtime.

Runs inside the toolbox. pnnx declares torch, which its program does not need: the toolbox
installs it without dependencies and calls the program.
"""

import importlib.metadata
import json
import os
import re
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.core.contracts import BuildJob

_PARAM = "model.ncnn.param"
_WEIGHTS = "model.ncnn.bin"
# Shares of an output's largest value. fp16 holds 11 bits; deep nets add up a few of them.
_TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2}
# Layers that never work in place. ncnn crashes where one that does is fed memory of ours.
_READ_ONLY = frozenset({"Convolution", "ConvolutionDepthWise", "Pooling", "InnerProduct"})


def build(job: "BuildJob") -> None:
    """Write ``model.ncnn.param``, ``model.ncnn.bin`` and ``blobs.json``."""
    # Read once, when ncnn comes in. Waiting threads that spin cost ten times what the work itself
    # does where the machine is busy otherwise.
    os.environ["GOMP_SPINCOUNT"] = "0"
    _convert(job)
    if not all((job.scratch / name).is_file() for name in (_PARAM, _WEIGHTS)):
        raise RuntimeError("pnnx ended without an error and left no ncnn model")
    _check_layers(job.scratch / _PARAM)
    blobs = _blobs(job)
    (job.output / "blobs.json").write_text(json.dumps(blobs, sort_keys=True), encoding="utf-8")
    net = _Net(job, blobs, job.scratch)
    job.verify(net.infer, tolerance=_TOLERANCE.get(job.precision, _TOLERANCE["fp32"]))
    if job.precision == "int8":
        _quantise(job, net)
        job.grade(_Net(job, blobs, job.output).infer)
        return
    for name in (_PARAM, _WEIGHTS):
        shutil.copyfile(job.scratch / name, job.output / name)


def _quantise(job: "BuildJob", net: "_Net") -> None:
    """Observe the float model, and write its int8 form."""
    # They import what only the toolbox has.
    from .build_graph import read_graph
    from .build_int8 import kept_in_float, observed, quantisable, quantise

    graph = read_graph(job.scratch / _PARAM, job.scratch / _WEIGHTS)
    able = [layer for layer in graph.layers if quantisable(layer)]
    if not able:
        raise RuntimeError("ncnn has none of this model's layers in int8")
    float_layers = job.quantisation.float_layers if job.quantisation else ()
    kept = kept_in_float(able, job.model, float_layers) if float_layers else frozenset()
    chosen = [layer for layer in able if layer.name not in kept]
    ranges = job.ranges()
    blobs = observed(graph, chosen)
    for inputs in job.samples():
        ranges.see(net.look(inputs, blobs))
    quantise(graph, chosen, ranges)
    graph.write(job.output / _PARAM, job.output / _WEIGHTS)


def _convert(job: "BuildJob") -> None:
    pnnx = importlib.metadata.distribution("pnnx").locate_file("pnnx/pnnx")
    source = job.scratch / "model.onnx"
    shutil.copyfile(job.model, source)
    shapes = ",".join(
        f"[{','.join(map(str, spec.shape))}]{_suffix(spec.dtype)}" for spec in job.inputs
    )
    half = int(job.precision == "fp16")
    job.run([str(pnnx), source.name, f"inputshape={shapes}", f"fp16={half}"])


def _suffix(dtype: str) -> str:
    # Source: pnnx's README, "inputshape".
    return {"float32": "f32", "int32": "i32", "int64": "i64"}[dtype]


def _check_layers(param: Path) -> None:
    """Find what pnnx leaves what ncnn has no layer for: it goes by pnnx's own names."""
    layers = [line.split()[0] for line in param.read_text(encoding="utf-8").splitlines()[2:]]
    foreign = sorted({layer for layer in layers if "." in layer or "::" in layer})
    if foreign:
        raise RuntimeError(f"ncnn has no layer for {', '.join(foreign)}")


def _blobs(job: "BuildJob") -> dict[str, Any]:
    """Map names to blobs: pnnx numbers both in graph order, and says where a batch axis was."""
    script = (job.scratch / "model_ncnn.py").read_text(encoding="utf-8")
    readers = _readers(job.scratch / _PARAM)
    inputs = []
    for number, spec in enumerate(job.inputs):
        batch = re.search(
            rf"input\(\"in{number}\", ncnn\.Mat\(in{number}.*?(batch_index=|squeeze\()(\d+)", script
        )
        shape = list(spec.shape)
        # pnnx says 233 where it found no batch axis.
        if batch is not None and (axis := int(batch[2])) < len(shape):
            if shape[axis] != 1:
                raise RuntimeError(f"input {spec.name} has a batch of {shape[axis]}; ncnn takes 1")
            del shape[axis]
        blob = f"in{number}"
        copy = not readers.get(blob, set()) <= _READ_ONLY
        inputs.append({"name": spec.name, "blob": blob, "shape": shape, "copy": copy})
    outputs = [
        {"name": spec.name, "blob": f"out{number}", "shape": list(spec.shape)}
        for number, spec in enumerate(job.outputs)
    ]
    # The version is for cross/runners/ncnn: the board's library may be another's.
    version = importlib.metadata.version("ncnn")
    return {"inputs": inputs, "outputs": outputs, "ncnn": version}


def _readers(param: Path) -> dict[str, set[str]]:
    """Return the types of the layers that read each blob."""
    readers: dict[str, set[str]] = {}
    for line in param.read_text(encoding="utf-8").splitlines()[2:]:
        kind, _name, count, _made, *blobs = line.split()
        for blob in blobs[: int(count)]:
            readers.setdefault(blob, set()).add(kind)
    return readers


def _why_not_loaded(job: "BuildJob", param: Path) -> str:
    """Ask ncnn, which names the layer on standard error only."""
    load = "import sys, ncnn; sys.exit(ncnn.Net().load_param(sys.argv[1]) != 0)"
    try:
        job.run([sys.executable, "-I", "-c", load, str(param)])
    except RuntimeError as error:
        layers = sorted(set(re.findall(r"layer (\S+) not exists", str(error))))
        if layers:
            return f"ncnn has no layer for {', '.join(layers)}"
    return "ncnn cannot load what pnnx made of the graph"


class _Net:
    """A model in ``folder`` under ncnn on the host, strictly as precise as its files."""

    def __init__(self, job: "BuildJob", blobs: Mapping[str, Any], folder: Path) -> None:
        import ncnn

        self._ncnn = ncnn
        self._blobs = blobs
        self._shapes = {spec.name: spec.shape for spec in job.outputs}
        self._net = ncnn.Net()
        half = job.precision == "fp16"
        options = self._net.opt
        options.use_vulkan_compute = False
        options.use_fp16_packed = options.use_fp16_storage = half
        options.use_fp16_arithmetic = half
        options.use_bf16_storage = False
        if self._net.load_param(str(folder / _PARAM)) != 0:
            raise RuntimeError(_why_not_loaded(job, folder / _PARAM))
        if self._net.load_model(str(folder / _WEIGHTS)) != 0:
            raise RuntimeError("ncnn cannot load the model's weights")

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Infer once."""
        import numpy as np

        found = self.look(inputs, [blob["blob"] for blob in self._blobs["outputs"]])
        outputs = {}
        for blob in self._blobs["outputs"]:
            array, wanted = found[blob["blob"]], self._shapes[blob["name"]]
            outputs[blob["name"]] = (
                array.reshape(wanted) if array.size == np.prod(wanted) else array
            )
        return outputs

    def look(self, inputs: Mapping[str, Any], blobs: Sequence[str]) -> dict[str, Any]:
        """Infer once and return what the blobs held, in ncnn's own shapes."""
        import numpy as np

        extractor = self._net.create_extractor()
        extractor.set_light_mode(False)  # it would forget a blob once its last reader has run
        alive = []  # ncnn.Mat(array) keeps no reference
        for blob in self._blobs["inputs"]:
            array = np.ascontiguousarray(inputs[blob["name"]], np.float32).reshape(blob["shape"])
            alive.append(array)
            mat = self._ncnn.Mat(array)
            extractor.input(blob["blob"], mat.clone() if blob["copy"] else mat)
        found = {}
        for blob in blobs:
            status, mat = extractor.extract(blob)
            if status != 0:
                raise RuntimeError(f"ncnn could not compute blob {blob}")
            found[blob] = np.array(mat)
        return found
