"""ONNX to MNN, then run once with MNN and compared with ONNX Runtime.

Runs inside the toolbox. The converter is called through its C++ module ``_tools``: the package's
command line tools install another package and report usage, and must never be imported.
"""

import hashlib
import re
import sys
import uuid
from collections.abc import Mapping
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
    _convert(job, file)
    _name_by_content(file)
    job.verify(_Net(job, file).infer, tolerance=_TOLERANCE[job.precision])


def _convert(job: "BuildJob", file: Path) -> None:
    # A process of its own: what it says tells why no file came out, and it may crash.
    command = [sys.executable, "-I", "-c", _CONVERT, "-f", "ONNX", "--modelFile", str(job.model)]
    command += ["--MNNModel", str(file), "--bizCode", "edgekit"]
    if job.precision == "fp16":
        command.append("--fp16")
    said = job.run(command)
    # It ends with status 0 and True whatever happened.
    if not file.is_file():
        raise RuntimeError(_why(said))


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
        import numpy as np

        missing = sorted({*inputs} - {*self._inputs})
        if missing:
            raise RuntimeError(f"MNN's converter lost input {', '.join(missing)}")
        for name, array in inputs.items():
            self._inputs[name].copyFrom(self._on_host(np.ascontiguousarray(array, np.float32)))
        if self._net.runSession(self._session) != 0:
            raise RuntimeError("MNN could not run what its converter made")
        return {
            name: self._fetched(name).astype(dtype)
            for name, dtype in self._dtypes.items()
            if name in self._outputs
        }

    def _fetched(self, name: str) -> "NDArray[Any]":
        import numpy as np

        tensor = self._outputs[name]
        whole = tensor.getDataType() is self._mnn.Halide_Type_Int
        host = self._on_host(np.zeros(tensor.getShape(), np.int32 if whole else np.float32))
        tensor.copyToHostTensor(host)
        return np.array(host.getNumpyData())

    def _on_host(self, array: "NDArray[Any]") -> Tensor:
        """Return a copy of ``array`` as MNN's tensor, in the order of ONNX (NCHW)."""
        mnn = self._mnn
        kind = mnn.Halide_Type_Int if array.dtype.kind == "i" else mnn.Halide_Type_Float
        return mnn.Tensor(array.shape, kind, array, mnn.Tensor_DimensionType_Caffe)
