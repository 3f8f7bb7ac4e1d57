"""MNN on the board: the CPU, one session.

Python 3.6 and newer, NumPy and MNN.
"""

import contextlib
import ctypes
import os
import sys
from typing import Any, Dict, Iterator, Mapping

import numpy as np

from edgekit.onboard import harness
from edgekit.onboard.timing import clock_ns

_FACTS = ("name", "operator")


class Session:
    """One loaded model.

    What an int8 model leaves in float is computed in float32.

    Inputs and outputs pass through tensors in host memory that are made once, in the order of
    ONNX (NCHW); MNN converts between that and its own layout and precision as it copies.

    Knobs:
        threads: of MNN's own pool, which sleeps between inferences.
    """

    def __init__(
        self, folder: str, job: Mapping[str, Any], precision: str, knobs: Mapping[str, Any]
    ) -> None:
        with _native_words_on_stderr():
            import MNN

            self._mnn = MNN
            self._net = MNN.Interpreter(os.path.join(folder, "model.mnn"))
            settings = {
                "backend": "CPU",
                "numThread": knobs["threads"],
                # "low" allows half-precision arithmetic; MNN uses it where the CPU has it.
                "precision": "low" if precision == "fp16" else "high",
            }
            self._session = self._net.createSession(settings)
        self._inputs = self._on_host(
            self._net.getSessionInputAll(self._session), job["inputs"], "input"
        )
        self._outputs = self._on_host(
            self._net.getSessionOutputAll(self._session), job["outputs"], "output"
        )

    def run(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Infer once; names and shapes are the model's own."""
        self._feed(inputs)
        status = self._net.runSession(self._session)
        if status != 0:
            raise RuntimeError("MNN ended an inference with error %s" % status)
        outputs = {}
        for name, (tensor, host, view, spec) in self._outputs.items():
            if not tensor.copyToHostTensor(host):
                raise RuntimeError("MNN gave no output %s" % name)
            # A copy: the next inference writes to the same memory.
            outputs[name] = view.astype(spec["dtype"]).reshape(spec["shape"])
        return outputs

    def _feed(self, inputs: Mapping[str, Any]) -> None:
        for name, (tensor, host, view, _) in self._inputs.items():
            view[...] = inputs[name].reshape(view.shape)
            if not tensor.copyFrom(host):
                raise RuntimeError("MNN refused input %s" % name)

    def profile(self, inputs: Mapping[str, Any], runs: int, layers: Any, folder: str) -> None:
        """Time each operation between the two calls that MNN makes around it."""
        del folder
        started = [0]

        def before(_tensors: Any, _operation: Any) -> bool:
            started[0] = clock_ns()
            return True

        def after(_tensors: Any, operation: Any) -> bool:
            taken_ns = clock_ns() - started[0]
            key = operation.getName(), operation.getType().strip()
            layers.see(key, taken_ns, lambda: dict(zip(_FACTS, key), unit="CPU"))
            return True

        self._feed(inputs)
        for _run in range(runs):
            self._net.runSessionWithCallBackInfo(self._session, before, after)
            layers.end_run()
        layers.method = (
            "each operation is timed around its own call, from Python; there is none while it runs"
        )

    def versions(self) -> Dict[str, str]:
        """Tell the software that ran."""
        return {"mnn": self._mnn.version()}

    def _on_host(self, tensors: Mapping[str, Any], specs: Any, kind: str) -> Dict[str, Any]:
        """Pair each of MNN's tensors with one in host memory and NumPy's view of that.

        The view does not keep the memory alive; the tensor beside it does.
        """
        mnn = self._mnn
        pairs = {}
        for spec in specs:
            name = spec["name"]
            if name not in tensors:
                raise RuntimeError("model.mnn has no %s named %s" % (kind, name))
            tensor = tensors[name]
            data_type = tensor.getDataType()
            dtype = np.int32 if data_type is mnn.Halide_Type_Int else np.float32
            blank = np.zeros(tensor.getShape(), dtype)
            host = mnn.Tensor(blank.shape, data_type, blank, mnn.Tensor_DimensionType_Caffe)
            pairs[name] = (tensor, host, host.getNumpyData(), spec)
        return pairs


@contextlib.contextmanager
def _native_words_on_stderr() -> Iterator[None]:
    """Send what MNN prints to standard error, and at once.

    Standard output carries the runner's events; what lies in C's buffer would come out at the
    very end, after the line that says what failed.
    """
    sys.stdout.flush()
    kept = os.dup(1)
    os.dup2(2, 1)
    try:
        yield
    finally:
        ctypes.CDLL(None).fflush(None)
        os.dup2(kept, 1)
        os.close(kept)


if __name__ == "__main__":
    sys.exit(harness.main(Session))
