"""``edgekit layers`` on an emulated board: the same layers, and no claim of speed."""

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.toolbox,
    pytest.mark.board,
    pytest.mark.usefixtures("virtual_boards"),
    pytest.mark.timeout(1200),
]


@pytest.mark.parametrize("name", ["onnxruntime", "ncnn", "tflite"])
def test_emulated_layers_have_shares_and_no_times(edgekit, name):
    done = edgekit("layers", "shapes", "-t", "rk3566", "-d", "virtual", "-e", name)
    assert done.code == 0, done.result
    assert done.result["emulated"] is True
    (row,) = done.result["rows"]
    profile = row["profile"]
    assert sum(layer["share"] for layer in profile["layers"]) == pytest.approx(1)
    assert {layer["time_ns"] for layer in profile["layers"]} == {None}
    assert [profile[each] for each in ("total_ms", "run_ms", "model_ms", "ratio")] == [None] * 4
    # What the board computed is the model's, though its processor has other layers than the host's.
    assert profile["unmapped_share"] < 0.1
    nodes = [node for layer in profile["layers"] for node in layer["nodes"]]
    assert len(nodes) == len(set(nodes)) > 100
