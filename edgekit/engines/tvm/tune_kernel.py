"""One candidate of tuning as machine code: in a process of this machine, or on a Dask cluster.

Runs inside the toolbox of tuning. This file alone is what a cluster's workers are sent: plain
values in, plain values out, the standard library and TVM and nothing else. No compiler is needed:
what comes out is linked where the tuning goes on.
"""

import importlib
import importlib.metadata
import sys
import tempfile
from pathlib import Path
from types import ModuleType
from typing import Any

# TVM has no types where this is checked.
IRModule = Any
Target = Any

_MOST_CHARACTERS = 400


def tvm_version() -> str:
    """Return the version of TVM that is here; empty for none."""
    try:
        return importlib.metadata.version("apache-tvm")
    except importlib.metadata.PackageNotFoundError:
        return ""


def leave_out_gpus() -> None:
    """Spare this process what TVM otherwise parses before it compiles its first candidate.

    The tensor intrinsics of GPUs take 9 s of CPU time; code for CPUs is the same without them.
    To be called before TVM proposes or compiles anything.
    """
    for gpu in ("cuda", "rocm"):
        name = f"tvm.s_tir.tensor_intrin.{gpu}"
        sys.modules.setdefault(name, ModuleType(name))


def warm_up() -> None:
    """Load what the first candidate would wait for."""
    leave_out_gpus()
    importlib.import_module("tvm.s_tir.meta_schedule.builder.local_builder")


def as_text(value: IRModule | Target) -> str:
    """Return a scheduled function, or what it is for, as :func:`compile_kernel` takes it."""
    import tvm

    return str(tvm.ir.save_json(value))


def compile_kernel(module: str, target: str, tvm_wanted: str) -> tuple[bytes | None, str]:
    """Compile a scheduled function.

    Equal text gives equal bytes, whatever machine this runs on.

    Args:
        module: the function, by :func:`as_text`.
        target: what it is for, by :func:`as_text`.
        tvm_wanted: the version of TVM that must do it.

    Returns:
        An object file; or ``None``, and what went wrong in one line.

    Raises:
        RuntimeError: another TVM is here.
    """
    if tvm_version() != tvm_wanted:
        raise RuntimeError(f"TVM {tvm_version() or '(none)'} is here, not {tvm_wanted}")
    leave_out_gpus()
    import tvm
    from tvm.s_tir.meta_schedule.builder.local_builder import default_build

    try:
        built = default_build(tvm.ir.load_json(module), tvm.ir.load_json(target), None)
        if built.imports:
            return None, "it is more than one module of machine code"
        with tempfile.TemporaryDirectory(prefix="edgekit-kernel-") as folder:
            file = Path(folder, "kernel.o")
            built.write_to_file(str(file), "o")
            return file.read_bytes(), ""
    except Exception as error:  # noqa: BLE001 - a candidate that cannot be built is a result
        lines = str(error).strip().splitlines() or [type(error).__name__]
        return None, lines[-1][:_MOST_CHARACTERS]
