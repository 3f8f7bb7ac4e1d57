from dataclasses import replace

from edgekit.core.candidate import Candidate
from edgekit.core.layers import LayerProfile, LayersRow, LayerTime
from edgekit.report.layers import layer_table, profile_lines, reason_lines

STEM = LayerTime("conv_nchwc", ("/stem/Conv", "/stem/Sigmoid"), "Conv", 3_000_000, 0.75, "CPU")
MOVED = LayerTime("reorder", (), "ReorderInput", 250_000, 0.0625, "CPU")
POOL = LayerTime("pool", ("a", "b", "c", "d", "e"), "Pool", 750_000, 0.1875, "GPU")
PROFILE = LayerProfile("onnxruntime", "fp32", (MOVED, POOL, STEM), 4.0, 3.2, 0.0625, 4.8, 1.5, 30)


def test_slowest_layer_stands_first_with_nodes_unit_share_and_time():
    table = layer_table(PROFILE, 2)
    first, second = table.rows
    assert first == (
        "/stem/Conv, /stem/Sigmoid", "conv_nchwc", "Conv", "CPU", "75.0%", "3.000"
    )  # fmt: skip
    assert second[0] == "a, b, c and 2 more"
    assert second[3] == "GPU"


def test_layer_of_no_node_says_so():
    assert layer_table(PROFILE, 3).rows[2][0] == "(no ONNX node)"


def test_lines_tell_what_is_unmapped_and_what_profiling_cost():
    whole, cost = profile_lines(PROFILE, 2)
    assert cost.endswith("the ratio is 1.50")
    assert "3 layers, those shown are 93.8%; 6.2% belongs to no ONNX node (ReorderInput)" in whole
    assert "median of 30 runs take 4.800 ms, the model unprofiled 3.200 ms" in cost


def test_run_that_took_longer_than_its_layers_was_disturbed():
    line = profile_lines(replace(PROFILE, run_ms=6.0), 2)[-1]
    assert "disturbed: the layers' own medians add up to 4.000 ms only" in line


def test_method_that_is_no_counter_of_the_engine_is_said():
    lines = profile_lines(replace(PROFILE, method="each layer alone"), 2)
    assert lines[-1].endswith(": each layer alone")


def test_emulated_profile_shows_shares_and_claims_no_speed():
    table = layer_table(PROFILE.untimed(), 3)
    assert [column.name for column in table.columns][-1] == "share"
    assert table.rows[0][-1] == "75.0%"
    text = " ".join(profile_lines(PROFILE.untimed(), 3))
    assert "emulated, no speed claim" in text
    assert " ms" not in text
    told = PROFILE.untimed().as_json()
    assert [told[name] for name in ("total_ms", "model_ms", "ratio")] == [None, None, None]
    assert {layer["time_ns"] for layer in told["layers"]} == {None}


def test_candidate_without_a_profile_says_why():
    rows = [
        LayersRow(Candidate("rknn", "int8"), "unsupported", "no NPU"),
        LayersRow(Candidate("onnxruntime", "fp32"), "ok", profile=PROFILE),
    ]
    assert reason_lines(rows) == ("rknn int8: unsupported: no NPU",)
