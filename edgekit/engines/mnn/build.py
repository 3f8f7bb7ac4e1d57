"""ONNX to MNN, then run once with MNN and compared with ONNX Runtime.

Runs inside the toolbox. The converter is called through its C++ module ``_tools``: the package's
command line tools install another package and report usage, and must never be imported.
"""

import hashlib
import re
import sys
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.core.contracts import BuildJob

Tensor = Any  # MNN.Tensor, which has no types

# Shares of an output's largest value. fp16 holds 11 bits; deep nets add up a few of them.
_TOLERANCE = {"fp32": 1e-3, "fp16": 5e-2}
_CONVERT = "import sys, _tools; _tools.mnnconvert(sys.argv)"
_UUID_BYTES = 36
# What the converter says at every conversion.
_CHATTER = re.compile(r"The device supports|Start to|ONNX Model (ir|opset) version|has empty input")


def build(job: "BuildJob") -> None:
    """Write ``model.mnn``."""
    file = job.output / "model.mnn"
    if job.precision == "int8":
        _convert(job, file, "--compressionParamsFile", str(_parameters(job)))
    else:
        _convert(job, file, *(("--fp16",) if job.precision == "fp16" else ()))
    _name_by_content(file)
    net = _Net(job, file)
    if job.precision == "int8":
        job.grade(net.infer)
    else:
        job.verify(net.infer, tolerance=_TOLERANCE[job.precision])


def _convert(job: "BuildJob", file: Path, *options: str) -> None:
    source = ("-f", "ONNX", "--modelFile", str(job.model))
    _run(job, file, *source, "--MNNModel", str(file), "--bizCode", "edgekit", *options)


def _run(job: "BuildJob", made: Path, *arguments: str) -> None:
    # A process of its own: what it says tells why no file came out, and it may crash.
    said = job.run([sys.executable, "-I", "-c", _CONVERT, *arguments])
    # It ends with status 0 and True whatever happened.
    if not made.is_file():
        raise RuntimeError(_why(said))


def _parameters(job: "BuildJob") -> Path:
    """Write the scales of weights and activations, which the float model shows."""
    from .build_int8 import observed, parameters, read_layers, without

    if job.quantisation is None:
        raise RuntimeError("int8 needs a quantisation")
    float_model, graph = job.scratch / "float.mnn", job.scratch / "float.json"
    _convert(job, float_model)
    _run(job, graph, "-f", "MNN", "--modelFile", str(float_model), "--JsonFile", str(graph))
    layers = read_layers(graph)
    if not layers:
        raise RuntimeError("the model has no convolution that MNN could make int8")
    layers = without(layers, job.quantisation.float_layers, job.model)
    ranges = observed(job, layers, _Net(job, float_model).observe)
    file = job.scratch / "parameters.json"
    file.write_text(parameters(layers, ranges), encoding="utf-8")
    return file


def _why(said: str) -> str:
    """Tell from the converter's words why it left no file."""
    lacking = re.findall(r"\bONNX::(\w+)", said)
    if lacking:
        return f"MNN has no operator {', '.join(sorted(set(lacking)))}"
    lines = [re.sub(r"^\[[\d:]+\] :\d+: ", "", line.strip()) for line in said.splitlines()]
    telling = [line for line in lines if line and not _CHATTER.search(line)]
    why = " | ".join(dict.fromkeys(telling)) or "it does not say why"
    return f"MNN's converter left no file: {why}"


def _name_by_content(file: Path) -> None:
    """Put a name made from the content where the converter put a random one.

    Equal models then make equal files, which a board is sent once.
    """
    import MNN

    data = file.read_bytes()
    given = MNN.get_model_uuid(str(file)).encode()
    if len(given) != _UUID_BYTES or data.count(given) != 1:
        return
    digest = hashlib.sha256(data.replace(given, b"0" * _UUID_BYTES)).digest()
    file.write_bytes(data.replace(given, str(uuid.UUID(bytes=digest[:16])).encode()))


class _Net:
    """The built model under MNN on the host."""

    def __init__(self, job: "BuildJob", file: Path) -> None:
        import MNN

        self._mnn = MNN
        self._dtypes = {spec.name: spec.dtype for spec in job.outputs}
        self._net = MNN.Interpreter(str(file))
        precision = "low" if job.precision == "fp16" else "high"
        settings = {"backend": "CPU", "numThread": 1, "precision": precision}
        self._session = self._net.createSession(settings)
        self._inputs = self._net.getSessionInputAll(self._session)
        self._outputs = self._net.getSessionOutputAll(self._session)

    def infer(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Infer once."""
        self._feed(inputs)
        if self._net.runSession(self._session) != 0:
            raise RuntimeError("MNN could not run what its converter made")
        return {
            name: self._fetched(self._outputs[name]).astype(dtype)
            for name, dtype in self._dtypes.items()
            if name in self._outputs
        }

    def observe(
        self, inputs: Mapping[str, Any], wanted: Mapping[str, tuple[str, str]]
    ) -> "dict[str, NDArray[Any]]":
        """Infer once and return tensors on the way.

        Args:
            inputs: by name.
            wanted: what to call the first input and the first output of an operation.
        """
        seen: dict[str, NDArray[Any]] = {}

        def note(side: int) -> Callable[[list[Tensor], Any], bool]:
            def see(tensors: list[Tensor], operation: Any) -> bool:  # noqa: ANN401 - untyped
                names = wanted.get(operation.getName())
                if names is not None and names[side] not in seen:
                    seen[names[side]] = self._fetched(tensors[0])
                return True

            return see

        self._feed(inputs)
        self._net.runSessionWithCallBackInfo(self._session, note(0), note(1))
        return seen

    def _feed(self, inputs: Mapping[str, Any]) -> None:
        import numpy as np

        missing = sorted({*inputs} - {*self._inputs})
        if missing:
            raise RuntimeError(f"MNN's converter lost input {', '.join(missing)}")
        for name, array in inputs.items():
            self._inputs[name].copyFrom(self._on_host(np.ascontiguousarray(array, np.float32)))

    def _fetched(self, tensor: Tensor) -> "NDArray[Any]":
        import numpy as np

        whole = tensor.getDataType() is self._mnn.Halide_Type_Int
        host = self._on_host(np.zeros(tensor.getShape(), np.int32 if whole else np.float32))
        tensor.copyToHostTensor(host)
        return np.array(host.getNumpyData())

    def _on_host(self, array: "NDArray[Any]") -> Tensor:
        """Return a copy of ``array`` as MNN's tensor, in the order of ONNX (NCHW)."""
        mnn = self._mnn
        kind = mnn.Halide_Type_Int if array.dtype.kind == "i" else mnn.Halide_Type_Float
        return mnn.Tensor(array.shape, kind, array, mnn.Tensor_DimensionType_Caffe)
