"""``edgekit layers`` on this machine, with the engines themselves."""

import pytest

from edgekit.app.models import prepared_model, resolve_recipe
from edgekit.cli.main import run
from edgekit.core.events import ignore
from edgekit.engines import engine_names
from edgekit.engines.onnx_layers import OnnxGraph, load_mapper

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

HERE = ("--target", "local", "--device", "local", "--threads", "1", "--runs", "5")
TELLING = [name for name in engine_names() if load_mapper(name) is not None]
# Of the arithmetic of the detector, what an engine must be able to place.
PLACED = 0.5


@pytest.fixture(scope="module")
def nodes():
    model = prepared_model(resolve_recipe("shapes"), None, emit=ignore)
    return {node.name: node.operator for node in OnnxGraph(model.onnx.path).nodes}


@pytest.mark.parametrize("name", TELLING)
def test_layers_of_the_detector_are_told_in_its_nodes(edgekit, nodes, name):
    done = edgekit("layers", "shapes", "--engine", name, *HERE)
    assert done.code == 0
    (row,) = done.result["rows"]
    assert (row["engine"], row["precision"], row["status"]) == (name, "fp32", "ok")
    profile = row["profile"]
    assert done.result["emulated"] is False
    assert sum(layer["share"] for layer in profile["layers"]) == pytest.approx(1)
    found = [node for layer in profile["layers"] for node in layer["nodes"]]
    assert len(found) == len(set(found))
    assert set(found) <= set(nodes)
    # A layer that is a convolution to the engine is one of the model's, and each of these is found.
    for layer in profile["layers"]:
        if "conv" in layer["operator"].lower() and layer["nodes"]:
            assert "Conv" in [nodes[node] for node in layer["nodes"]], layer
    assert {node for node, operator in nodes.items() if operator == "Conv"} <= set(found)
    assert len(found) > PLACED * len(nodes)
    unmapped = sum(layer["share"] for layer in profile["layers"] if not layer["nodes"])
    assert profile["unmapped_share"] == pytest.approx(unmapped)
    assert profile["unmapped_share"] < PLACED
    assert profile["total_ms"] == pytest.approx(
        sum(layer["time_ns"] for layer in profile["layers"]) / 1e6
    )
    assert min(profile["ratio"], profile["run_ms"], profile["model_ms"]) > 0
    assert {layer["unit"] for layer in profile["layers"]} == {"CPU"}


def test_table_tells_engines_that_can_and_why_others_cannot(own_state, capsys):
    engines = ("--engine", "onnxruntime,tensorrt")
    assert run(["layers", "shapes", *engines, *HERE, "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "onnxruntime fp32"
    assert lines[1].split()[:2] == ["ONNX", "nodes"]
    assert lines[2].startswith("/stem/stem.0/conv/Conv")
    assert "belongs to no ONNX node" in lines[4]
    assert "the model unprofiled" in lines[5]
    assert lines[-1].startswith("tensorrt fp32: unsupported: ")


def test_nothing_profiled_is_exit_code_4(edgekit):
    done = edgekit("layers", "shapes", "--engine", "tensorrt", *HERE)
    assert done.code == 4
    assert done.result["rows"][0]["profile"] is None
