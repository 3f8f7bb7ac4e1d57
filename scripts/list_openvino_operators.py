"""Write OpenVINO's ``operators.txt``: what ``Engine.check`` refuses rests on it.

    python scripts/list_openvino_operators.py

An operator is listed if OpenVINO, in edgekit's own toolbox, answers at least one graph of that
single operator as it should: ONNX's backend tests, of every data type, and the graphs that
``list_operators.py`` makes. Run it after ``lock_engines.py``; it takes a few minutes.
"""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parents[1] / "edgekit" / "engines" / "openvino"
HEADER = (
    "# ONNX operators (default domain). Made by scripts/list_openvino_operators.py: "
    "each proven by a graph that equals ONNX's own test or ONNX Runtime, or folded.\n"
)
# A constant takes no input: there is nothing to test, and nothing left of it in a graph.
FOLDED = frozenset({"Constant"})
TOLERANCE = 1e-3
TIMEOUT_S = 1200

Case = tuple[str, bytes, list[np.ndarray], list[np.ndarray]]


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


def main() -> None:
    """Write the cases, run them in the toolbox, write the list."""
    from edgekit.core.events import ignore
    from edgekit.engines import load_engine
    from edgekit.toolbox.environments import environment

    python = environment(load_engine("openvino").toolbox, emit=ignore).python
    with tempfile.TemporaryDirectory(prefix="edgekit-operators-") as scratch:
        cases = (*made_cases(), range_case(), *backend_cases())
        for number, (name, model, inputs, outputs) in enumerate(cases):
            stem = Path(scratch, f"{name}-{number}")
            stem.with_suffix(".onnx").write_bytes(model)
            arrays = {f"in{index}": value for index, value in enumerate(inputs)}
            arrays |= {f"out{index}": value for index, value in enumerate(outputs)}
            np.savez(stem.with_suffix(".npz"), **arrays)
        command = [str(python), "-I", "-B", str(Path(__file__).resolve()), scratch]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, timeout=TIMEOUT_S)
    results: dict[str, list[int]] = json.loads(done.stdout)
    names = sorted(FOLDED | {name for name, (good, _tried) in results.items() if good})
    text = HEADER + "".join(f"{name}\n" for name in names)
    (FOLDER / "operators.txt").write_text(text, encoding="utf-8")
    refused = sorted(set(results) - set(names))
    print(f"openvino: {len(names)} operators; without: {', '.join(refused)}")


def work(folder: Path) -> None:
    """Run inside the toolbox: count good and tried graphs per operator, as JSON."""
    results: dict[str, list[int]] = {}
    for path in sorted(folder.glob("*.onnx")):
        counts = results.setdefault(path.stem.rpartition("-")[0], [0, 0])
        if counts[0]:
            continue
        counts[1] += 1
        # A process each: what crashes takes no other with it.
        child = os.fork()
        if child == 0:
            os._exit(0 if good(path) else 1)
        counts[0] += os.waitpid(child, 0)[1] == 0
    print(json.dumps(results))


def good(path: Path) -> bool:
    """Tell whether OpenVINO answers the graph as expected."""
    import openvino

    try:
        with np.load(path.with_suffix(".npz"), allow_pickle=False) as data:
            count = sum(name.startswith("in") for name in data.files)
            inputs = [data[f"in{index}"] for index in range(count)]
            outputs = [data[f"out{index}"] for index in range(len(data.files) - count)]
        core = openvino.Core()
        options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
        compiled = core.compile_model(core.read_model(str(path)), "CPU", options)
        # Tensors: a bare scalar would be taken for something else.
        values = {index: openvino.Tensor(np.array(value)) for index, value in enumerate(inputs)}
        found = list(compiled(values).values())
        for mine, expected in zip(found, outputs, strict=True):
            if mine.shape != expected.shape:
                return False
            np.testing.assert_allclose(
                mine.astype(np.float64), expected.astype(np.float64), TOLERANCE, TOLERANCE
            )
    except Exception as error:  # noqa: BLE001 - whatever it says, the operator is not proven
        print(path.stem, str(error).strip().splitlines()[-1:], file=sys.stderr)
        return False
    return True


if __name__ == "__main__":
    if len(sys.argv) > 1:
        work(Path(sys.argv[1]))
    else:
        main()
