"""The handful of calls into CUDA's runtime library that a runner needs.

Python 3.6, ctypes and NumPy: JetPack has the library and no Python package for it.
"""

import ctypes
import glob
from typing import Any, Sequence

# The link first, then what each JetPack installs.
PATTERNS = (
    "libcudart.so",
    "/usr/local/cuda/lib64/libcudart.so*",
    "/usr/local/cuda-*/lib64/libcudart.so*",
    "/usr/lib/aarch64-linux-gnu/libcudart.so*",
)
_TO_DEVICE = 1  # Source: CUDA runtime API, enum cudaMemcpyKind
_TO_HOST = 2


class Memory:
    """Memory on the GPU, as large as one tensor."""

    def __init__(self, cuda: "Cuda", size_bytes: int) -> None:
        self._cuda = cuda
        self.size_bytes = size_bytes
        self.address = cuda.allocate(size_bytes)

    def take(self, array: Any) -> None:
        """Copy a contiguous array in."""
        self._cuda.copy(self.address, array.ctypes.data, self.size_bytes, _TO_DEVICE)

    def give(self, array: Any) -> None:
        """Copy into a contiguous array."""
        self._cuda.copy(array.ctypes.data, self.address, self.size_bytes, _TO_HOST)


class Cuda:
    """CUDA's runtime library."""

    def __init__(self, patterns: Sequence[str] = PATTERNS) -> None:
        self._library = _load(patterns)
        self._library.cudaGetErrorString.restype = ctypes.c_char_p
        self._library.cudaMalloc.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_size_t]
        self._library.cudaMemcpy.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_size_t,
            ctypes.c_int,
        ]

    def allocate(self, size_bytes: int) -> int:
        """Return the address of new memory on the GPU; it lives as long as the process."""
        address = ctypes.c_void_p()
        self._check("cudaMalloc", self._library.cudaMalloc(ctypes.byref(address), size_bytes))
        return address.value or 0

    def copy(self, to: int, from_: int, size_bytes: int, kind: int) -> None:
        """Copy between host and GPU; returns when it is done."""
        self._check("cudaMemcpy", self._library.cudaMemcpy(to, from_, size_bytes, kind))

    def version(self) -> str:
        """Return the runtime's version, such as ``11.4``."""
        number = ctypes.c_int()
        self._check(
            "cudaRuntimeGetVersion", self._library.cudaRuntimeGetVersion(ctypes.byref(number))
        )
        return "%d.%d" % (number.value // 1000, number.value % 1000 // 10)

    def _check(self, call: str, status: int) -> None:
        if status != 0:
            words = self._library.cudaGetErrorString(status)
            raise RuntimeError("%s failed: %s" % (call, words.decode("ascii", "replace")))


def _load(patterns: Sequence[str]) -> Any:
    for pattern in patterns:
        for path in [pattern] if "*" not in pattern else sorted(glob.glob(pattern)):
            try:
                return ctypes.CDLL(path)
            except OSError:
                continue
    raise RuntimeError(
        "CUDA's runtime library (libcudart.so) is missing: sudo apt install nvidia-jetpack"
    )
