"""TVM: compiles the model itself into machine code for one kind of CPU.

The board needs a library of TVM's runtime and one of its function interface, 5 MB together, and
no Python: what of their wheels is Python stays on the host. For 32-bit ARM there are no wheels:
both are compiled here (``sources``).

Without tuning records the code is plain loops, many times slower than any other engine's.
"""

import json
from pathlib import Path
from typing import Final

from edgekit.core.contracts import Excerpt, RuntimeSpec, ToolboxSpec, Unsupported
from edgekit.core.knobs import Knob
from edgekit.core.model import Model, TensorSpec
from edgekit.core.names import EngineName, Precision
from edgekit.core.quantisation import CalibrationMethod
from edgekit.core.target import DeviceFacts, Target
from edgekit.engines.operators import lacking
from edgekit.engines.pythons import Version, newest, no_glibc, no_python
from edgekit.engines.tvm.cpu import GLIBC, description

_FOLDER: Final = Path(__file__).parent
# What board.txt has NumPy for.
_OLDEST: Final[Version] = (3, 6)
_LATEST: Final[Version] = (3, 14)
# The runtime is C and C++: a wheel for one Python serves boards with any.
_WHEELS_PYTHON: Final = "3.12"
_LIBRARIES: Final = (
    Excerpt("apache-tvm-ffi", _WHEELS_PYTHON, ("tvm_ffi/lib/libtvm_ffi.so",)),
    Excerpt("apache-tvm", _WHEELS_PYTHON, ("tvm/lib/libtvm_runtime.so",)),
)
_DTYPES: Final = frozenset({"float32", "int32", "int64", "uint8", "int8", "bool"})


class Tvm:
    """TVM on the CPU.

    ``fp16``: weights, and the arithmetic of all that TVM holds to be safe in it, are half
    precision; only for CPUs that have it. x86-64 converts to float and back for each operation.
    ``int8``: convolutions in integers, by the processor's dot products (``build_dot``); what is
    between them is float, fused into them.

    Args:
        records_json: the best tuning record of each task, an object by structural hash
            (``build_records.database_of``); empty: nothing is scheduled.
        objects: whether the model's object files are left too, for a program that holds it.
    """

    def __init__(self, records_json: str = "", *, objects: bool = False) -> None:
        self._records_json = records_json
        self._objects = objects

    def with_objects(self) -> "Tvm":
        """Return the same engine, which leaves object files (``model-0.o``...) as well."""
        return Tvm(self._records_json, objects=True)

    name: EngineName = "tvm"
    precisions: tuple[Precision, ...] = ("fp32", "fp16", "int8")
    methods: tuple[CalibrationMethod, ...] = ("average", "percentile", "minmax")
    mixes = True
    tunable = True
    toolbox = ToolboxSpec("tvm", ">=3.11,<3.15", _FOLDER / "host.txt")
    build_script = _FOLDER / "build.py"
    runner_module = "edgekit.engines.tvm.runner"

    def check(self, model: Model, precision: Precision, target: Target) -> Unsupported | None:
        """Refuse fp16 without arithmetic for it, odd inputs, and unknown operators."""
        return _no_half(precision, target) or _odd_input(model.inputs) or lacking(model, "tvm")

    def runtime(self, target: Target, facts: DeviceFacts) -> RuntimeSpec | Unsupported:
        """Take the newest Python that has NumPy; TVM's own libraries do not depend on it."""
        del target
        refusal = _no_runtime(facts.machine) or no_glibc(self.name, facts) or _old_glibc(facts)
        if refusal is not None:
            return refusal
        if facts.machine == "armv7l":
            return _runtime_32(facts)
        python = newest(facts.pythons, _OLDEST, _LATEST)
        if python is None:
            return no_python(self.name, facts, _OLDEST, _LATEST)
        return RuntimeSpec(python, _FOLDER / "board.txt", ("numpy",), excerpts=_LIBRARIES)

    def knobs(self, precision: Precision, target: Target, facts: DeviceFacts) -> tuple[Knob, ...]:
        """Nothing yet: what there is to turn is turned by tuning, before the build."""
        del precision, target, facts
        return ()

    def build_settings(self, model: Model, precision: Precision, target: Target) -> str:
        """The CPU decides, and the tuning records: the code is made by them."""
        del model, precision
        settings: dict[str, object] = {
            "architecture": target.architecture,
            "cpu": description(target),
            "glibc": GLIBC,
        }
        if self._records_json:
            settings["records"] = json.loads(self._records_json)
        if self._objects:
            settings["objects"] = True
        return json.dumps(settings, sort_keys=True)


def _no_runtime(machine: str) -> Unsupported | None:
    if machine in {"aarch64", "armv7l", "x86_64"}:
        return None
    return Unsupported(
        f"TVM's runtime is neither fetched nor compiled for {machine}",
        hint="use a 64-bit or an armv7 image on the same board",
    )


def _runtime_32(facts: DeviceFacts) -> RuntimeSpec | Unsupported:
    """TVM's libraries are compiled here; NumPy has no wheel either, so the board's own must do."""
    python = newest(tuple(item for item in facts.pythons if item.numpy), _OLDEST, _LATEST)
    if python is not None:
        return RuntimeSpec(python, _FOLDER / "board.txt", (), ("numpy",), compiled=True)
    if newest(facts.pythons, _OLDEST, _LATEST) is None:
        return no_python("tvm", facts, _OLDEST, _LATEST)
    return Unsupported(
        "tvm needs NumPy on the device, which has none, and no wheel exists for 32-bit ARM",
        hint="sudo apt install python3-numpy",
    )


def _no_half(precision: Precision, target: Target) -> Unsupported | None:
    """Tell of an ARM CPU that would convert for each operation: slower than float32 throughout."""
    arm = target.architecture != "x86_64" and target.features
    if precision != "fp16" or not arm or "asimdhp" in target.features:
        return None
    return Unsupported(
        f"the CPU of {target.name} has no arithmetic in half precision", hint="use fp32"
    )


def _old_glibc(facts: DeviceFacts) -> Unsupported | None:
    if _numbers(facts.libc_version) >= _numbers(GLIBC):
        return None
    return Unsupported(
        f"TVM's runtime needs glibc {GLIBC}; the device has {facts.libc_version or 'none'}",
        hint="use a newer image: Ubuntu 18.04 and Debian 10 have it",
    )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def _odd_input(inputs: tuple[TensorSpec, ...]) -> Unsupported | None:
    for spec in inputs:
        if spec.dtype not in _DTYPES:
            return Unsupported(
                f"tvm takes no {spec.dtype} input, as {spec} is", hint="try --engine onnxruntime"
            )
    return None


ENGINE: Final = Tvm()
