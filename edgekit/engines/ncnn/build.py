"""ONNX to ncnn through pnnx, then run once with ncnn and compared with ONNX Runtime.

Runs inside the toolbox. pnnx declares torch, which its program does not need: the toolbox
installs it without dependencies and calls the program.
"""

import importlib.metadata
import json
import re
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit.core.contracts import BuildJob

# Shares of an output's largest value. fp16 holds 11 bits; deep nets add up a few of them.
_TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2}
# Layers that never work in place. ncnn crashes where one that does is fed memory of ours.
_READ_ONLY = frozenset({"Convolution", "ConvolutionDepthWise", "Pooling", "InnerProduct"})


def build(job: "BuildJob") -> None:
    """Write ``model.ncnn.param``, ``model.ncnn.bin`` and ``blobs.json``."""
    _convert(job)
    names = ("model.ncnn.param", "model.ncnn.bin")
    for name in names:
        made = job.scratch / name
        if not made.is_file():
            raise RuntimeError("pnnx ended without an error and left no ncnn model")
        shutil.copyfile(made, job.output / name)
    _check_layers(job.output / "model.ncnn.param")
    blobs = _blobs(job)
    (job.output / "blobs.json").write_text(json.dumps(blobs, sort_keys=True), encoding="utf-8")
    job.verify(_Net(job, blobs).infer, tolerance=_TOLERANCE[job.precision])


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
    readers = _readers(job.output / "model.ncnn.param")
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
        {"name": spec.name, "blob": f"out{number}"} for number, spec in enumerate(job.outputs)
    ]
    return {"inputs": inputs, "outputs": outputs}


def _readers(param: Path) -> dict[str, set[str]]:
    """Return the types of the layers that read each blob."""
    readers: dict[str, set[str]] = {}
    for line in param.read_text(encoding="utf-8").splitlines()[2:]:
        kind, _name, count, _made, *blobs = line.split()
        for blob in blobs[: int(count)]:
            readers.setdefault(blob, set()).add(kind)
    return readers


def _why_not_loaded(job: "BuildJob") -> str:
    """Ask ncnn, which names the layer on standard error only."""
    load = "import sys, ncnn; sys.exit(ncnn.Net().load_param(sys.argv[1]) != 0)"
    param = str(job.output / "model.ncnn.param")
    try:
        job.run([sys.executable, "-I", "-c", load, param])
    except RuntimeError as error:
        layers = sorted(set(re.findall(r"layer (\S+) not exists", str(error))))
        if layers:
            return f"ncnn has no layer for {', '.join(layers)}"
    return "ncnn cannot load what pnnx made of the graph"


class _Net:
    """The built model under ncnn on the host, strictly as precise as its files."""

    def __init__(self, job: "BuildJob", blobs: Mapping[str, Any]) -> None:
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
        if self._net.load_param(str(job.output / "model.ncnn.param")) != 0:
            raise RuntimeError(_why_not_loaded(job))
        if self._net.load_model(str(job.output / "model.ncnn.bin")) != 0:
            raise RuntimeError("ncnn cannot load the weights that pnnx made")

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Infer once."""
        import numpy as np

        extractor = self._net.create_extractor()
        alive = []  # ncnn.Mat(array) keeps no reference
        for blob in self._blobs["inputs"]:
            array = np.ascontiguousarray(inputs[blob["name"]], np.float32).reshape(blob["shape"])
            alive.append(array)
            mat = self._ncnn.Mat(array)
            extractor.input(blob["blob"], mat.clone() if blob["copy"] else mat)
        outputs = {}
        for blob in self._blobs["outputs"]:
            status, mat = extractor.extract(blob["blob"])
            if status != 0:
                raise RuntimeError(f"ncnn could not compute output {blob['name']}")
            found = np.array(mat)
            wanted = self._shapes[blob["name"]]
            same = found.size == np.prod(wanted)
            outputs[blob["name"]] = found.reshape(wanted) if same else found
        return outputs
