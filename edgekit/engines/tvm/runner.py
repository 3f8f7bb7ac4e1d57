"""TVM on the board: compiled code and TVM's runtime, through ``libsession.so`` and ctypes.

Python 3.6 and newer, NumPy; nothing of TVM's own Python.
"""

import ctypes
import json
import os
import sys
from ctypes import c_int64
from typing import Any, Dict, Mapping

import numpy as np

from edgekit.engines.tvm.runner_native import libraries, open_native
from edgekit.onboard import harness

# Type codes of DLDataType, by NumPy's kind. Source: dlpack.h.
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}


class Session:
    """One loaded model.

    Inputs are copied into memory that is made once; TVM makes the memory of outputs.

    Knobs:
        threads: of TVM's own pool.
    """

    def __init__(
        self, folder: str, job: Mapping[str, Any], precision: str, knobs: Mapping[str, Any]
    ) -> None:
        del precision  # the code was made for it
        with open(os.path.join(folder, "model.json"), encoding="utf-8") as stream:
            self._facts = json.load(stream)
        self._native = open_native(
            os.path.join(folder, "libsession.so"), libraries(), knobs["threads"]
        )
        self._library = os.path.join(folder, "model.so")
        self._model = self._native.tvm_session_load(self._library.encode(), None)
        if not self._model:
            raise self._failure()
        self._inputs = [(spec["name"], self._input(spec)) for spec in job["inputs"]]
        self._outputs = job["outputs"]

    def run(self, inputs: Mapping[str, Any]) -> Dict[str, Any]:
        """Infer once; names and shapes are the model's own."""
        for name, memory in self._inputs:
            memory[...] = inputs[name]
        if self._native.tvm_session_run(self._model) != 0:
            raise self._failure()
        return {spec["name"]: self._output(at, spec) for at, spec in enumerate(self._outputs)}

    def versions(self) -> Dict[str, str]:
        """Tell the software that ran, and how much of the model was tuned."""
        tasks, untuned = self._facts["tasks"], self._facts["untuned"]
        return {
            "tvm": self._facts["tvm"],
            "tvm tuned tasks": "%d of %d" % (tasks - untuned, tasks),
        }

    def profile(self, inputs: Mapping[str, Any], runs: int, layers: Any, folder: str) -> None:
        """Time each call of TVM's virtual machine.

        What each call made goes along in a few figures, and what it was made of: TVM's names are
        its own.
        """
        from edgekit.engines.tvm.runner_profiler import Calls, Machine

        given = {name: np.asarray(inputs[name], memory.dtype) for name, memory in self._inputs}  # type: Dict[str, Any]
        machine = Machine(libraries(), os.path.realpath(self._library), list(given.values()))
        calls = Calls(layers)
        machine.run()
        machine.watch(calls.look)
        machine.run()
        machine.watch(calls.time)
        for _run in range(runs):
            machine.run()
            calls.end_run()
        for name in ("values.json", "inputs.npz"):
            layers.files[name] = os.path.join(folder, name)
        with open(layers.files["values.json"], "w", encoding="utf-8") as stream:
            json.dump(calls.values, stream)
        np.savez(layers.files["inputs.npz"], **given)

    def _input(self, spec: Mapping[str, Any]) -> Any:
        dtype, shape = np.dtype(spec["dtype"]), spec["shape"]
        sizes = (c_int64 * len(shape))(*shape)
        code = _CODES[dtype.kind]
        at = self._native.tvm_session_argument(
            self._model, code, dtype.itemsize * 8, len(shape), sizes
        )
        if not at:
            raise self._failure()
        return _view(at, dtype, shape)

    def _output(self, number: int, spec: Mapping[str, Any]) -> Any:
        found = self._native.tvm_session_output(self._model, number)
        if not found:
            raise RuntimeError("TVM gave no output %s" % spec["name"])
        tensor = found.contents
        dtype = np.dtype(spec["dtype"])
        if (tensor.code, tensor.bits) != (_CODES[dtype.kind], dtype.itemsize * 8):
            raise RuntimeError("TVM gave output %s with another dtype" % spec["name"])
        shape = tensor.shape[: tensor.ndim]
        # A copy: the next inference writes to the same memory.
        return _view(tensor.data + tensor.byte_offset, dtype, shape).copy()

    def _failure(self) -> RuntimeError:
        return RuntimeError(self._native.tvm_session_error().decode(errors="replace"))


def _view(address: int, dtype: Any, shape: Any) -> Any:
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    memory = (ctypes.c_char * size).from_address(address)
    return np.frombuffer(memory, dtype).reshape(shape)


if __name__ == "__main__":
    sys.exit(harness.main(Session))
