"""Write TVM's ``operators.txt``: what ``Engine.check`` refuses rests on it.

    python scripts/list_tvm_operators.py

An operator is listed if TVM, in edgekit's own toolbox and through edgekit's own pipeline, answers
at least one graph of that single operator as it should: ONNX's backend tests, of every data type,
and the graphs that ``list_operators.py`` makes. Run it after ``lock_engines.py``.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from types import ModuleType

import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "edgekit" / "engines" / "tvm"
HEADER = (
    "# ONNX operators (default domain). Made by scripts/list_tvm_operators.py: "
    "each proven by a graph that equals ONNX's own test or ONNX Runtime, or folded.\n"
)
# A constant takes no input, and a shape is none of a tensor's type to TVM: both are folded.
FOLDED = frozenset({"Constant", "Shape"})
TOLERANCE = 1e-3
TIMEOUT_S = 3600
CASE_S = 60


def main() -> None:
    """Write the cases, run them in the toolbox, write the list."""
    from list_openvino_operators import backend_cases, made_cases, range_case

    from edgekit.core.events import ignore
    from edgekit.engines import load_engine
    from edgekit.toolbox.environments import environment

    python = environment(load_engine("tvm").toolbox, emit=ignore).python
    with tempfile.TemporaryDirectory(prefix="edgekit-operators-") as scratch:
        cases = (*made_cases(), range_case(), *backend_cases())
        for number, (name, model, inputs, outputs) in enumerate(cases):
            stem = Path(scratch, f"{name}-{number:05}")
            stem.with_suffix(".onnx").write_bytes(model)
            arrays = {f"in{index}": value for index, value in enumerate(inputs)}
            arrays |= {f"out{index}": value for index, value in enumerate(outputs)}
            np.savez(stem.with_suffix(".npz"), **arrays)
        command = [str(python), "-I", "-B", str(Path(__file__).resolve()), scratch]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=TIMEOUT_S)
    results: dict[str, list[int]] = json.loads(done.stdout.splitlines()[-1])
    names = sorted(FOLDED | {name for name, (good, _tried) in results.items() if good})
    text = HEADER + "".join(f"{name}\n" for name in names)
    (FOLDER / "operators.txt").write_text(text, encoding="utf-8")
    refused = sorted(set(results) - set(names))
    print(f"tvm: {len(names)} operators; without: {', '.join(refused)}")


def work(folder: Path) -> None:
    """Run inside the toolbox: count good and tried graphs per operator, as JSON."""
    import tvm.relax.frontend.onnx  # noqa: F401 - once, for all the processes below

    results: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.onnx")):
        counts = results.setdefault(path.stem.rpartition("-")[0], [0, 0])
        if counts[0]:
            continue
        counts[1] += 1
        # A process each: what crashes takes no other with it, what hangs is ended by its alarm.
        child = os.fork()
        if child == 0:
            import signal

            signal.alarm(CASE_S)
            os._exit(0 if good(path) else 1)
        counts[0] += os.waitpid(child, 0)[1] == 0
    print(json.dumps(results))


def good(path: Path) -> bool:
    """Tell whether TVM answers the graph as expected."""
    import tvm
    from tvm import relax

    try:
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as data:
            count = sum(name.startswith("in") for name in data.files)
            inputs = [data[f"in{index}"] for index in range(count)]
            outputs = [data[f"out{index}"] for index in range(len(data.files) - count)]
        pipeline = load(FOLDER / "build_pipeline.py")
        target = pipeline.make_target({"kind": "llvm", "mcpu": "native", "num-cores": 1})
        made = pipeline.compile_model(pipeline.import_model(path, target), target)
        machine = relax.VirtualMachine(made.executable, tvm.cpu())
        found = machine["main"](*(tvm.runtime.tensor(np.asarray(value)) for value in inputs))
        answers = [found] if hasattr(found, "numpy") else list(found)
        for answer, expected in zip(answers, outputs, strict=True):
            mine = answer.numpy()
            if mine.shape != expected.shape:
                return False
            np.testing.assert_allclose(
                mine.astype(np.float64), expected.astype(np.float64), TOLERANCE, TOLERANCE
            )
    except Exception as error:  # noqa: BLE001 - whatever it says, the operator is not proven
        print(path.stem, str(error).strip().splitlines()[-1:], file=sys.stderr)
        return False
    return True


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
        work(Path(sys.argv[1]))
    else:
        main()
