"""LiteRT's profiler, which its Python interpreter does not offer: by C functions of its library.

The library runs the same file by its other way in, ``CompiledModel``, with the same XNNPACK. What
its functions and structures are like is of no stable release yet: only the one is used that this
was written for.

Python 3.6 and newer, standard library.
"""

import ctypes
import os
from ctypes import byref, c_char_p, c_int, c_size_t, c_uint64, c_void_p
from typing import Any, List, Sequence, Tuple

RELEASES = ("2.3.",)
_CPU = 1  # kLiteRtHwAcceleratorCpu of litert_common.h
_READ, _WRITE = 0, 1  # of LiteRtTensorBufferLockMode
_RANKED_TYPE_BYTES = 1024  # LiteRtRankedTensorType has fewer
# Of ProfiledEventData.event_type. Source: litert_profiler_event.h
OPERATOR, IN_DELEGATE = 2, 8


class Event(ctypes.Structure):
    """ProfiledEventData of litert_profiler_event.h."""

    _fields_ = [
        ("tag", c_char_p),
        ("kind", c_int),
        ("start_us", c_uint64),
        ("elapsed_us", c_uint64),
        ("memory", c_uint64 * 6),
        ("number", c_uint64),
        ("more", c_uint64),
        ("source", c_int),
    ]


class Profiled:
    """One file, compiled for the CPU with its profiler on."""

    def __init__(self, folder: str, model: str, threads: int) -> None:
        self._library = ctypes.CDLL(os.path.join(folder, "libLiteRt.so"))
        self._environment = self._made("LiteRtCreateEnvironment", c_int(0), None)
        self._file = self._made("LiteRtCreateModelFromFile", self._environment, model.encode())
        options = self._made("LiteRtCreateOptions")
        self._call("LiteRtSetOptionsHardwareAccelerators", options, c_int(_CPU))
        self._add(options, b"runtime_options_string", b"enable_profiling = true\n")
        self._add(options, b"xnnpack", b"num_threads = %d\n" % threads)
        self._model = self._made(
            "LiteRtCreateCompiledModel", self._environment, self._file, options
        )
        self._profiler = self._made("LiteRtCompiledModelGetProfiler", self._model)
        self._signature = self._made("LiteRtGetModelSignature", self._file, c_size_t(0))
        self._inputs = self._buffers("Input")
        self._outputs = self._buffers("Output")

    def feed(self, place: int, data: bytes) -> None:
        """Write one of the file's inputs."""
        buffer, size = self._inputs[place]
        if len(data) != size:
            raise RuntimeError("input %d has %d bytes, LiteRT wants %d" % (place, len(data), size))
        address = self._made("LiteRtLockTensorBuffer", buffer, last=(c_int(_WRITE),))
        ctypes.memmove(address, data, size)
        self._call("LiteRtUnlockTensorBuffer", buffer)

    def outputs(self) -> List[bytes]:
        """Return the file's outputs."""
        found = []
        for buffer, size in self._outputs:
            address = self._made("LiteRtLockTensorBuffer", buffer, last=(c_int(_READ),))
            found.append(ctypes.string_at(address, size))
            self._call("LiteRtUnlockTensorBuffer", buffer)
        return found

    def run(self) -> None:
        """Infer once, with nothing recorded."""
        given, made = self._array(self._inputs), self._array(self._outputs)
        self._call(
            "LiteRtRunCompiledModel",
            self._model,
            c_size_t(0),
            c_size_t(len(given)),
            given,
            c_size_t(len(made)),
            made,
        )

    def profile(self) -> Sequence[Event]:
        """Infer once; return what was recorded, in its order."""
        self._call("LiteRtResetProfiler", self._profiler)
        self._call("LiteRtStartProfiler", self._profiler)
        self.run()
        self._call("LiteRtStopProfiler", self._profiler)
        count = c_int()
        self._call("LiteRtGetNumProfilerEvents", self._profiler, byref(count))
        events = (Event * count.value)()
        self._call("LiteRtGetProfilerEvents", self._profiler, count, events)
        return list(events)

    def _buffers(self, kind: str) -> List[Tuple[Any, int]]:
        count = c_size_t()
        self._call("LiteRtGetNumSignature%ss" % kind, self._signature, byref(count))
        return [self._buffer(kind, number) for number in range(count.value)]

    def _buffer(self, kind: str, number: int) -> Tuple[Any, int]:
        place = c_size_t(number)
        tensor = self._made("LiteRtGetSignature%sTensorByIndex" % kind, self._signature, place)
        ranked = ctypes.create_string_buffer(_RANKED_TYPE_BYTES)
        self._call("LiteRtGetRankedTensorType", tensor, ranked)
        wanted = self._made(
            "LiteRtGetCompiledModel%sBufferRequirements" % kind, self._model, c_size_t(0), place
        )
        buffer = self._made(
            "LiteRtCreateManagedTensorBufferFromRequirements", self._environment, ranked, wanted
        )
        size = c_size_t()
        self._call("LiteRtGetTensorBufferPackedSize", buffer, byref(size))
        return buffer, size.value

    def _array(self, buffers: Sequence[Tuple[Any, int]]) -> Any:
        return (c_void_p * len(buffers))(*(buffer for buffer, _size in buffers))

    def _add(self, options: Any, name: bytes, text: bytes) -> None:
        """Add options as text, which the library frees."""
        own = ctypes.CDLL(None)
        own.strdup.restype = c_void_p
        copy = c_void_p(own.strdup(text))
        free = ctypes.cast(own.free, c_void_p)
        self._call(
            "LiteRtAddOpaqueOptions",
            options,
            self._made("LiteRtCreateOpaqueOptions", name, copy, free),
        )

    def _made(self, name: str, *arguments: Any, last: Tuple[Any, ...] = ()) -> Any:
        """Call a function that gives something by a pointer, after its other arguments."""
        found = c_void_p()
        self._call(name, *arguments, byref(found), *last)
        return found

    def _call(self, name: str, *arguments: Any) -> None:
        status = getattr(self._library, name)(*arguments)
        if status != 0:
            raise RuntimeError("LiteRT ended %s with status %d" % (name, status))
