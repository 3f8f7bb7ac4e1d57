"""What each call of a compiled model takes: TVM's virtual machine with an instrument set.

It calls the instrument before and after each of its calls. ``libsession.so`` does not need that:
here TVM's libraries, which it has loaded, are called by ctypes.

Python 3.6 and newer, NumPy.
"""

import ctypes
import os
from ctypes import POINTER, byref, c_char_p, c_int, c_int32, c_int64, c_size_t, c_void_p
from typing import Any, Callable, Dict, List, Sequence

import numpy as np

from edgekit.engines.tvm.runner_native import Tensor
from edgekit.onboard.figures import figures
from edgekit.onboard.timing import clock_ns

# Source: tvm/ffi/c_api.h
_INT, _BOOL, _RAW_STR, _SMALL_STR, _OBJECTS, _STR, _TENSOR = 1, 2, 8, 11, 64, 65, 70
_HEADER_BYTES = 24  # TVMFFIObject: what an object is comes after it
_CPU, _POOLED = 1, 2  # kDLCPU; AllocatorType::kPooled
_ALIGNMENT = 64
_NOTHING_TO_DO = 0  # VMInstrumentReturnKind::kNoOp
_MACHINE = "vm.builtin."
_FLOAT = 2  # kDLFloat of dlpack.h


class _Value(ctypes.Structure):
    """TVMFFIAny."""

    _fields_ = [("kind", c_int32), ("small", c_int32), ("value", c_int64)]


class _Bytes(ctypes.Structure):
    """TVMFFIByteArray."""

    _fields_ = [("data", c_void_p), ("size", c_size_t)]


class _Managed(ctypes.Structure):
    """DLManagedTensor of dlpack.h."""

    _fields_ = [("tensor", Tensor), ("context", c_void_p), ("deleter", c_void_p)]


_Call = ctypes.CFUNCTYPE(c_int, c_void_p, POINTER(_Value), c_int32, POINTER(_Value))


class Machine:
    """A model of its own in TVM's virtual machine, with its arguments."""

    def __init__(self, libraries: str, model: str, inputs: Sequence[Any]) -> None:
        self._ffi = ctypes.CDLL(os.path.join(libraries, "tvm_ffi", "lib", "libtvm_ffi.so"))
        self._alive: List[Any] = []
        self._get = self._global("ffi.ModuleGetFunction")
        module = self._call(self._global("ffi.ModuleLoadFromFile"), [_text(model)])
        machine = self._call(self._function(module, "vm_load_executable"), [])
        start = [_whole(_CPU), _whole(0), _whole(_POOLED)]
        self._call(self._function(machine, "vm_initialization"), start)
        self._machine = machine
        self._main = self._function(machine, "main")
        self._arguments = [self._tensor(array) for array in inputs]

    def watch(self, watcher: Callable[[str, bool, Sequence[Any]], None]) -> None:
        """Have every call told: its name, whether it is yet to begin, and its arguments."""

        def instrument(_self: Any, values: Any, count: int, answer: Any) -> int:
            watcher(_string(values[1]), bool(values[2].value), values[4:count])
            answer[0] = _whole(_NOTHING_TO_DO)
            return 0

        callback = _Call(instrument)
        self._alive.append(callback)
        made = c_void_p()
        self._check(self._ffi.TVMFFIFunctionCreate(None, callback, None, byref(made)), "instrument")
        value = _Value(68, 0, made.value)
        self._call(self._function(self._machine, "set_instrument"), [value])

    def run(self) -> None:
        """Infer once; what it answers is dropped."""
        answer = self._call(self._main, self._arguments)
        if answer.kind >= _OBJECTS:
            self._ffi.TVMFFIObjectDecRef(c_void_p(answer.value))

    def _tensor(self, array: Any) -> _Value:
        """Return an argument that holds a copy of an array."""
        memory = np.empty(array.nbytes + _ALIGNMENT, np.uint8)
        offset = -memory.ctypes.data % _ALIGNMENT
        memory[offset : offset + array.nbytes] = np.ascontiguousarray(array).view(np.uint8).ravel()
        shape = (c_int64 * array.ndim)(*array.shape)
        code = {"i": 0, "u": 1, "f": _FLOAT, "b": 6}[array.dtype.kind]
        held = _Managed()
        held.tensor = Tensor(
            memory.ctypes.data + offset,
            _CPU,
            0,
            array.ndim,
            code,
            array.dtype.itemsize * 8,
            1,
            shape,
        )
        made = c_void_p()
        status = self._ffi.TVMFFITensorFromDLPack(byref(held), _ALIGNMENT, 1, byref(made))
        self._check(status, "an argument")
        self._alive += [memory, shape, held]
        return _Value(_TENSOR, 0, made.value)

    def _global(self, name: str) -> c_void_p:
        found = c_void_p()
        words = ctypes.create_string_buffer(name.encode())
        key = _Bytes(ctypes.addressof(words), len(name))
        self._check(self._ffi.TVMFFIFunctionGetGlobal(byref(key), byref(found)), name)
        if not found.value:
            raise RuntimeError("this version of TVM has no function %s" % name)
        return found

    def _function(self, module: _Value, name: str) -> c_void_p:
        found = self._call(self._get, [module, _text(name), _Value(_BOOL, 0, 1)])
        if found.kind < _OBJECTS:
            raise RuntimeError("this model has no function %s" % name)
        return c_void_p(found.value)

    def _call(self, function: c_void_p, arguments: Sequence[_Value]) -> _Value:
        given, answer = (_Value * max(1, len(arguments)))(*arguments), _Value()
        status = self._ffi.TVMFFIFunctionCall(
            function, given, c_int32(len(arguments)), byref(answer)
        )
        self._check(status, "a call")
        return answer

    def _check(self, status: int, what: str) -> None:
        if status != 0:
            raise RuntimeError("TVM refuses %s" % what)


class Calls:
    """The calls of one run after the other, as the instrument sees them."""

    def __init__(self, layers: Any) -> None:
        self.values: Dict[str, List[float]] = {}
        self._layers = layers
        self._facts: List[Dict[str, Any]] = []
        self._writers: Dict[int, str] = {}
        self._at = 0
        self._started = 0

    def look(self, name: str, begins: bool, arguments: Sequence[Any]) -> None:
        """Take down what is called on what, and what it made."""
        if begins or name.startswith(_MACHINE):
            return
        tensors = [_dltensor(value) for value in arguments if value.kind == _TENSOR]
        own = "%d %s" % (len(self._facts), name)
        reads = [self._writers[t.data] for t in tensors[:-1] if t.data in self._writers]
        self._facts.append(_own(own, name, reads))
        if tensors:
            made = tensors[-1]
            self._writers[made.data] = own
            held = _values(made)
            if held is not None:
                self.values[own] = held

    def time(self, name: str, begins: bool, _arguments: Sequence[Any]) -> None:
        """Time a call: the machine's own go by their names, all others by their place."""
        now = clock_ns()
        if begins:
            self._started = clock_ns()
            return
        if name.startswith(_MACHINE):
            facts = _own(name, name, [])
        else:
            facts = self._facts[self._at]
            self._at += 1
        self._layers.see(facts["name"], now - self._started, lambda: facts)

    def end_run(self) -> None:
        """Go back to the first call."""
        self._at = 0
        self._layers.end_run()


def _own(name: str, operator: str, reads: Sequence[str]) -> Dict[str, Any]:
    return {"name": name, "operator": operator, "unit": "CPU", "reads": reads}


def _dltensor(value: _Value) -> Any:
    return Tensor.from_address(value.value + _HEADER_BYTES)


def _values(tensor: Any) -> Any:
    if tensor.code != _FLOAT:
        return None
    shape = tensor.shape[: tensor.ndim]
    dtype = np.dtype("f%d" % (tensor.bits // 8))
    size = int(np.prod(shape, dtype=np.int64)) * dtype.itemsize
    address = tensor.data + tensor.byte_offset
    memory = (ctypes.c_char * size).from_address(address)  # type: Any
    return figures(np.frombuffer(memory, dtype))


def _text(words: str) -> _Value:
    data = words.encode()
    value = _Value(_RAW_STR, 0, ctypes.cast(c_char_p(data), c_void_p).value)
    value.held = data  # as long as the value lives
    return value


def _whole(number: int) -> _Value:
    return _Value(_INT, 0, number)


def _string(value: _Value) -> str:
    if value.kind == _SMALL_STR:
        return int(value.value).to_bytes(8, "little", signed=True)[: value.small].decode()
    if value.kind == _STR:
        held = _Bytes.from_address(value.value + _HEADER_BYTES)
        return ctypes.string_at(held.data, held.size).decode()
    return ctypes.string_at(value.value).decode()
