"""TVM on the board: compiled code and TVM's runtime, through ``libsession.so`` and ctypes.

Python 3.6 and newer, NumPy; nothing of TVM's own Python.
"""

import ctypes
import json
import os
import sys
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_uint8, c_uint16, c_uint64, c_void_p
from typing import Any, Dict, Mapping

import numpy as np

from edgekit.onboard import harness

_VERSION = 1  # TVM_SESSION_VERSION of cross/runners/tvm/session.h
# Type codes of DLDataType, by NumPy's kind. Source: dlpack.h.
_CODES = {"i": 0, "u": 1, "f": 2, "b": 6}


class _Tensor(ctypes.Structure):
    """DLTensor of dlpack.h."""

    _fields_ = [
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("code", c_uint8),
        ("bits", c_uint8),
        ("lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    ]


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
        self._native = _native(os.path.join(folder, "libsession.so"))
        if self._native.tvm_session_open(_libraries().encode(), knobs["threads"]) != 0:
            raise self._failure()
        model = os.path.join(folder, "model.so")
        self._model = self._native.tvm_session_load(model.encode(), None)
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


def _libraries() -> str:
    """Return the folder into which the libraries of TVM's wheels were unpacked."""
    for folder in sys.path:
        if os.path.isfile(os.path.join(folder, "tvm_ffi", "lib", "libtvm_ffi.so")):
            return folder
    raise RuntimeError("TVM's libraries are not in the runtime that was installed")


def _native(path: str) -> Any:
    native = ctypes.CDLL(path)
    if native.tvm_session_version() != _VERSION:
        raise RuntimeError("%s is of another version" % path)
    native.tvm_session_error.restype = c_char_p
    native.tvm_session_open.argtypes = [c_char_p, c_int]
    native.tvm_session_load.argtypes = [c_char_p, c_char_p]
    native.tvm_session_load.restype = c_void_p
    native.tvm_session_argument.argtypes = [c_void_p, c_int, c_int, c_int, POINTER(c_int64)]
    native.tvm_session_argument.restype = c_void_p
    native.tvm_session_run.argtypes = [c_void_p]
    native.tvm_session_output.argtypes = [c_void_p, c_int]
    native.tvm_session_output.restype = POINTER(_Tensor)
    return native


if __name__ == "__main__":
    sys.exit(harness.main(Session))
