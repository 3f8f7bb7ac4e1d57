"""Write TVM's ``operators.txt``: what ``Engine.check`` refuses rests on it.

    python scripts/list_tvm_operators.py

An operator is listed if TVM, in edgekit's own toolbox and through edgekit's own pipeline, answers
at least one graph of that single operator as it should: ONNX's backend tests, of every data type,
and the graphs that ``list_operators.py`` makes. Run it after ``lock_engines.py``.
"""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the toolbox's Python is isolated

from operator_proofs import ENGINES, Arrays, list_operators, prove

# A constant takes no input, and a shape is none of a tensor's type to TVM: both are folded.
FOLDED = frozenset({"Constant", "Shape"})
TIMEOUT_S = 3600


def answer(path: Path, inputs: Arrays) -> Arrays:
    """Compile a graph and run it."""
    import tvm
    from tvm import relax

    pipeline = load(ENGINES / "tvm" / "build_pipeline.py")
    target = pipeline.make_target({"kind": "llvm", "mcpu": "native", "num-cores": 1})
    made = pipeline.compile_model(pipeline.import_model(path, target), target)
    machine = relax.VirtualMachine(made.executable, tvm.cpu())
    found = machine["main"](*(tvm.runtime.tensor(np.asarray(value)) for value in inputs))
    return [value.numpy() for value in ([found] if hasattr(found, "numpy") else list(found))]


def load(file: Path) -> ModuleType:
    """Import a file by its path."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise SystemExit(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    if len(sys.argv) > 1:
        import tvm.relax.frontend.onnx  # noqa: F401 - once, for all the processes

        prove(Path(sys.argv[1]), answer)
    else:
        list_operators("tvm", __file__, FOLDED, timeout_s=TIMEOUT_S)
