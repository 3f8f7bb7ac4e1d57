"""The main job on this machine: every step real, the device's root in a temporary folder."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgekit.engines import engine_names, load_engine

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

# One turn each: that candidates take several is shown in test_race_local.py.
QUICK = ("--quick", "--runs", "1", "--seconds", "0.05", "--evaluate", "24")
FLOATS = ("--precision", "fp32,fp16")
LOCAL = ("--target", "local", *QUICK)


def write_onnx(path):
    """Write a plain convolution net without any layout that edgekit knows."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(3)
    weights = random.standard_normal((8, 3, 3, 3)).astype(np.float32) * 0.1
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 32, 32))
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 8, 32, 32))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["y"]),
    ]
    graph = helper.make_graph(nodes, "plain", [x], [y], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(path))
    return path


# Engines for hardware that no machine of the tests has: no rows, unless they are named.
ELSEWHERE = {"rknn", "tensorrt"}


def every_candidate():
    """Name what an unrestricted deploy tries: each engine with each of its precisions."""
    return {
        (name, precision)
        for name in engine_names()
        for precision in load_engine(name).precisions
        if name not in ELSEWHERE
    }


def test_untuned_code_runs_only_where_its_engine_is_named(edgekit, quiet):
    named = edgekit("race", "shapes", *LOCAL, "--engine", "tvm,ncnn", "--precision", "fp32")
    assert {row["status"] for row in named.rows().values()} == {"ok"}
    everyone = edgekit("race", "shapes", *LOCAL, "--precision", "fp32").rows()["tvm", "fp32"]
    assert everyone["status"] == "skipped"
    assert "--engine tvm" in everyone["reason"]


def test_first_deploy_measures_all_and_second_sends_nothing(edgekit, quiet):
    first = edgekit("deploy", "shapes", *LOCAL)
    assert first.code == 0
    rows = first.rows()
    assert set(rows) == every_candidate()
    assert first.turns() == len(first.running_rows())
    for (_, precision), row in first.running_rows().items():
        assert row["status"] in ({"ok", "gate"} if precision == "int8" else {"ok"}), row["reason"]
        assert row["fps"] > 0
        assert row["latency_ms"]["min"] <= row["latency_ms"]["p50"] <= row["latency_ms"]["p99"]
        assert row["end_to_end_ms"]["p50"] > 0
        assert row["memory_peak_bytes"] > 10e6
        assert row["accuracy"]["metric"] == "coco-map"
        assert row["accuracy"]["images"] == 24
        assert row["accuracy"]["interval"][0] <= row["accuracy"]["drop"]
        assert row["error"]["matched"] > 10
        if precision != "int8":
            assert abs(row["accuracy"]["drop"]) <= 0.01
            assert row["error"]["max_box_px"] < 1
            assert row["error"]["max_score"] < 0.01
    result = first.result
    assert result["active"]["current"] == result["chosen"]["bundle"]
    assert result["transfer"]["bytes_sent"] > 0
    assert json.loads(Path(result["run_dir"], "result.json").read_text()) == result
    for engine, precision in first.running_rows():
        raw = json.loads(Path(result["run_dir"], f"samples/{engine}-{precision}.json").read_text())
        assert len(raw["model_ns"]) == rows[engine, precision]["latency_ms"]["runs"]

    again = edgekit("deploy", "shapes", *LOCAL)
    assert again.result["transfer"]["bytes_sent"] == 0
    assert not again.judged()
    assert again.result["candidates"] == result["candidates"]
    assert again.result["active"]["current"] == result["active"]["current"]


def test_rollback_brings_back_what_was_active(edgekit):
    first = edgekit("deploy", "shapes", "--engine", "onnxruntime", *FLOATS, *LOCAL).result
    second = edgekit("deploy", "shapes", "--engine", "ncnn", "--precision", "fp32", *LOCAL).result
    assert second["active"]["previous"] == first["active"]["current"]

    status = edgekit("status", "--device", "local").result
    assert status["current"]["engine"] == "ncnn"
    assert status["previous"]["bundle"] == first["active"]["current"]

    back = edgekit("rollback", "--device", "local")
    assert back.code == 0
    assert back.result["current"]["engine"] == "onnxruntime"

    # The way back is a way, not a loop: there is nothing before the first.
    beyond = edgekit("rollback", "--device", "local")
    assert beyond.code == 3
    assert "hint" in beyond.result["error"]


def test_missed_goal_activates_nothing(edgekit):
    missed = edgekit("deploy", "shapes", "--engine", "ncnn", "--goal", "fps >= 1000000", *LOCAL)
    assert missed.code == 5
    assert missed.result["chosen"] is None
    assert missed.result["active"] is None
    assert any("misses fps >= 1e+06" in line.get("text", "") for line in missed.lines)


def test_users_own_onnx_runs_on_every_engine(edgekit, tmp_path):
    model = write_onnx(tmp_path / "mine.onnx")
    done = edgekit("deploy", model, *LOCAL, "--precision", "fp32")
    assert done.code == 0
    assert done.result["recipe"] == "mine"
    rows = done.rows()
    assert {engine for engine, _ in rows} == {engine for engine, _ in every_candidate()}
    assert {row["status"] for row in done.running_rows().values()} == {"ok"}
    assert rows["onnxruntime", "fp32"]["error"]["max_abs"] < 1e-5
    assert rows["ncnn", "fp32"]["error"]["max_abs"] < 1e-4


def test_engine_that_cannot_run_here_is_a_row_with_a_reason(edgekit):
    done = edgekit("deploy", "shapes", "--engine", "tensorrt,ncnn", "--precision", "fp32", *LOCAL)
    assert done.code == 0
    row = done.rows()["tensorrt", "fp32"]
    assert row["status"] == "unsupported"
    assert "local is none" in row["reason"]


def test_active_bundle_answers_the_users_images(edgekit, tmp_path):
    import cv2

    from edgekit.prepare.shapes import CLASSES, draw_scene

    scene = draw_scene(11)
    image = tmp_path / "scene.png"
    cv2.imwrite(str(image), np.ascontiguousarray(scene.frame[..., ::-1]))
    assert edgekit("run", image, "--device", "local").code == 3  # nothing is active yet
    edgekit("deploy", "shapes", "--engine", "onnxruntime", *FLOATS, *LOCAL)
    (answered,) = edgekit("run", image, "--device", "local").result["images"]
    found = sorted(answer["label"] for answer in answered["answers"])
    drawn = sorted(CLASSES[index] for index in scene.classes)
    assert found == drawn


@pytest.mark.timeout(900)
def test_yolov5_on_every_engine_equals_the_reference(edgekit, model_mirror):
    size = ("--size", "320")  # a quarter of the work of its own
    done = edgekit("deploy", "yolov5", "--target", "local", "--frames", "4", *size, *FLOATS, *QUICK)
    assert done.code == 0
    for row in done.running_rows().values():
        assert row["status"] == "ok", row["reason"]
        assert row["error"]["unmatched"] == 0
        assert row["error"]["matched"] > 5
        assert row["error"]["max_box_px"] <= 1
        assert row["error"]["max_score"] <= 0.01
