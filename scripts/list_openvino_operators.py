"""Write OpenVINO's ``operators.txt``: what ``Engine.check`` refuses rests on it.

    python scripts/list_openvino_operators.py

An operator is listed if OpenVINO, in edgekit's own toolbox, answers at least one graph of that
single operator as it should: ONNX's backend tests, of every data type, and the graphs that
``list_operators.py`` makes. Run it after ``lock_engines.py``; it takes a few minutes.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent))  # the toolbox's Python is isolated

from operator_proofs import Arrays, list_operators, prove

# A constant takes no input: there is nothing to test, and nothing left of it in a graph.
FOLDED = frozenset({"Constant"})
TIMEOUT_S = 1200


def answer(path: Path, inputs: Arrays) -> Arrays:
    """Run a graph."""
    import openvino

    core = openvino.Core()
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": "1"}
    compiled = core.compile_model(core.read_model(str(path)), "CPU", options)
    # Tensors: a bare scalar would be taken for something else.
    values = {index: openvino.Tensor(np.array(value)) for index, value in enumerate(inputs)}
    return list(compiled(values).values())


if __name__ == "__main__":
    if len(sys.argv) > 1:
        prove(Path(sys.argv[1]), answer)
    else:
        list_operators("openvino", __file__, FOLDED, timeout_s=TIMEOUT_S)
