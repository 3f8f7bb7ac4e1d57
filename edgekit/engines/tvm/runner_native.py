"""``libsession.so`` and TVM's libraries on the board, through ctypes. Python 3.6 and newer."""

import ctypes
import os
import sys
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_uint8, c_uint16, c_uint64, c_void_p
from typing import Any

_VERSION = 2  # TVM_SESSION_VERSION of cross/runners/tvm/session.h


class Tensor(ctypes.Structure):
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


def libraries() -> str:
    """Return the folder into which the libraries of TVM's wheels were unpacked."""
    for folder in sys.path:
        if os.path.isfile(os.path.join(folder, "tvm_ffi", "lib", "libtvm_ffi.so")):
            return folder
    raise RuntimeError("TVM's libraries are not in the runtime that was installed")


def open_native(path: str, folder: str, threads: int) -> Any:
    """Load ``libsession.so``, and through it TVM's libraries from ``folder``."""
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
    native.tvm_session_run_marked.argtypes = [c_void_p]
    native.tvm_session_output.argtypes = [c_void_p, c_int]
    native.tvm_session_output.restype = POINTER(Tensor)
    if native.tvm_session_open(folder.encode(), threads) != 0:
        raise RuntimeError(native.tvm_session_error().decode(errors="replace"))
    return native
