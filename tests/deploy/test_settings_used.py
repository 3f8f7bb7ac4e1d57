"""Settings hold where no option is given, and give way where one is."""

import odd_onnx
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.toolbox]

SHORT = ("--quick", "--runs", "2", "--seconds", "0")
QUICK = ("--engine", "onnxruntime", "--precision", "fp32", *SHORT)


def test_threads_and_device_follow_the_settings_unless_told(edgekit, tmp_path, monkeypatch):
    monkeypatch.setenv("EDGEKIT_THREADS", "3")
    monkeypatch.setenv("EDGEKIT_TARGET", "local")
    monkeypatch.setenv("EDGEKIT_DEVICE", "local")
    model = odd_onnx.classifier(tmp_path / "net.onnx")
    done = edgekit("deploy", model, *QUICK)
    assert done.code == 0
    assert done.result["candidates"][0]["knobs"] == {"threads": 3}
    told = edgekit("deploy", model, *QUICK, "--threads", "1")
    assert told.result["candidates"][0]["knobs"] == {"threads": 1}


def test_max_drop_follows_the_setting_unless_told(edgekit, tmp_path, monkeypatch):
    half = ("--target", "local", "--engine", "ncnn", "--precision", "fp16", *SHORT)
    model = odd_onnx.classifier(tmp_path / "net.onnx")
    monkeypatch.setenv("EDGEKIT_MAX_DROP", "0.000000001")
    done = edgekit("deploy", model, *half)
    assert done.code == 5
    assert done.result["candidates"][0]["status"] == "gate"
    assert edgekit("deploy", model, *half, "--max-drop", "0.5").code == 0
