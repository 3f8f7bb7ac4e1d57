"""The main job on emulated boards: their own sshd, their own userland, correctness only."""

import cv2
import numpy as np
import pytest

from edgekit.board import user_mode
from edgekit.board.requirements import counting_requirement
from edgekit.engines import engine_names

pytestmark = [
    pytest.mark.slow,
    pytest.mark.network,
    pytest.mark.toolbox,
    pytest.mark.board,
    pytest.mark.usefixtures("virtual_boards"),
    pytest.mark.timeout(1500),
]


# One image tells that the way to a score is whole; what there is to tell is in the outputs.
QUICK = ("--quick", "--frames", "2", "--evaluate", "1")
RK3566 = ("--target", "rk3566", "--device", "virtual")


def check_equal(row):
    assert row["status"] == "ok", row["reason"]
    assert row["error"]["unmatched"] == 0
    assert row["error"]["matched"] > 0
    assert row["error"]["max_box_px"] <= 1
    assert row["error"]["max_score"] <= 0.01


def check_claims_no_speed(result):
    assert result["device"]["emulated"] is True
    assert result["valid"] is False
    assert all(row["fps"] is None for row in result["candidates"])


def test_shapes_on_an_emulated_rk3566(edgekit):
    done = edgekit("deploy", "shapes", *RK3566, *QUICK, "--precision", "fp32,fp16")
    assert done.code == 0
    rows = done.rows()
    # An RK3566 has an NPU, whose vendor's terms nobody accepted; it is no Jetson.
    assert {engine for engine, _ in rows} == set(engine_names()) - {"tensorrt"}
    for (engine, precision), row in rows.items():
        if engine == "paddlelite":
            assert row["status"] == "unsupported"
            assert row["reason"].startswith("export only: bring the runtime; edgekit export")
        elif engine == "rknn":
            assert row["status"] == "unsupported"
            assert "--accept-licence rknn" in row["reason"]
        elif engine == "tvm":
            assert row["status"] == "skipped"
            assert "no tuning record" in row["reason"]
        elif precision == "fp32":
            check_equal(row)
        else:
            # Half arithmetic moves an edge by a pixel or two; the gate judges it.
            assert row["status"] == "ok", row["reason"]
    check_claims_no_speed(done.result)
    assert done.result["device"]["machine"] == "aarch64"
    assert done.result["device"]["compatible"] == ["rockchip,rk3566"]
    status = edgekit("status", *RK3566).result
    assert status["current"]["bundle"] == done.result["chosen"]["bundle"]


def test_int8_passes_the_gate_on_an_emulated_rk3566(edgekit):
    # Fewer than 20 images have no interval, and then the gate goes by chance. OpenVINO's int8 files
    # run in float there, which tells nothing for minutes.
    asked = ("--precision", "int8", "--engine", "onnxruntime,ncnn,tflite,mnn", *QUICK)
    done = edgekit("race", "shapes", *RK3566, *asked, "--evaluate", "20")
    assert done.code == 0
    apart = {"unsupported", "skipped"}
    rows = {key: row for key, row in done.rows().items() if row["status"] not in apart}
    assert {engine for engine, _ in rows} == {"onnxruntime", "ncnn", "tflite", "mnn"}
    for engine in {engine for engine, _ in rows}:
        int8 = rows[engine, "int8"]
        assert int8["status"] == "ok", int8["reason"]
        assert int8["quantisation"]["method"]
        low, high = int8["accuracy"]["interval"]
        assert low <= int8["accuracy"]["drop"] <= high
    check_claims_no_speed(done.result)
    assert done.result["active"] is None or not done.result["active"]["changed"]


def test_yolov5_on_an_emulated_rk3566_equals_the_reference(edgekit, model_mirror):
    done = edgekit(
        "deploy", "yolov5", *RK3566, *QUICK,
        "--engine", "onnxruntime,ncnn", "--precision", "fp32", "--size", "320",
    )  # fmt: skip
    assert done.code == 0
    rows = done.rows()
    assert set(rows) == {("onnxruntime", "fp32"), ("ncnn", "fp32")}
    for row in rows.values():
        check_equal(row)
    check_claims_no_speed(done.result)


def test_yolov5_on_an_emulated_32_bit_pi_equals_the_reference(edgekit, model_mirror):
    done = edgekit(
        "deploy", "yolov5", "--target", "rpi3-32", "--device", "virtual",
        "--engine", "onnxruntime,ncnn", "--precision", "fp32", *QUICK,
        "--size", "320",
    )  # fmt: skip
    assert done.code == 0
    rows = done.rows()
    check_equal(rows["ncnn", "fp32"])
    assert rows["onnxruntime", "fp32"]["status"] == "unsupported"
    assert "armv7l" in rows["onnxruntime", "fp32"]["reason"]
    check_claims_no_speed(done.result)
    assert done.result["device"]["machine"] == "armv7l"


def test_tvm_on_an_emulated_32_bit_pi_runs_on_a_runtime_compiled_here(edgekit):
    done = edgekit(
        "deploy", "shapes", "--target", "rpi3-32", "--device", "virtual",
        "--engine", "tvm", "--precision", "fp32", *QUICK,
    )  # fmt: skip
    assert done.code == 0
    check_equal(done.rows()["tvm", "fp32"])


def test_inference_on_an_emulated_rk3566_is_counted(edgekit, tmp_path):
    if not counting_requirement().present:
        pytest.skip("counting needs on this host: qemu-user")
    done = edgekit("deploy", "shapes", *RK3566, *QUICK, "--engine", "ncnn", "--precision", "fp32")
    assert done.code == 0
    image = tmp_path / "grey.png"
    cv2.imwrite(str(image), np.full((240, 320, 3), 127, np.uint8))
    first, again = (edgekit("board", "count", "rk3566", "--image", image) for _ in range(2))
    assert (first.code, again.code) == (0, 0)
    counted = first.result
    # A convolution is what it does: the rest of the process, Python above all, is not in it.
    assert counted["simd_fp"] > counted["instructions"] / 4
    assert counted["uncounted_programs"] == 0
    # The runner tells its progress by the clock, which costs it a few instructions.
    assert again.result["instructions"] == pytest.approx(counted["instructions"], rel=0.01)
    left = user_mode.find_board("rk3566").rootfs / "run"
    assert not list(left.glob("edgekit-count-*"))
