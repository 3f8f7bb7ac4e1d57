"""Operators proven by single-operator graphs that an engine answers in its toolbox as it should.

For the scripts that list an engine's operators: cases are written here, each is tried in a
process of its own in the toolbox, and the list is written here again. Nothing but NumPy is
imported until it is needed: the toolbox imports this file too.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

ENGINES = Path(__file__).resolve().parents[1] / "edgekit" / "engines"
TOLERANCE = 1e-3
CASE_S = 60

Arrays = list[np.ndarray]
Case = tuple[str, bytes, Arrays, Arrays]


def list_operators(engine: str, script: str, folded: frozenset[str], *, timeout_s: float) -> None:
    """Write the cases, run them in the engine's toolbox, write the engine's list.

    Args:
        engine: whose operators they are.
        script: the caller's own file, which the toolbox runs with a folder as its argument.
        folded: operators that no graph of one can prove.
        timeout_s: for all cases.
    """
    from edgekit.core.events import ignore
    from edgekit.engines import load_engine
    from edgekit.toolbox.environments import environment

    python = environment(load_engine(engine).toolbox, emit=ignore).python
    with tempfile.TemporaryDirectory(prefix="edgekit-operators-") as scratch:
        write_cases(Path(scratch))
        command = [str(python), "-I", "-B", str(Path(script).resolve()), scratch]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=timeout_s)
    proven: dict[str, bool] = json.loads(done.stdout.splitlines()[-1])
    names = sorted(folded | {name for name, good in proven.items() if good})
    header = (
        f"# ONNX operators (default domain). Made by scripts/{Path(script).name}: "
        "each proven by a graph that equals ONNX's own test or ONNX Runtime, or folded.\n"
    )
    text = header + "".join(f"{name}\n" for name in names)
    (ENGINES / engine / "operators.txt").write_text(text, encoding="utf-8")
    refused = sorted(set(proven) - set(names))
    print(f"{engine}: {len(names)} operators; without: {', '.join(refused)}")


def write_cases(folder: Path) -> None:
    """Write each case as a graph, and its inputs and expected outputs beside it."""
    cases = (*made_cases(), range_case(), *backend_cases())
    for number, (name, model, inputs, outputs) in enumerate(cases):
        stem = Path(folder, f"{name}-{number:05}")
        stem.with_suffix(".onnx").write_bytes(model)
        arrays = {f"in{index}": value for index, value in enumerate(inputs)}
        arrays |= {f"out{index}": value for index, value in enumerate(outputs)}
        np.savez(stem.with_suffix(".npz"), **arrays)


def prove(folder: Path, answer: Callable[[Path, Arrays], Arrays]) -> None:
    """Try graphs of each operator until one is answered as expected; print what is, as JSON.

    Args:
        folder: with the cases.
        answer: runs a graph on its inputs.
    """
    proven: dict[str, bool] = {}
    for path in sorted(folder.glob("*.onnx")):
        name = path.stem.rpartition("-")[0]
        if proven.get(name):
            continue
        # A process each: what crashes takes no other with it, what hangs is ended by its alarm.
        child = os.fork()
        if child == 0:
            signal.alarm(CASE_S)
            os._exit(0 if _good(path, answer) else 1)
        proven[name] = os.waitpid(child, 0)[1] == 0
    print(json.dumps(proven))


def _good(path: Path, answer: Callable[[Path, Arrays], Arrays]) -> bool:
    try:
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as data:
            count = sum(name.startswith("in") for name in data.files)
            inputs = [data[f"in{index}"] for index in range(count)]
            outputs = [data[f"out{index}"] for index in range(len(data.files) - count)]
        for mine, expected in zip(answer(path, inputs), outputs, strict=True):
            if mine.shape != expected.shape:
                return False
            np.testing.assert_allclose(
                mine.astype(np.float64), expected.astype(np.float64), TOLERANCE, TOLERANCE
            )
    except Exception as error:  # noqa: BLE001 - whatever it says, the operator is not proven
        print(path.stem, str(error).strip().splitlines()[-1:], file=sys.stderr)
        return False
    return True


def backend_cases() -> Iterator[Case]:
    """Give ONNX's own tests of one operator between tensors."""
    import onnx
    from onnx import numpy_helper
    from onnx.backend.test.loader import load_model_tests

    def tensors(folder: Path, kind: str) -> list[np.ndarray]:
        files = sorted(folder.glob(f"{kind}_*.pb"), key=lambda file: int(file.stem.split("_")[1]))
        return [numpy_helper.to_array(onnx.load_tensor(file)) for file in files]

    for case in load_model_tests(kind="node"):
        try:
            if case.model_dir:
                model = onnx.load(Path(case.model_dir, "model.onnx"))
                data = Path(case.model_dir, "test_data_set_0")
                inputs, outputs = tensors(data, "input"), tensors(data, "output")
            else:
                model, (inputs, outputs) = case.model, case.data_sets[0]
        except Exception as error:  # noqa: BLE001 - sequences, optionals: not for tensors
            print(case.name, "skipped:", error, file=sys.stderr)
            continue
        plain = all(isinstance(value, np.ndarray) for value in (*inputs, *outputs))
        if plain and len(model.graph.node) == 1 and not model.graph.node[0].domain:
            yield model.graph.node[0].op_type, model.SerializeToString(), inputs, outputs


def made_cases() -> Iterator[Case]:
    """Give the graphs that vision models are made of, as ONNX Runtime answers them."""
    import onnxruntime
    from list_operators import made_here

    for model in made_here():
        data = model.SerializeToString()
        try:
            session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
            spec = session.get_inputs()[0]
            value = np.random.default_rng(1).random(spec.shape, np.float32)
            answers = session.run(None, {spec.name: value})
        except Exception as error:  # noqa: BLE001 - then it proves nothing
            print(model.graph.name, "skipped:", error, file=sys.stderr)
            continue
        yield model.graph.node[-1].op_type, data, [value], answers


def range_case() -> Case:
    """Return ``Range``, which ONNX tests in bfloat16 alone as far as one operator goes."""
    from onnx import TensorProto, helper, numpy_helper

    constants = {"start": np.array(2, np.int64), "step": np.array(3, np.int64)}
    graph = helper.make_graph(
        [helper.make_node("Range", ["start", "limit", "step"], ["y"])],
        "Range",
        [helper.make_tensor_value_info("limit", TensorProto.INT64, ())],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ("n",))],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return "Range", model.SerializeToString(), [np.array(12, np.int64)], [np.arange(2, 12, 3)]
