"""A build that is measured elsewhere lets stand what its own check refuses."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, save

import edgekit.toolbox.build


@pytest.fixture
def unjudged():
    path = Path(edgekit.toolbox.build.__file__).with_name("run_build_unjudged.py")
    spec = importlib.util.spec_from_file_location("run_build_unjudged", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def twice(inputs):
    return {"y": inputs["x"] * 2}


@pytest.mark.parametrize("infer", [lambda _: {}, lambda given: {"y": given["x"] * np.nan}, twice])
def test_what_is_off_is_logged_and_stands(unjudged, tmp_path, capsys, infer):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "g",
        [value("x", TensorProto.FLOAT, [1, 4])],
        [value("y", TensorProto.FLOAT, [1, 4])],
    )
    path = tmp_path / "m.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    tensors = unjudged.run_build.Tensor
    facts = {
        "model": path,
        "precision": "fp32",
        "settings": {},
        "inputs": (tensors("x", "float32", (1, 4)),),
        "outputs": (tensors("y", "float32", (1, 4)),),
        "output": tmp_path,
        "scratch": tmp_path,
    }
    with pytest.raises(RuntimeError, match="output y"):
        unjudged.run_build.Job(**facts).verify(infer, tolerance=1e-3)
    unjudged.Unjudged(**facts).verify(infer, tolerance=1e-3)
    assert "let stand: output y" in capsys.readouterr().out
